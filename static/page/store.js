/** Programs kept across reloads, and programs in links. */

const PREFIX = "wsrunner.";

export function remember(key, value) {
  try {
    localStorage.setItem(PREFIX + key, JSON.stringify(value));
  } catch {
    // No storage (private window, full): the page works, it just forgets.
  }
}

export function recall(key) {
  try {
    return JSON.parse(localStorage.getItem(PREFIX + key));
  } catch {
    return null;
  }
}

export function forget(key) {
  try {
    localStorage.removeItem(PREFIX + key);
  } catch {
    // As above.
  }
}

/**
 * Pack a program into the fragment of a link; a fragment is never sent to a server.
 *
 * @param {import("./main.js").Program} program
 */
export async function pack(program) {
  const json = new TextEncoder().encode(JSON.stringify(program));
  const stream = new Blob([json]).stream().pipeThrough(new CompressionStream("deflate-raw"));
  const packed = new Uint8Array(await new Response(stream).arrayBuffer());
  let binary = "";
  for (const byte of packed) binary += String.fromCharCode(byte);
  return `#code=${btoa(binary).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "")}`;
}

/** Return the program in a fragment; null if there is none that can be read. */
export async function unpack(fragment) {
  const packed = /^#code=([\w-]+)$/.exec(fragment)?.[1];
  if (!packed) return null;
  try {
    const binary = atob(packed.replaceAll("-", "+").replaceAll("_", "/"));
    const bytes = Uint8Array.from(binary, (character) => character.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
    const program = JSON.parse(await new Response(stream).text());
    return isProgram(program) ? program : null;
  } catch {
    return null;
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
    (value.stdin === undefined || value.stdin === null || typeof value.stdin === "string")
  );
}
