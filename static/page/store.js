/** Programs and tokens kept across reloads, and programs in links. */

const PREFIX = "wsrunner.";
/** A link may hold a program of this size; a small one that unpacks to gigabytes is no program. */
const UNPACKED_MAX_BYTES = 8 * 1024 * 1024;

/** What no storage took (a private window, blocked, full): the page works, it just forgets at its end. */
const unkept = new Map();

// Reading the property itself throws where the browser allows no storage.
const stores = { local: () => localStorage, session: () => sessionStorage };

/** Keep a value; false if it is kept only as long as this page. */
export function remember(key, value, where = "local") {
  try {
    stores[where]().setItem(PREFIX + key, JSON.stringify(value));
    unkept.delete(where + key);
    return true;
  } catch {
    unkept.set(where + key, value);
    return false;
  }
}

export function recall(key, where = "local") {
  if (unkept.has(where + key)) return unkept.get(where + key);
  try {
    return JSON.parse(stores[where]().getItem(PREFIX + key));
  } catch {
    return null;
  }
}

export function forget(key, where = "local") {
  unkept.delete(where + key);
  try {
    stores[where]().removeItem(PREFIX + key);
  } catch {
    // No storage has nothing to forget.
  }
}

/** The keys that begin with a prefix. */
export function keysOf(prefix, where = "local") {
  const keys = new Set([...unkept.keys()].filter((key) => key.startsWith(where)).map((key) => key.slice(where.length)));
  try {
    for (const key of Object.keys(stores[where]())) {
      if (key.startsWith(PREFIX)) keys.add(key.slice(PREFIX.length));
    }
  } catch {
    // No storage has no keys.
  }
  return [...keys].filter((key) => key.startsWith(prefix));
}

/** The access token under a name; that of this tab comes before the one that is kept for good. */
export function recallToken(name) {
  const found = recall(name, "session") ?? recall(name);
  return typeof found === "string" ? found : "";
}

/** Keep a token for this tab only, or for good. */
export function keepToken(name, token, forGood) {
  forget(name, forGood ? "session" : "local");
  remember(name, token, forGood ? "local" : "session");
}

/**
 * Pack a program into the fragment of a link; a fragment is never sent to a server.
 *
 * @param {import("./programs.js").Program} program
 */
export async function pack(program) {
  const json = new TextEncoder().encode(JSON.stringify(program));
  const stream = new Blob([json]).stream().pipeThrough(new CompressionStream("deflate-raw"));
  const packed = new Uint8Array(await new Response(stream).arrayBuffer());
  let binary = "";
  for (const byte of packed) binary += String.fromCharCode(byte);
  return `#code=${btoa(binary).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "")}`;
}

/** Whether a fragment is meant to hold a program, readable or not. */
export function isLink(fragment) {
  return fragment.startsWith("#code=");
}

/** Return the program in a fragment; null if there is none that can be read. */
export async function unpack(fragment) {
  const packed = /^#code=([\w-]+)$/.exec(fragment)?.[1];
  if (!packed) return null;
  try {
    const binary = atob(packed.replaceAll("-", "+").replaceAll("_", "/"));
    const bytes = Uint8Array.from(binary, (character) => character.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
    const program = JSON.parse(await textOf(stream));
    return isProgram(program) ? program : null;
  } catch {
    return null;
  }
}

async function textOf(stream) {
  const decoder = new TextDecoder();
  let text = "";
  let size = 0;
  for (const reader = stream.getReader(); ;) {
    const { done, value } = await reader.read();
    if (done) return text + decoder.decode();
    size += value.length;
    if (size > UNPACKED_MAX_BYTES) throw new RangeError("more than a program can be");
    text += decoder.decode(value, { stream: true });
  }
}

/** Whether a value that came from outside is a program. */
export function isProgram(value) {
  return (
    typeof value?.language === "string" &&
    Array.isArray(value.files) &&
    value.files.length > 0 &&
    value.files.every((file) => typeof file?.name === "string" && typeof file?.content === "string") &&
    (value.args === undefined || typeof value.args === "string") &&
    (value.stdin === undefined || value.stdin === null || typeof value.stdin === "string") &&
    (value.merge === undefined || typeof value.merge === "boolean")
  );
}

/** Whether two programs are the same to whoever wrote them. */
export function isSame(one, other) {
  const form = ({ language, files, args = "", stdin = "", merge = false }) =>
    JSON.stringify([language, files.map(({ name, content }) => [name, content]), args ?? "", stdin ?? "", merge]);
  return form(one) === form(other);
}
