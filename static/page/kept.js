/**
 * Runs that outlive the page: the link that leads to one, and what a reload needs to go on with one.
 *
 * @typedef {{run: string, key: string, room?: undefined} | {run: string, room: string, key?: undefined}} Place A kept run, and one of its keys, which is a secret, or the room that it belongs to.
 */

import { forget, recall, remember } from "./store.js";

/** So long a run of the page goes on without it. */
export const KEEP_S = 60;
const VISIT = "visit";

/** Return the run that a page's fragment names; null if it names none. @param {string} fragment @returns {Place | null} */
export function placeIn(fragment) {
  const [, run, key] = /^#live=([^.]+)\.(.+)$/.exec(fragment) ?? [];
  return run && key ? { run, key } : null;
}

/** Whether the server keeps a run that asks for it; false if that alone is what it refuses. @param {import("../wsrunner.js").Run} run */
export function isKept(run) {
  return new Promise((resolve) => {
    run.on("accepted", () => resolve(true));
    run.exit.then(
      () => resolve(true),
      ({ code, path }) => resolve(code !== "kept_full" && path !== "$.keep_s"),
    );
  });
}

/** What the page has of a run beside what the server can tell once more. */
export class Visit {
  /** Null if nobody can come back. @type {Place | null} */
  place = null;
  language = "";
  input = "";
  merged = false;
  /** Whether the input's end was sent. */
  ended = false;
  /** The last output that was shown; its number in the run. */
  seq = 0;
  /** What was typed into the log, each after which output. @type {[seq: number, text: string][]} */
  typed = [];

  /** @param {Partial<Visit>} [known] */
  constructor(known = {}) {
    Object.assign(this, known);
  }

  /** @param {string} text */
  type(text) {
    this.typed.push([this.seq, text]);
  }

  /** Return a function that tells, once, what was typed up to some output that comes again. */
  retyping() {
    const waiting = [...this.typed];
    return (/** @type {number} */ seq) => {
      const count = waiting.findIndex(([after]) => after > seq);
      return waiting.splice(0, count === -1 ? waiting.length : count).map(([, text]) => text).join("");
    };
  }
}

/** Keep it for this tab, until it is asked for. @param {Visit} visit */
export function rememberVisit(visit) {
  // Where there is no room for all that was typed, the run itself is what matters.
  if (!remember(VISIT, visit, "session")) remember(VISIT, { ...visit, typed: [] }, "session");
}

/** Storage may hold anything. @returns {(Visit & {place: Place}) | null} */
export function recallVisit() {
  const known = recall(VISIT, "session");
  const { run, key } = known?.place ?? {};
  if (typeof run !== "string" || typeof key !== "string" || !Array.isArray(known.typed)) return null;
  return Object.assign(new Visit(known), { place: { run, key } });
}

export function forgetVisit() {
  forget(VISIT, "session");
}
