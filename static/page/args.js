/** Split a line into arguments as a shell does: spaces part, quotes and backslashes keep together. */
export function splitArguments(line) {
  const found = [];
  let current = null;
  let quote = "";
  for (let index = 0; index < line.length; index++) {
    const character = line[index];
    if (quote) {
      if (character === quote) quote = "";
      else if (character === "\\" && quote === '"' && '"\\$`'.includes(line[index + 1])) current += line[++index];
      else current += character;
    } else if (character === "'" || character === '"') {
      quote = character;
      current ??= "";
    } else if (character === "\\" && index + 1 < line.length) {
      current = (current ?? "") + line[++index];
    } else if (/\s/.test(character)) {
      if (current !== null) found.push(current);
      current = null;
    } else {
      current = (current ?? "") + character;
    }
  }
  if (current !== null) found.push(current);
  return found;
}
