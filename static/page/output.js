/**
 * The output of a program, fast at hundreds of thousands of lines.
 *
 * Text waits until the next animation frame, is then written in blocks of lines, and a block that is
 * out of sight costs the browser no layout (`content-visibility`). A frame writes for a few
 * milliseconds at most, so the page stays responsive however much arrives.
 */

import { AnsiReader } from "./ansi.js";
import { size } from "./words.js";

const BLOCK_LINES = 200;
const BLOCK_CHARS = 64 * 1024;
/** Lines kept on the page; earlier ones are left out there, while `text` has them still. */
const SHOWN_LINES = 250_000;
/** Links made on the page; the output of a program that prints more has no more of them. */
const LINKS_MAX = 2000;
const FRAME_MS = 8;
const PIECE_CHARS = 64 * 1024;

export class Output {
  #element;
  #queue = [];
  #frame = 0;
  #readers = {};
  #block = null;
  #blockLines = 0;
  #blockChars = 0;
  /** Nodes of the line that is not finished yet. */
  #line = [];
  #restart = false;
  #lastKey = "";
  #shownLines = 0;
  #hiddenLines = 0;
  #blocks = [];
  #hiddenNote = null;
  #all = [];
  #stick = true;
  #top = 0;
  #onText;
  #onChange;
  #onDrawn = [];
  #onPlace;
  /** Where the links of the output come from; see places.js. */
  #find = null;
  #links = 0;
  /** Bytes in a row that are no text, and the note that counts them. */
  #binary = { bytes: 0, node: null, index: 0 };
  /** Whether something was printed that is not shown as it was meant. */
  #hasOdd = false;
  #hasMoves = false;

  /**
   * @param {HTMLElement} element A scrolling element.
   * @param {{onText?: (text: string) => void, onChange?: () => void,
   *   onOpen?: (place: import("./places.js").Place) => void,
   *   onPlace?: (stream: string, line: string, place: import("./places.js").Place) => void}} [options]
   *   Called with what the program printed, without escape sequences; whenever `empty` may have
   *   changed; when somebody follows a link to a place; with each place, which is one of its line.
   */
  constructor(element, { onText, onChange, onOpen, onPlace } = {}) {
    this.#element = element;
    this.#onText = onText;
    this.#onPlace = onPlace;
    element.addEventListener("click", (event) => {
      const { place } = /** @type {any} */ (event.target).closest("a.place") ?? {};
      if (!place) return;
      event.preventDefault();
      onOpen?.(place);
    });
    element.addEventListener("scroll", () => {
      const below = element.scrollHeight - element.scrollTop - element.clientHeight;
      // Only scrolling up leaves the end: what is below also grows when the element gets smaller.
      this.#stick = below < 40 || (this.#stick && element.scrollTop >= this.#top);
      this.#top = element.scrollTop;
    }, { passive: true });
    new ResizeObserver(() => this.#scroll()).observe(element);
    this.clear();
    // Nobody has this object before now.
    this.#onChange = onChange;
  }

  /** What finds the places in finished lines: see `placeFinder`. */
  set finder(find) {
    this.#find = find;
  }

  /** Everything that was printed, without escape sequences. */
  get text() {
    this.#write(Infinity);
    return this.#all.join("");
  }

  get empty() {
    return this.#all.length === 0 && this.#queue.length === 0;
  }

  /** Call a function when all that was appended is on the page; not if it is cleared before. */
  whenDrawn(action) {
    if (this.#queue.length) this.#onDrawn.push(action);
    else action();
  }

  /** What a reader should know about the output, at its end. */
  get remarks() {
    const remarks = [];
    if (this.#hasOdd) remarks.push("Some of the output is no UTF-8 text; \ufffd stands for it.");
    if (this.#hasMoves) remarks.push("This program draws on the screen. In a terminal (Input: Terminal) it looks as it should.");
    return remarks;
  }

  /**
   * @param {"stdout" | "stderr" | "typed" | "note"} stream
   * @param {string} text
   * @param {Uint8Array} [bytes] What was printed, where that is no UTF-8; `text` is then as near as it gets.
   */
  append(stream, text, bytes) {
    const wasEmpty = this.empty;
    if (bytes) {
      if (isBinary(text)) {
        this.#queue.push({ stream: "binary", text: "", bytes: bytes.length });
        if (wasEmpty) this.#onChange?.();
        this.#frame ||= requestAnimationFrame(() => this.#draw());
        return;
      }
      this.#hasOdd = true;
    }
    const last = this.#queue[this.#queue.length - 1];
    if (last?.stream === stream && last.text.length < PIECE_CHARS) last.text += text;
    else {
      for (let start = 0; start < text.length; ) {
        const end = wholeCharacter(text, start + PIECE_CHARS);
        this.#queue.push({ stream, text: text.slice(start, end) });
        start = end;
      }
    }
    if (wasEmpty) this.#onChange?.();
    this.#frame ||= requestAnimationFrame(() => this.#draw());
  }

  clear() {
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
    this.#queue = [];
    this.#readers = { stdout: new AnsiReader(), stderr: new AnsiReader(), typed: new AnsiReader(), note: new AnsiReader() };
    this.#hasOdd = this.#hasMoves = false;
    this.#links = 0;
    this.#empty();
    this.#stick = true;
    this.#top = 0;
    this.#onDrawn = [];
    this.#onChange?.();
  }

  /** Leave nothing on the page, as if nothing had been printed yet. */
  #empty() {
    this.#all = [];
    this.#blocks = [];
    this.#shownLines = this.#hiddenLines = 0;
    this.#hiddenNote = null;
    this.#restart = false;
    this.#binary = { bytes: 0, node: null, index: 0 };
    this.#element.replaceChildren();
    this.#newBlock();
  }

  #draw() {
    this.#frame = 0;
    this.#write(performance.now() + FRAME_MS);
    this.#trim();
    this.#scroll();
    if (this.#queue.length) {
      this.#frame = requestAnimationFrame(() => this.#draw());
      return;
    }
    for (const action of this.#onDrawn.splice(0)) action();
  }

  #scroll() {
    if (this.#stick) this.#element.scrollTop = this.#element.scrollHeight;
  }

  #write(until) {
    let done = 0;
    for (const { stream, text, bytes } of this.#queue) {
      if (stream === "binary") this.#count(bytes);
      else {
        this.#readers[stream].read(text, {
          text: (part, style) => this.#put(stream, part, style),
          restart: () => {
            this.#restart = true;
          },
          back: () => this.#back(),
          clear: () => this.#empty(),
          move: () => {
            this.#hasMoves = true;
          },
        });
      }
      done++;
      if (performance.now() >= until) break;
    }
    this.#queue.splice(0, done);
  }

  /** Say how much came that is no text; what follows at once is counted with it. */
  #count(bytes) {
    const { node, index } = this.#binary;
    const goesOn = node && this.#all.length === index;
    const total = (goesOn ? this.#binary.bytes : 0) + bytes;
    const words = `(${size(total)} of binary output)`;
    if (goesOn) node.data = words;
    else {
      if (this.#line.length) this.#put("note", "\n", null);
      this.#put("note", words, null);
      this.#binary.node = this.#line[this.#line.length - 1];
      this.#put("note", "\n", null);
    }
    this.#binary.bytes = total;
    this.#binary.index = this.#all.length;
  }

  #put(stream, text, style) {
    if (this.#restart) {
      this.#restart = false;
      if (!text.startsWith("\n")) this.#emptyLine();
    }
    this.#all.push(text);
    if (stream === "stdout" || stream === "stderr") this.#onText?.(text);
    let start = 0;
    while (start < text.length) {
      // As many lines as the block has room for.
      let end = start;
      let lines = 0;
      const room = wholeCharacter(text, start + BLOCK_CHARS - this.#blockChars);
      while (this.#blockLines + lines < BLOCK_LINES && end < room) {
        const next = text.indexOf("\n", end);
        if (next === -1 || next >= room) {
          end = room;
          break;
        }
        end = next + 1;
        lines++;
      }
      const part = text.slice(start, end);
      if (part) this.#node(stream, part, style, lines);
      this.#blockLines += lines;
      this.#blockChars += part.length;
      this.#shownLines += lines;
      start = end;
      if (this.#blockLines >= BLOCK_LINES || this.#blockChars >= BLOCK_CHARS) this.#newBlock();
    }
  }

  #node(stream, text, style, lines) {
    const key = stream + (style ? style.key : "");
    const last = this.#line[this.#line.length - 1];
    if (last && key === this.#lastKey && !lines) {
      last.appendData(text);
      return;
    }
    let box = this.#block;
    if (stream !== "stdout" || style) {
      box = document.createElement("span");
      box.className = style ? `${stream} ${style.className}` : stream;
      if (style?.color) box.style.setProperty("--ansi-fg", style.color);
      if (style?.background) box.style.setProperty("--ansi-bg", style.background);
      this.#block.append(box);
    }
    this.#lastKey = key;
    const cut = text.lastIndexOf("\n") + 1;
    if (cut) box.append(...this.#linked(stream, text.slice(0, cut)));
    if (lines) this.#line = [];
    if (cut < text.length) {
      // Only what follows the last line end can still be overwritten.
      const node = document.createTextNode(text.slice(cut));
      box.append(node);
      this.#line.push(node);
    }
  }

  /** Finished lines, with the places they name as links. */
  #linked(stream, text) {
    if (!this.#find || stream === "typed" || this.#links >= LINKS_MAX) return [text];
    const parts = [];
    let end = 0;
    for (const place of this.#find(text)) {
      if (this.#links++ >= LINKS_MAX) break;
      const link = document.createElement("a");
      link.textContent = text.slice(place.start, place.end);
      if (place.url) {
        // Nothing of the page is for whoever is at that address.
        Object.assign(link, { href: place.url, target: "_blank", rel: "noopener noreferrer" });
      } else {
        Object.assign(link, { className: "place", href: "#", place });
        link.title = `Go to line ${place.line} of ${place.file}`;
        if (this.#onPlace) this.#tell(stream, text, place);
      }
      parts.push(text.slice(end, place.start), link);
      end = place.end;
    }
    parts.push(text.slice(end));
    return parts;
  }

  #tell(stream, text, place) {
    const from = text.lastIndexOf("\n", place.start - 1) + 1;
    const line = text.slice(from, text.indexOf("\n", place.end));
    this.#onPlace(stream, line, { ...place, start: place.start - from, end: place.end - from });
  }

  /** A carriage return: what comes now is written over the line. */
  #emptyLine() {
    for (const node of this.#line) {
      this.#blockChars -= node.length;
      this.#forget(node.length);
      node.data = "";
    }
    this.#line = this.#line.slice(-1);
  }

  #back() {
    const last = this.#line[this.#line.length - 1];
    if (!last?.length) return;
    const units = isLowSurrogate(last.data.charCodeAt(last.length - 1)) ? 2 : 1;
    last.deleteData(last.length - units, units);
    this.#blockChars -= units;
    this.#forget(units);
  }

  /** Take characters off the end of what is kept for copying. */
  #forget(count) {
    while (count > 0 && this.#all.length) {
      const last = this.#all.pop();
      if (last.length > count) this.#all.push(last.slice(0, -count));
      count -= last.length;
    }
  }

  #newBlock() {
    this.#seal();
    this.#block = document.createElement("div");
    this.#block.className = "block";
    this.#element.append(this.#block);
    this.#blocks.push({ element: this.#block, lines: 0 });
    this.#blockLines = this.#blockChars = 0;
    this.#line = [];
    this.#lastKey = "";
  }

  /** A full block no longer changes, so the browser may skip it while it is out of sight. */
  #seal() {
    const last = this.#blocks[this.#blocks.length - 1];
    if (!last) return;
    last.lines = this.#blockLines;
    last.element.classList.add("sealed");
    last.element.style.setProperty("--lines", String(Math.max(1, this.#blockLines)));
  }

  #trim() {
    while (this.#shownLines > SHOWN_LINES && this.#blocks.length > 1) {
      const first = this.#blocks.shift();
      first.element.remove();
      this.#shownLines -= first.lines;
      this.#hiddenLines += first.lines;
    }
    if (!this.#hiddenLines) return;
    if (!this.#hiddenNote) {
      this.#hiddenNote = document.createElement("div");
      this.#hiddenNote.className = "note";
      this.#element.prepend(this.#hiddenNote);
    }
    this.#hiddenNote.textContent =
      `${this.#hiddenLines.toLocaleString("en")} earlier lines are not shown; Copy has them all`;
  }
}

/** Return a place to cut a text, at `end` or just after, that is not inside of a character. */
function wholeCharacter(text, end) {
  if (end >= text.length) return text.length;
  return isLowSurrogate(text.charCodeAt(end)) ? end + 1 : end;
}

/** Whether a text that was made of bytes is none: it has NUL, or little else than replacement characters. */
function isBinary(text) {
  if (text.includes("\0")) return true;
  const odd = text.split("\ufffd").length - 1;
  return odd > 3 && odd > text.length / 10;
}

function isLowSurrogate(unit) {
  return unit >= 0xdc00 && unit <= 0xdfff;
}
