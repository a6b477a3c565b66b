/** Zip files: fflate behind what page/transfer.js needs. */

import { strToU8, unzipSync, zipSync } from "fflate";

/** @param {{name: string, content: string}[]} files */
export function pack(files) {
  return zipSync(Object.fromEntries(files.map(({ name, content }) => [name, strToU8(content)])));
}

/**
 * The files of a zip file, without the folder that holds them all, if there is one.
 *
 * @throws If it is none, or unpacks to more than `maxBytes`.
 */
export function unpack(bytes, maxBytes) {
  let total = 0;
  const found = unzipSync(bytes, {
    filter: ({ name, originalSize }) => {
      // What archivers of some systems add beside the files.
      if (name.endsWith("/") || /(^|\/)(__MACOSX|\.DS_Store)(\/|$)/.test(name)) return false;
      total += originalSize;
      if (total > maxBytes) throw new RangeError(`more than ${maxBytes} bytes`);
      return true;
    },
  });
  let names = Object.keys(found);
  const folder = /^[^/]+\//.exec(names[0] ?? "")?.[0];
  const cut = folder && names.every((name) => name.startsWith(folder)) ? folder.length : 0;
  names = names.filter((name) => !name.slice(cut).split("/").some((part) => part === ".." || part === "." || part === ""));
  return names.map((name) => ({ name: name.slice(cut), bytes: found[name] }));
}
