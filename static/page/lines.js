/** The field for a program's input, line by line, with the lines from before on the arrow keys. */

const HISTORY_MAX = 100;

/**
 * Call `onLines` with text that ends with a line end: at Enter with the line, at a paste of several
 * lines with the complete ones; the rest stays in the field, which alone would join them all.
 *
 * @param {HTMLInputElement} field In a form.
 * @param {(text: string) => void} onLines
 */
export function takeLines(field, onLines) {
  const earlier = [];
  /** What the arrow keys show: a place in `earlier`, or behind it the line that is being typed. */
  let shown = 0;
  let draft = "";
  const send = (text) => {
    for (const line of text.split("\n")) {
      if (line && line !== earlier[earlier.length - 1]) earlier.push(line);
    }
    earlier.splice(0, earlier.length - HISTORY_MAX);
    shown = earlier.length;
    onLines(text);
  };
  field.form.addEventListener("submit", (event) => {
    event.preventDefault();
    const line = field.value;
    field.value = "";
    send(`${line}\n`);
  });
  field.addEventListener("keydown", (event) => {
    const next = shown + ({ ArrowUp: -1, ArrowDown: 1 }[event.key] ?? 0);
    if (next === shown || event.isComposing || next < 0 || next > earlier.length) return;
    event.preventDefault();
    if (shown === earlier.length) draft = field.value;
    shown = next;
    field.value = earlier[shown] ?? draft;
    field.setSelectionRange(field.value.length, field.value.length);
  });
  field.addEventListener("paste", (event) => {
    const pasted = (event.clipboardData?.getData("text/plain") ?? "").replace(/\r\n?/g, "\n");
    if (!pasted.includes("\n")) return;
    event.preventDefault();
    const { value, selectionStart, selectionEnd } = field;
    const text = value.slice(0, selectionStart) + pasted + value.slice(selectionEnd);
    const end = text.lastIndexOf("\n") + 1;
    field.value = text.slice(end);
    send(text.slice(0, end));
  });
}
