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
    const parts = parameters.split(";");
    const style = this.#style;
    for (let index = 0; index < parts.length; index++) {
      // After colons comes what belongs to this one alone (ITU-T T.416): 4:3 is a curly underline.
      const [code, ...own] = parts[index].split(":").map(Number);
      if (code === 0) for (const key of Object.keys(style)) delete style[key];
      else if (code === 1) style.bold = true;
      else if (code === 2) style.dim = true;
      else if (code === 3) style.italic = true;
      else if (code === 4) style.underline = own[0] !== 0;
      else if (code === 21) style.underline = true;
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
      else if (code === 38 || code === 48 || code === 58) {
        let chosen;
        if (own.length) {
          // 5:n, or 2:r:g:b, or 2:colour-space:r:g:b.
          chosen = own[0] === 5 ? indexed(own[1]) : own.slice(-3);
        } else {
          const [kind, ...rest] = parts.slice(index + 1, index + 5).map(Number);
          if (kind === 5) chosen = indexed(rest[0]);
          else if (kind === 2) chosen = rest;
          index += { 5: 2, 2: 4 }[kind] ?? 0;
        }
        // 58 is the underline's colour, which is not shown.
        if (chosen !== undefined && code !== 58) style[code === 38 ? "color" : "background"] = chosen;
      }
    }
    this.#current = rendition(style);
  }
}

/**
 * How text looks: classes, and colours that are none of the sixteen named ones.
 *
 * @typedef {{key: string, className: string, color?: string, background?: string}} Style
 */

function rendition(style) {
  const classes = [];
  const result = {};
  for (const name of ["bold", "dim", "italic", "underline", "strike"]) {
    if (style[name]) classes.push(`a-${name}`);
  }
  for (const [name, prefix] of [["color", "a-c"], ["background", "a-b"]]) {
    if (typeof style[name] === "number") classes.push(prefix + style[name]);
    else if (style[name]) result[name] = `rgb(${style[name].map((part) => part || 0)})`;
  }
  if (style.inverse || style.color !== undefined || style.background !== undefined) {
    classes.push(style.inverse ? "a-inverse" : "a-colour", ...legibility(style));
  }
  result.className = classes.join(" ");
  result.key = `${result.className}|${result.color ?? ""}|${result.background ?? ""}`;
  return result.key === "||" ? null : result;
}

/** Named colours suit the page's theme; one by number or value may not, and is then made to. */
function legibility({ color, background, inverse }) {
  const [text, ground] = inverse ? [background, color] : [color, background];
  if (Array.isArray(text) && Array.isArray(ground)) return [];
  if (Array.isArray(ground)) return [isDark(ground) ? "a-on-dark" : "a-on-light"];
  return Array.isArray(text) ? [inverse ? "a-on-inverse" : "a-on-page"] : [];
}

/** By the weights of brightness in sRGB. */
function isDark([red = 0, green = 0, blue = 0]) {
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue < 128;
}

/** The 256-colour palette: 16 named, a 6×6×6 cube, 24 greys. */
function indexed(number = 0) {
  if (number < 16) return number;
  if (number >= 232) {
    const grey = 8 + (number - 232) * 10;
    return [grey, grey, grey];
  }
  const levels = [0, 95, 135, 175, 215, 255];
  const cube = number - 16;
  return [levels[Math.floor(cube / 36) % 6], levels[Math.floor(cube / 6) % 6], levels[cube % 6]];
}
