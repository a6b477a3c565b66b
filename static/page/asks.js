/** Shows that the program waits for input, at the field that takes it. */

/**
 * @param {import("../wsrunner.js").Run} run Asked for with `waiting`.
 * @param {HTMLElement} field A form.
 */
export function showAsking(run, field) {
  const over = new AbortController();
  const show = (/** @type {boolean} */ asks) => field.classList.toggle("asked", asks);
  const end = () => {
    over.abort();
    show(false);
  };
  run.on("waiting", () => show(true));
  run.on("output", () => show(false));
  field.addEventListener("submit", () => show(false), { signal: over.signal });
  run.exit.then(end, end);
}
