/** Keys that mean the same everywhere on the page. */

/** Whether a key runs and stops the program: Ctrl-Enter, or Cmd-Enter. */
export function isRunKey({ key, ctrlKey, metaKey }) {
  return key === "Enter" && (ctrlKey || metaKey);
}
