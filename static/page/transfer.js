/** Files that come from the person's own machine, and go there. */

import { loadBundle } from "./bundle.js";
import { toast } from "./notices.js";
import { size } from "./words.js";

/** @type {(id: string) => any} Each id of the page has an element of a kind of its own. */
const $ = (id) => document.getElementById(id);
/** What a server takes in one message, if nobody set it otherwise. */
const TOTAL_MAX_BYTES = 1024 * 1024;

/**
 * Read files as text; what is none, or too large, is told and left out. A zip file stands for its files.
 *
 * @param {Iterable<File>} given
 * @returns {Promise<{name: string, content: string}[]>}
 */
export async function readFiles(given) {
  const found = [];
  for (const file of given) {
    if (file.size > TOTAL_MAX_BYTES) {
      toast(`${file.name} has ${size(file.size)}; a program has at most ${size(TOTAL_MAX_BYTES)}`);
      return [];
    }
    const bytes = new Uint8Array(await file.arrayBuffer());
    if (!/\.zip$/i.test(file.name)) found.push({ name: file.name, bytes });
    else {
      const unpacked = await unzip(file.name, bytes);
      if (!unpacked) return [];
      found.push(...unpacked);
    }
  }
  const total = found.reduce((sum, { bytes }) => sum + bytes.length, 0);
  if (total > TOTAL_MAX_BYTES) {
    toast(`These files have ${size(total)}; a program has at most ${size(TOTAL_MAX_BYTES)}`);
    return [];
  }
  const texts = [];
  const others = [];
  for (const { name, bytes } of found) {
    const content = asText(bytes);
    if (content === null) others.push(name);
    else texts.push({ name, content });
  }
  if (others.length) toast(`Left out, as it is no text: ${others.join(", ")}`);
  return texts;
}

/** What loads zip files' code; null where there is no bundle. */
function loadZip() {
  return loadBundle().then(({ zip }) => zip, () => null);
}

async function unzip(name, bytes) {
  const zip = await loadZip();
  if (!zip) {
    toast(`${name}: this server has nothing to unpack zip files with`);
    return null;
  }
  try {
    return (await zip()).unpack(bytes, TOTAL_MAX_BYTES);
  } catch {
    toast(`${name} is no zip file that can be read, or unpacks to more than ${size(TOTAL_MAX_BYTES)}`);
    return null;
  }
}

function asText(bytes) {
  try {
    const text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
    return text.includes("\0") ? null : text.replace(/\r\n/g, "\n");
  } catch {
    return null;
  }
}

/**
 * Which file a program starts with, and in which language.
 *
 * @param {{name: string}[]} files
 * @param {{id: string, file: string, present: boolean}[]} languages
 * @param {string} preferred The language to take where several have the same file names.
 */
export function mainOf(files, languages, preferred) {
  const rank = ({ id, present }) => (id === preferred ? 0 : present ? 1 : 2);
  const known = [...languages].sort((one, other) => rank(one) - rank(other));
  const candidates = files.flatMap((file) => {
    const language = known.find((entry) => extension(entry.file) === extension(file.name));
    if (!language) return [];
    const base = file.name.split("/").pop().toLowerCase();
    const named = base === language.file.toLowerCase() ? 0 : 1;
    return [{ file, language: language.id, order: named * 100 + file.name.split("/").length }];
  });
  candidates.sort((one, other) => one.order - other.order);
  return candidates[0] ?? null;
}

function extension(name) {
  return /\.(\w+)$/.exec(name)?.[1].toLowerCase() ?? "";
}

/** Give the person a program: one file as it is, several as a zip file. */
export async function download({ name, program }) {
  const { files, language } = program;
  if (files.length === 1) {
    give(files[0].name.split("/").pop(), new TextEncoder().encode(files[0].content));
    return;
  }
  const zip = await loadZip();
  // Without the bundle each comes by itself.
  if (!zip) for (const file of files) give(file.name.replaceAll("/", "_"), new TextEncoder().encode(file.content));
  else give(`${(name || language).replace(/[\\/:*?"<>|]/g, "_")}.zip`, (await zip()).pack(files));
}

/**
 * Let the browser save bytes as a file.
 *
 * @param {string} name Without folders.
 * @param {Uint8Array<ArrayBuffer>} bytes
 */
export function give(name, bytes) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([bytes]));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

/** @param {(files: {name: string, content: string}[]) => void} onFiles Called with what is dropped on the page. */
export function receiveDrops(onFiles) {
  const carriesFiles = (event) => event.dataTransfer?.types.includes("Files");
  const show = (on) => {
    $("drop").hidden = !on;
  };
  // Before the editor, which would take the text of a file as typed.
  const capture = { capture: true };
  document.addEventListener("dragover", (event) => {
    if (!carriesFiles(event)) return;
    event.preventDefault();
    show(true);
  }, capture);
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) show(false);
  }, capture);
  document.addEventListener("drop", async (event) => {
    if (!carriesFiles(event)) return;
    event.preventDefault();
    event.stopPropagation();
    show(false);
    const files = await readFiles(event.dataTransfer.files);
    if (files.length) onFiles(files);
  }, capture);
}
