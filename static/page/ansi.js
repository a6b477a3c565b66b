/** Terminal escape sequences in program output: colours and weights; everything else is dropped. */

// CSI, OSC, other escapes, carriage return and backspace.
const CONTROL =
  // eslint-disable-next-line no-control-regex
  /\x1b\[([0-9;:<=>?]*)[ -/]*([@-~])|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[ -/]*[0-~]|[\r\b\x00-\x07\x0e-\x1a\x7f]/g;
// eslint-disable-next-line no-control-regex
const UNFINISHED = /\x1b(?:\[[0-9;:<=>?]*[ -/]*|\][^\x07\x1b]{0,1000}\x1b?)?$|\r$/;
// eslint-disable-next-line no-control-regex
const SPECIAL = /[\x00-\x08\x0e-\x1f\x7f\r]/;

/** Reads one stream. Its state goes on over chunks, so a colour holds until it is reset. */
export class AnsiReader {
  #tail = "";
  #style = {};
  #current = null;

  /**
   * @param {string} chunk
   * @param {{text: (text: string, style: Style | null) => void, restart: () => void, back: () => void}} sink
   */
  read(chunk, sink) {
    let text = this.#tail + chunk;
    this.#tail = "";
    if (!SPECIAL.test(text)) {
      if (text) sink.text(text, this.#current);
      return;
    }
    const unfinished = UNFINISHED.exec(text);
    if (unfinished) {
      this.#tail = unfinished[0];
      text = text.slice(0, unfinished.index);
    }
    let end = 0;
    CONTROL.lastIndex = 0;
    for (let match; (match = CONTROL.exec(text)); end = CONTROL.lastIndex) {
      if (match.index > end) sink.text(text.slice(end, match.index), this.#current);
      if (match[2] === "m") this.#select(match[1]);
      else if (match[0] === "\b") sink.back();
      else if (match[0] === "\r" && text[match.index + 1] !== "\n") sink.restart();
    }
    if (end < text.length) sink.text(text.slice(end), this.#current);
  }

  /** Select Graphic Rendition (ECMA-48 section 8.3.117). */
  #select(parameters) {
    const codes = parameters.replaceAll(":", ";").split(";").map(Number);
    const style = this.#style;
    for (let index = 0; index < codes.length; index++) {
      const code = codes[index];
      if (code === 0) for (const key of Object.keys(style)) delete style[key];
      else if (code === 1) style.bold = true;
      else if (code === 2) style.dim = true;
      else if (code === 3) style.italic = true;
      else if (code === 4) style.underline = true;
      else if (code === 7) style.inverse = true;
      else if (code === 9) style.strike = true;
      else if (code === 22) style.bold = style.dim = false;
      else if (code === 23) style.italic = false;
      else if (code === 24) style.underline = false;
      else if (code === 27) style.inverse = false;
      else if (code === 29) style.strike = false;
      else if (code >= 30 && code <= 37) style.color = code - 30;
      else if (code === 39) delete style.color;
      else if (code >= 40 && code <= 47) style.background = code - 40;
      else if (code === 49) delete style.background;
      else if (code >= 90 && code <= 97) style.color = code - 82;
      else if (code >= 100 && code <= 107) style.background = code - 92;
      else if (code === 38 || code === 48) {
        const key = code === 38 ? "color" : "background";
        if (codes[index + 1] === 5) {
          style[key] = indexed(codes[index + 2]);
          index += 2;
        } else if (codes[index + 1] === 2) {
          style[key] = `rgb(${codes.slice(index + 2, index + 5).map((part) => part || 0)})`;
          index += 4;
        }
      }
    }
    this.#current = rendition(style);
  }
}

/** @typedef {{key: string, className: string, color?: string, background?: string}} Style */

function rendition(style) {
  const classes = [];
  for (const name of ["bold", "dim", "italic", "underline", "inverse", "strike"]) {
    if (style[name]) classes.push(`a-${name}`);
  }
  const result = {};
  for (const [name, prefix] of [["color", "a-c"], ["background", "a-b"]]) {
    if (typeof style[name] === "number") classes.push(prefix + style[name]);
    else if (style[name]) result[name] = style[name];
  }
  result.className = classes.join(" ");
  result.key = `${result.className}|${result.color ?? ""}|${result.background ?? ""}`;
  return result.key === "||" ? null : result;
}

/** The 256-colour palette: 16 named, a 6×6×6 cube, 24 greys. */
function indexed(number = 0) {
  if (number < 16) return number;
  if (number >= 232) {
    const grey = 8 + (number - 232) * 10;
    return `rgb(${grey},${grey},${grey})`;
  }
  const levels = [0, 95, 135, 175, 215, 255];
  const cube = number - 16;
  return `rgb(${levels[Math.floor(cube / 36) % 6]},${levels[Math.floor(cube / 6) % 6]},${levels[cube % 6]})`;
}
