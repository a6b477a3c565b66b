/** The field for a program's input, line by line. */

/**
 * Call `onLines` with text that ends with a line end: at Enter with the line, at a paste of several
 * lines with the complete ones; the rest stays in the field, which alone would join them all.
 *
 * @param {HTMLInputElement} field In a form.
 * @param {(text: string) => void} onLines
 */
export function takeLines(field, onLines) {
  field.form.addEventListener("submit", (event) => {
    event.preventDefault();
    const line = field.value;
    field.value = "";
    onLines(`${line}\n`);
  });
  field.addEventListener("paste", (event) => {
    const pasted = (event.clipboardData?.getData("text/plain") ?? "").replace(/\r\n?/g, "\n");
    if (!pasted.includes("\n")) return;
    event.preventDefault();
    const { value, selectionStart, selectionEnd } = field;
    const text = value.slice(0, selectionStart) + pasted + value.slice(selectionEnd);
    const end = text.lastIndexOf("\n") + 1;
    field.value = text.slice(end);
    onLines(text.slice(0, end));
  });
}
