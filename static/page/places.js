/**
 * Places that a program's output names: errors of compilers and interpreters in the program's own
 * files, and addresses on the web. Pure: text in, places out.
 */

/** Where a run's files are, and how else their names may begin. */
const BEFORE = String.raw`(?:file:///home/glot/|/home/glot/|\./)?`;
/** What follows the name, in the order of their frequency; each has a line and perhaps a column. */
const AFTER = [
  // C, C++, Rust, Go, Java, Ruby, Lua, node, Haskell, Erlang, Guile and most others; Groovy.
  String.raw`:(\d+)(?::(\d+))?`,
  String.raw`: (\d+)(?=: )`,
  // Python, OCaml.
  String.raw`", line (\d+)`,
  // bash; Perl and PHP; PHP's own messages.
  String.raw`: line (\d+)`,
  String.raw`(?: on)? line (\d+)`,
  // C#, F#, TypeScript, Pascal, D, Nim.
  String.raw`\((\d+)(?:, ?(\d+))?`,
  // ATS.
  String.raw`: \d+\(line=(\d+), offs=(\d+)\)`,
].join("|");
// Up to what usually ends an address in a text; see also `trimmed`.
const ADDRESS = String.raw`https?://[^\s"'<>\x60{}|\\^\x00-\x1f]+`;

const TROUBLE = /error|exception|panic|warning|fatal|fault/i;

/**
 * @typedef {{start: number, end: number, file: string, line: number, column: number | null}} Place
 * @typedef {{start: number, end: number, url: string}} Address
 */

/**
 * Return a function that finds the places in a text.
 *
 * @param {{name: string, content: string}[]} files Those of the program, the main file first; none if they are not known.
 * @param {{anyMain?: boolean}} [options] Whether the main file may be called main.py, Main.java and so on,
 *   for who sent it without a name.
 * @returns {(text: string) => (Place | Address)[]} In the order of the text, none within another.
 */
export function placeFinder(files, { anyMain = false } = {}) {
  const names = knownNames(files);
  const alternatives = [...names.keys()].sort((one, other) => other.length - one.length).map(escaped);
  if (anyMain) alternatives.push(String.raw`[Mm]ain\.\w+`);
  // A name begins where no longer name could: not within a word or below another folder.
  const place = String.raw`(?<![\w./-])(${BEFORE})(${alternatives.join("|")})(?:${AFTER})`;
  const pattern = new RegExp(alternatives.length ? `${ADDRESS}|${place}` : ADDRESS, "g");
  return (text) => {
    const found = [];
    for (const match of text.matchAll(pattern)) {
      const [whole, , name, ...numbers] = match;
      const start = match.index;
      if (name === undefined) {
        const url = trimmed(whole);
        if (URL.canParse(url)) found.push({ start, end: start + url.length, url });
        continue;
      }
      const given = numbers.filter((number) => number !== undefined).map(Number);
      const file = names.get(name) ?? files[0].name;
      found.push({ start, end: start + whole.length, file, line: given[0], column: given[1] ?? null });
    }
    return found;
  };
}

/**
 * What the editor shows at the places that a failed run named: for each line its first error, else its first message.
 *
 * @param {{line: string, place: Place}[]} found With the lines of output that name them.
 * @param {string[]} lines All lines of the errors.
 * @returns {{file: string, line: number, column: number | null, severity: "error" | "warning" | "info", message: string}[]}
 */
export function marksOf(found, lines) {
  // Of a stack trace, what went wrong stands before or after all the places; what came last counts.
  const headline = lines.findLast((line) => /^\S/.test(line) && TROUBLE.test(line) && !found.some((other) => other.line === line));
  const marks = new Map();
  for (const { line, place } of found) {
    const key = `${place.file}:${place.line}`;
    const rest = `${line.slice(0, place.start)} ${line.slice(place.end)}`.replace(/^[\s:,"()>-]+|(?:\b(?:in|at|on)\b|[\s:,.("-])*$/g, "");
    const own = /^\S/.test(line) && /\s/.test(rest);
    const message = own ? rest : (headline ?? line.trim());
    const severity = /\bwarning\b/i.test(line) ? "warning" : /\b(?:note|info)\b/i.test(line) ? "info" : "error";
    // An error is not hidden by the warning before it.
    if (marks.has(key) && (severity !== "error" || marks.get(key).severity === "error")) continue;
    marks.set(key, { file: place.file, line: place.line, column: place.column, severity, message });
  }
  return [...marks.values()];
}

/** Names in messages, and the files they mean. */
function knownNames(files) {
  const names = new Map();
  for (const { name, content } of files) {
    names.set(name, name);
    // Java names the file after its class, and the server does so where the program doesn't.
    if (!/\.(java|kt|scala)$/.test(name)) continue;
    const extension = name.slice(name.lastIndexOf("."));
    for (const [, type] of content.matchAll(/\b(?:class|interface|enum|record|object)\s+(\w+)/g)) {
      const named = type + extension;
      if (!names.has(named)) names.set(named, name);
    }
  }
  return names;
}

/** An address without what belongs to the sentence around it. */
function trimmed(url) {
  let end = url.length;
  for (;;) {
    const last = url[end - 1];
    const unopened = last === ")" && !url.slice(0, end).includes("(");
    if (unopened || ".,:;!?]*".includes(last)) end--;
    else return url.slice(0, end);
  }
}

function escaped(name) {
  return name.replace(/[.*+?^${}()|[\]\\/-]/g, "\\$&");
}
