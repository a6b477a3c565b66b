/** What a run's output says about the lines of its program, kept for the marks in the editor. Pure. */

import { marksOf } from "./places.js";

/** Of a program that prints errors without end, the first of them are marked. */
const PLACES_MAX = 100;
/** Of its words so many: what went wrong may stand before the places or after them. */
const TEXT_MAX_CHARS = 100_000;
const TROUBLE = /error|warning/i;

export class Findings {
  #merged;
  /** @type {{line: string, place: import("./places.js").Place}[]} */
  #places = [];
  #text = "";

  /** @param {{merged?: boolean}} [options] Whether stderr comes as stdout, so that errors are among the rest. */
  constructor({ merged = false } = {}) {
    this.#merged = merged;
  }

  /** Take what was printed, as it comes. @param {string} stream @param {string} text */
  take(stream, text) {
    if (this.#isHeard(stream)) this.#text = (this.#text + text).slice(-TEXT_MAX_CHARS);
  }

  /**
   * Take a place that a line of the output names.
   *
   * @param {string} stream
   * @param {string} line
   * @param {import("./places.js").Place} place
   */
  note(stream, line, place) {
    if (this.#isHeard(stream) && this.#places.length < PLACES_MAX) this.#places.push({ line, place });
  }

  /**
   * The marks of a run that is over; see `marksOf`.
   *
   * @param {{failed: boolean}} outcome What a program prints to stdout may name its lines without anything
   *   being wrong with them: of merged output that counts where the run failed or the line says so.
   */
  marks({ failed }) {
    const found = this.#places.filter(({ line }) => !this.#merged || failed || TROUBLE.test(line));
    return marksOf(found, this.#text.split("\n"));
  }

  #isHeard(stream) {
    return stream === (this.#merged ? "stdout" : "stderr");
  }
}
