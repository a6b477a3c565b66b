/**
 * The programs kept in this browser. Each has a key of its own, so that tabs never write over each
 * other's list, and a stamp that changes with every write: whoever finds another stamp than the last
 * one it saw knows that another tab has changed the program since.
 */

import { forget, isProgram, keysOf, recall, remember } from "./store.js";

const PREFIX = "program.";
/** Programs without a name come about by writing; the oldest of more than these go. */
const UNNAMED_MAX = 50;

/**
 * @typedef {object} Entry
 * @property {string} id
 * @property {string} name Empty if nobody gave it one.
 * @property {number} at When it was last written, in ms since 1970.
 * @property {string} stamp
 * @property {import("./programs.js").Program} program
 */

export function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(9));
  return btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_");
}

/** @returns {Entry | null} */
export function read(id) {
  const entry = recall(PREFIX + id);
  const isEntry = isProgram(entry?.program) && typeof entry.name === "string" && typeof entry.stamp === "string";
  return isEntry ? { ...entry, id, at: Number(entry.at) || 0 } : null;
}

/** All of them, the newest first. @returns {Entry[]} */
export function list() {
  const entries = keysOf(PREFIX).map((key) => read(key.slice(PREFIX.length))).filter(Boolean);
  return entries.sort((one, other) => other.at - one.at);
}

/**
 * Keep a program under its id.
 *
 * @param {Entry} entry
 * @returns {boolean} Whether it outlives this page.
 */
export function write({ id, name, at, stamp, program }) {
  const kept = remember(PREFIX + id, { name, at, stamp, program });
  const unnamed = list().filter((entry) => !entry.name);
  for (const entry of unnamed.slice(UNNAMED_MAX)) remove(entry.id);
  return kept;
}

export function remove(id) {
  forget(PREFIX + id);
}

/** A name that no other program has: the one that is wanted, or that with a number. */
export function freeName(wanted) {
  const taken = new Set(list().map(({ name }) => name));
  let name = wanted;
  for (let number = 2; taken.has(name); number++) name = `${wanted} (${number})`;
  return name;
}
