/** The terminal, loaded when it is first wanted. */

/** Return what makes a terminal (see ../src/xterm.js); null if the bundle is not there. */
export async function loadTerminal() {
  try {
    const { xterm } = await import("../dist/bundle.js");
    return (await xterm()).createTerminal;
  } catch {
    return null;
  }
}

/** Whether the server has the bundle; that is small, the terminal in it comes when it is wanted. */
export async function hasTerminal() {
  try {
    await import("../dist/bundle.js");
    return true;
  } catch {
    return false;
  }
}
