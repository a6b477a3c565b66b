/** The terminal, loaded when it is first wanted. */

import { loadBundle } from "./bundle.js";

/** Return what makes a terminal (see ../src/xterm.js); null if the bundle is not there. */
export async function loadTerminal() {
  try {
    const { xterm } = await loadBundle();
    return (await xterm()).createTerminal;
  } catch {
    return null;
  }
}

/** Whether the server has the bundle; that is small, the terminal in it comes when it is wanted. */
export async function hasTerminal() {
  try {
    await loadBundle();
    return true;
  } catch {
    return false;
  }
}
