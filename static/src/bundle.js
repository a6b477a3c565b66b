// The one entry of the bundle. It is small; what it loads is named after its content's hash.

export const codemirror = () => import("./codemirror.js");
export const together = () => import("./together.js");
export const xterm = () => import("./xterm.js");
export const zip = () => import("./zip.js");
