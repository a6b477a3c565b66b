/** The editor: CodeMirror if the bundle is there, else a plain text area with the same interface. */

/**
 * @param {HTMLElement} parent
 * @param {{label: string, onChange: (text: string) => void, onRun: () => void, compact?: boolean}} options
 */
export async function createEditor(parent, options) {
  try {
    const { codemirror } = await import("../dist/bundle.js");
    return (await codemirror()).createEditor(parent, options);
  } catch {
    return createPlainEditor(parent, options);
  }
}

function createPlainEditor(parent, { label, onChange, onRun }) {
  const area = document.createElement("textarea");
  area.className = "plain-editor";
  area.spellcheck = false;
  area.autocapitalize = "off";
  area.setAttribute("autocomplete", "off");
  area.setAttribute("aria-label", label);
  area.addEventListener("input", () => onChange(area.value));
  area.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      onRun();
    }
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
    focus: () => area.focus(),
    destroy: () => area.remove(),
  };
}
