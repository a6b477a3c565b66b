// The terminal: xterm.js behind the small interface of page/terminal.js.

import { FitAddon } from "@xterm/addon-fit";
import { Terminal } from "@xterm/xterm";
import css from "@xterm/xterm/css/xterm.css";

const sheet = new CSSStyleSheet();
sheet.replaceSync(css);

const THEMES = {
  dark: { background: "#12161c", foreground: "#e4e8ee", cursor: "#41d6a3", selectionBackground: "#2b4a5f" },
  light: {
    background: "#ffffff", foreground: "#1b2027", cursor: "#0a7c5a", cursorAccent: "#ffffff",
    selectionBackground: "#bfe3d6", black: "#1b2027", white: "#6b7480", yellow: "#8a6100",
    green: "#0a7c3a", cyan: "#04707c", brightBlack: "#59616c", brightWhite: "#3a424d",
    brightYellow: "#7a5600", brightGreen: "#08692f", brightCyan: "#035c66", brightBlue: "#1f5fd0",
  },
};

/**
 * @param {HTMLElement} parent
 * @param {{dark: boolean, onData: (data: string) => void, onResize: (size: {columns: number, rows: number}) => void,
 *   find: (text: string) => {start: number, end: number}[], onOpen: (place: object) => void}} options `find` tells the places that a
 *   line names (see page/places.js); `onOpen` is called when somebody follows one.
 */
export function createTerminal(parent, { dark, onData, onResize, find, onOpen }) {
  const root = /** @type {Document | ShadowRoot} */ (parent.getRootNode());
  if (!root.adoptedStyleSheets.includes(sheet)) root.adoptedStyleSheets.push(sheet);
  const terminal = new Terminal({
    fontFamily: "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace",
    fontSize: 13.5,
    lineHeight: 1.25,
    scrollback: 10_000,
    screenReaderMode: true,
    theme: THEMES[dark ? "dark" : "light"],
    minimumContrastRatio: 4.5,
  });
  terminal.registerLinkProvider({
    provideLinks(row, done) {
      const text = terminal.buffer.active.getLine(row - 1)?.translateToString(true) ?? "";
      done(find(text).map((place) => ({
        text: text.slice(place.start, place.end),
        range: { start: { x: place.start + 1, y: row }, end: { x: place.end, y: row } },
        activate: () => onOpen(place),
      })));
    },
  });
  const fit = new FitAddon();
  terminal.loadAddon(fit);
  // Every key is the program's, but the one that leaves the terminal.
  terminal.attachCustomKeyEventHandler((event) => !(event.key === "Tab" && event.shiftKey));
  terminal.open(parent);
  terminal.textarea.setAttribute("aria-description", "Shift-Tab leaves the terminal");
  terminal.onData(onData);
  terminal.onBinary(onData);
  terminal.onResize(({ cols, rows }) => onResize({ columns: cols, rows }));
  const observer = new ResizeObserver(() => {
    if (parent.offsetParent) fit.fit();
  });
  observer.observe(parent);
  fit.fit();
  return {
    get size() {
      return { columns: terminal.cols, rows: terminal.rows };
    },
    fit: () => fit.fit(),
    /** @param {string | Uint8Array} data @param {() => void} [done] Called when it is shown. */
    write: (data, done) => terminal.write(data, done),
    reset: () => terminal.reset(),
    clear: () => terminal.clear(),
    focus: () => terminal.focus(),
    /** Press a key that a touch keyboard lacks. */
    press(key) {
      const arrow = `\x1b${terminal.modes.applicationCursorKeysMode ? "O" : "["}`;
      const sequence = {
        Escape: "\x1b", Tab: "\t", Interrupt: "\x03",
        ArrowUp: `${arrow}A`, ArrowDown: `${arrow}B`, ArrowRight: `${arrow}C`, ArrowLeft: `${arrow}D`,
      }[key];
      terminal.input(sequence);
    },
    set dark(value) {
      terminal.options.theme = THEMES[value ? "dark" : "light"];
    },
    /** The selection, or all there is. */
    get text() {
      if (terminal.hasSelection()) return terminal.getSelection();
      const buffer = terminal.buffer.active;
      const lines = [];
      for (let row = 0; row < buffer.length; row++) {
        const line = buffer.getLine(row);
        const text = line.translateToString(true);
        if (line.isWrapped) lines[lines.length - 1] += text;
        else lines.push(text);
      }
      return `${lines.join("\n").trimEnd()}\n`;
    },
  };
}
