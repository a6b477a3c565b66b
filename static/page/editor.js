/** The editor: CodeMirror if the bundle is there, else a plain text area with the same interface. */

import { loadBundle } from "./bundle.js";
import { isRunKey } from "./keys.js";

/**
 * @param {HTMLElement} parent
 * @param {{label: string, onChange: (text: string) => void, onRun: () => void, compact?: boolean, readOnly?: boolean}} options
 */
export async function createEditor(parent, options) {
  try {
    const { codemirror } = await loadBundle();
    return (await codemirror()).createEditor(parent, options);
  } catch {
    return createPlainEditor(parent, options);
  }
}

function createPlainEditor(parent, { label, onChange, onRun, readOnly = false }) {
  const area = document.createElement("textarea");
  area.className = "plain-editor";
  area.spellcheck = false;
  area.readOnly = readOnly;
  area.autocapitalize = "off";
  area.setAttribute("autocomplete", "off");
  area.setAttribute("aria-label", label);
  area.addEventListener("input", () => onChange(area.value));
  area.addEventListener("keydown", (event) => {
    if (!isRunKey(event)) return;
    event.preventDefault();
    // A key that is held down means it once.
    if (!event.repeat) onRun();
  });
  parent.append(area);
  return {
    plain: true,
    async show(file) {
      area.value = file.content;
    },
    get text() {
      return area.value;
    },
    set readOnly(on) {
      area.readOnly = on;
    },
    focus: () => area.focus(),
    reveal() {},
    goTo(line, column) {
      const before = area.value.split("\n").slice(0, line - 1);
      const at = before.reduce((sum, text) => sum + text.length + 1, 0) + (column ?? 1) - 1;
      area.focus();
      area.setSelectionRange(at, at);
    },
    mark() {},
    destroy: () => area.remove(),
  };
}
