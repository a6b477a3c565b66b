/** What a language's image has, for those whose program misses something. */

const MISSING = /^ModuleNotFoundError: No module named '([\w.]+)'/m;
/** Debian's name for what Python imports, beside what comes with Python itself. */
const MODULE = /^python3-(?!minimal$|distutils$|lib2to3$|pkg-resources$|setuptools$)(.+)$/;
const NAMED_MAX = 30;

/**
 * Say which modules there are, if a program has asked for one that is not.
 *
 * @param {string} printed
 * @param {() => Promise<{packages?: {name: string}[] | null} | null>} ask Asks the server for the language.
 * @returns {Promise<string>} Nothing to say is the empty string.
 */
export async function explainMissing(printed, ask) {
  const missing = MISSING.exec(printed)?.[1];
  if (!missing) return "";
  const packages = (await ask())?.packages;
  if (!packages) return "";
  const named = packages.flatMap(({ name }) => MODULE.exec(name)?.[1] ?? []);
  const list = named.slice(0, NAMED_MAX).join(", ") + (named.length > NAMED_MAX ? ", …" : "");
  return `${missing} is none of your files, and not installed here. Beside Python's own modules there ${list ? `are: ${list}` : "are none"}.`;
}
