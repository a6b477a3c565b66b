/** Terminal escape sequences in program output: colours, weights, clearing; everything else is dropped. */

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
  /** Where the text goes on after the cursor went to the upper left corner; erasing there clears all. */
  #home = -1;

  /**
   * @param {string} chunk
   * @param {{text: (text: string, style: Style | null) => void, restart: () => void, back: () => void,
   *   clear: () => void, move: () => void}} sink `move` is called for what only a terminal can show.
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
    this.#home = this.#home === Infinity ? 0 : -1;
    CONTROL.lastIndex = 0;
    for (let match; (match = CONTROL.exec(text)); end = CONTROL.lastIndex) {
      if (match.index > end) sink.text(text.slice(end, match.index), this.#current);
      if (match[2] === "m") this.#select(match[1]);
      else if (match[2]) this.#command(match, sink);
      else if (match[0] === "\b") sink.back();
      else if (match[0] === "\r" && text[match.index + 1] !== "\n") sink.restart();
    }
    if (end < text.length) sink.text(text.slice(end), this.#current);
    // The rest of the sequence may come in the next chunk.
    else if (this.#home === end) this.#home = Infinity;
  }

  /** Erasing all of the display clears; moving about in it is for a terminal (ECMA-48 section 8.3). */
  #command({ 0: whole, 1: parameters, 2: kind, index }, sink) {
    const toHome = (kind === "H" || kind === "f") && /^(?:1?;?1?)$/.test(parameters);
    if (kind === "J" && (/^[23]$/.test(parameters) || (/^0?$/.test(parameters) && this.#home === index))) {
      sink.clear();
      this.#home = this.#home === index ? index + whole.length : -1;
    } else if (toHome) this.#home = index + whole.length;
    else if (/[ABDEFGHdf]/.test(kind) || (kind === "h" && /^\?(?:47|1047|1049)$/.test(parameters))) sink.move();
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
 * How text looks: classes, and colours that hold in both themes.
 *
 * @typedef {{key: string, className: string, color?: string, background?: string}} Style
 */

/** The sixteen named colours as grounds: red is red in both themes. */
const NAMED = [
  0x000000, 0xc4352b, 0x1f8a4c, 0xc9a20c, 0x2563d4, 0xa23bb0, 0x0e8a9a, 0xd5dbe3,
  0x59616c, 0xef5350, 0x3ec47a, 0xf5d547, 0x5b95f5, 0xd070de, 0x3cc7d6, 0xffffff,
].map((value) => [value >> 16, (value >> 8) & 255, value & 255]);
const WHITE = [255, 255, 255];
const BLACK = [0, 0, 0];
/** WCAG 2.2, 1.4.3. */
const CONTRAST_MIN = 4.5;

function rendition(style) {
  const classes = [];
  const result = {};
  for (const name of ["bold", "dim", "italic", "underline", "strike"]) {
    if (style[name]) classes.push(`a-${name}`);
  }
  const { inverse } = style;
  const [text, ground] = inverse ? [style.background, style.color] : [style.color, style.background];
  if (ground !== undefined) {
    const under = parts(ground);
    // Two colours by value are a picture more often than they are words.
    const over = Array.isArray(text) && Array.isArray(ground) ? text : legible(text === undefined ? null : parts(text), under);
    result.color = css(over);
    result.background = css(under);
    classes.push("a-colour");
  } else if (inverse) {
    classes.push("a-inverse");
    if (text !== undefined) {
      result.background = css(parts(text));
      classes.push("a-on-inverse");
    }
  } else if (Array.isArray(text)) {
    result.color = css(text);
    classes.push("a-colour", "a-on-page");
  } else if (text !== undefined) classes.push("a-colour", `a-c${text}`);
  result.className = classes.join(" ");
  result.key = `${result.className}|${result.color ?? ""}|${result.background ?? ""}`;
  return result.key === "||" ? null : result;
}

/** The red, green and blue of a colour: a number for a named one. */
function parts(colour) {
  return typeof colour === "number" ? NAMED[colour] : colour.map((part) => part || 0);
}

function css(colour) {
  return `rgb(${colour.map((part) => Math.round(part || 0))})`;
}

/** A colour as near to `text` as can be read on a ground; black or white if none was asked for. */
function legible(text, ground) {
  const end = contrast(WHITE, ground) > contrast(BLACK, ground) ? WHITE : BLACK;
  if (!text) return end;
  for (let share = 0; share < 1; share += 0.1) {
    const mixed = text.map((part, index) => part + (end[index] - part) * share);
    if (contrast(mixed, ground) >= CONTRAST_MIN) return mixed;
  }
  return end;
}

/** WCAG's contrast ratio. */
function contrast(one, other) {
  const [low, high] = [luminance(one), luminance(other)].sort((left, right) => left - right);
  return (high + 0.05) / (low + 0.05);
}

function luminance(colour) {
  const [red, green, blue] = colour.map((part) => {
    const share = part / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
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
