/** The bundle of CodeMirror, xterm.js and fflate (see ../src/bundle.js), which a server may be without. */

// No literal in the import: types are those of the sources, also before anything is bundled.
const BUNDLE = "../dist/bundle.js";

/**
 * Load it; it is small, and each thing in it comes when it is called. Rejects if the server has none.
 *
 * @returns {Promise<typeof import("../src/bundle.js")>}
 */
export function loadBundle() {
  return import(BUNDLE);
}
