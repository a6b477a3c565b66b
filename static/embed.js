/**
 * The widget: makes the snippets of any page runnable.
 *
 *     <script type="module" src="https://runner.example/static/embed.js"></script>
 *     <wsrunner-code language="python"><pre><code>print(6 * 7)</code></pre></wsrunner-code>
 *
 * Without scripts the code stays readable as it is. Attributes: `language`, `server` (where this file
 * came from, if left out), `token`, `stdin`, `args`, `merge`, `readonly`, `autorun`, and `theme`, light or dark.
 * With `room` and `key` (and a `name`) it shows a live room: the program as it is written there, and what runs.
 * All widgets of a page share one connection for each server, opened by the first Run.
 */

import { splitArguments } from "./page/args.js";
import { createEditor } from "./page/editor.js";
import { takeLines } from "./page/lines.js";
import { Output } from "./page/output.js";
import { element } from "./page/picker.js";
import { outcome, refusal } from "./page/words.js";
import { connect } from "./wsrunner.js";

// What nobody needs to see the code comes after it is seen.
const loadPlaces = () => import("./page/places.js");
const loadStore = () => import("./page/store.js");

const HERE = new URL("..", import.meta.url);
/** @type {Map<string, import("./wsrunner.js").Connection>} */
const connections = new Map();
const SHEET_RETRY_MIN_MS = 2000;
const SHEET_RETRY_MAX_MS = 60_000;
const COPIED_MS = 2000;
const TOUCH = matchMedia("(pointer: coarse)");
let sheet = null;

class WsrunnerCode extends HTMLElement {
  #file = null;
  #editor = null;
  #output = null;
  #run = null;
  /** The room that it shows. @type {import("./wsrunner.js").Room | null} */
  #room = null;
  #stoppedByReader = false;
  #answered = false;
  #sheetRetryMs = SHEET_RETRY_MIN_MS;
  #parts = {};

  async connectedCallback() {
    if (this.#file) return;
    // A parser calls this at the start tag; the code comes after it.
    if (document.readyState === "loading") {
      await new Promise((parsed) => document.addEventListener("DOMContentLoaded", parsed, { once: true }));
    }
    // Before anything is built: without its styles the code stays on the page as it is.
    const styles = await this.#styles();
    if (!styles || this.#file || !this.isConnected) return;
    this.#file = { name: this.language, content: snippet(this) };
    await this.#build(styles);
    this.toggleAttribute("ready", true);
    // Unless somebody was quicker.
    if (this.hasAttribute("room")) await this.#watch();
    else if (this.hasAttribute("autorun") && this.#parts.log.hidden) this.run();
  }

  disconnectedCallback() {
    this.#run?.cancel();
    this.#room?.leave();
  }

  get language() {
    return this.getAttribute("language") ?? "python";
  }

  /** The code as it is now; its last line is ended. */
  get code() {
    const content = this.#file?.content ?? snippet(this);
    return content.endsWith("\n") ? content : `${content}\n`;
  }

  /** The style sheet; null if it can't be had now, and then another try follows. */
  async #styles() {
    try {
      return await (sheet ??= loadSheet());
    } catch {
      sheet = null;
      setTimeout(() => this.isConnected && this.connectedCallback(), this.#sheetRetryMs);
      this.#sheetRetryMs = Math.min(SHEET_RETRY_MAX_MS, this.#sheetRetryMs * 2);
      return null;
    }
  }

  async #build(styles) {
    const root = this.shadowRoot ?? this.attachShadow({ mode: "open" });
    root.adoptedStyleSheets = [styles];
    const frame = element("div", "frame");
    if (this.getAttribute("theme")) frame.dataset.theme = this.getAttribute("theme");
    const code = element("div", "code");
    const bar = element("div", "bar");
    const run = button("Run", "button run");
    const reset = button("Reset", "button quiet small");
    const status = element("span", "state");
    status.setAttribute("role", "status");
    const copy = button("Copy", "button quiet small");
    const playground = element("a", "button quiet small", "Playground");
    Object.assign(playground, { href: this.#server, target: "_blank", rel: "noopener", ariaLabel: "Open in playground" });
    bar.append(run, status, element("span", "spacer"), reset, copy, playground);
    const log = element("div", "log");
    log.tabIndex = 0;
    log.setAttribute("role", "region");
    log.setAttribute("aria-label", "Program output");
    const input = element("form", "input");
    const line = element("input");
    line.type = "text";
    line.placeholder = "Type a line, press Enter";
    line.setAttribute("aria-label", "Input for the program");
    const eof = button("End input", "button quiet small");
    input.append(line, eof);
    const result = element("div", "outcome");
    log.hidden = input.hidden = result.hidden = reset.hidden = true;
    frame.append(code, bar, log, input, result);
    root.append(frame);
    this.#parts = { run, reset, status, log, input, result, line, playground, copy };
    this.#link();
    this.#output = new Output(log, { onOpen: ({ line: at, column }) => this.#editor?.goTo(at, column) });
    copy.addEventListener("click", async () => {
      const copied = await navigator.clipboard?.writeText(this.code).then(() => true, () => false);
      copy.textContent = copied ? "Copied" : "Not allowed here";
      setTimeout(() => (copy.textContent = "Copy"), COPIED_MS);
    });

    // Before the editor, which takes a while to load: nobody's click is lost.
    run.addEventListener("click", () => {
      if (!this.#run) this.run();
      else {
        this.#stoppedByReader = true;
        this.#run.cancel();
      }
    });
    takeLines(line, (text) => {
      this.#output.append("typed", text);
      this.#answered = true;
      this.#run?.stdin(text);
    });
    eof.addEventListener("click", () => {
      this.#answered = true;
      this.#run?.eof();
    });

    const original = this.#file.content;
    // The code can be read before the editor has come.
    const early = element("pre", "static", original);
    code.append(early);
    const readOnly = this.hasAttribute("readonly") || this.hasAttribute("room");
    this.#editor = await createEditor(code, {
      label: `Code, ${this.language}`,
      compact: true,
      readOnly,
      onChange: (text) => {
        this.#file.content = text;
        this.#link();
        reset.hidden = this.hasAttribute("room") || text === original;
      },
      onRun: () => this.run(),
    });
    early.remove();
    loadPlaces();
    await this.#editor.show(this.#file, this.language);
    reset.addEventListener("click", () => {
      this.#file = { name: this.language, content: original };
      this.#editor.show(this.#file, this.language);
      this.#link();
      reset.hidden = true;
    });
  }

  /**
   * Let the link hold the code as it is. Packing takes a moment, which a click does not give: so it is
   * packed at each change, for mouse, keyboard, touch and who copies the link alike.
   */
  async #link() {
    const { code } = this;
    // The playground names the file.
    const program = {
      language: this.language, files: [{ name: "main", content: code }], args: this.getAttribute("args") ?? "",
      stdin: this.getAttribute("stdin"), merge: this.hasAttribute("merge"),
    };
    const { pack } = await loadStore();
    const packed = await pack(program);
    if (code === this.code) this.#parts.playground.href = new URL(packed, this.#server).href;
  }

  /** Show what is written and run in a room. */
  async #watch() {
    const { watchRoom } = await import("./page/lecture.js");
    const { run, reset, status, log, result, playground, copy } = this.#parts;
    run.hidden = reset.hidden = playground.hidden = copy.hidden = true;
    status.textContent = "Coming into the room";
    this.#room = await watchRoom({
      connection: this.#connection(),
      place: {
        room: this.getAttribute("room") ?? "", key: this.getAttribute("key") ?? "", name: this.getAttribute("name") ?? "",
      },
      editor: this.#editor,
      output: this.#output,
      tell: (words) => (status.textContent = words),
      show: (tone, title, more) => this.#show(tone, title, more),
      begin: () => {
        this.#output.clear();
        log.hidden = false;
        result.hidden = true;
      },
    });
  }

  get #server() {
    return this.getAttribute("server") ?? HERE.href;
  }

  /** Whether the focus is in this widget. */
  get #focused() {
    return Boolean(this.shadowRoot.activeElement);
  }

  /** Run the code; settles at its end. */
  async run() {
    if (this.#run || this.hasAttribute("room")) return;
    const { run: trigger, status, log, input, line, result } = this.#parts;
    const request = { language: this.language, code: this.code };
    if (this.hasAttribute("stdin")) request.stdin = this.getAttribute("stdin");
    if (this.hasAttribute("args")) request.args = splitArguments(this.getAttribute("args"));
    if (this.hasAttribute("merge")) request.merge = true;
    this.#output.clear();
    const files = [{ name: this.#file.name, content: this.code }];
    // Sooner than any output, which comes over the network.
    loadPlaces().then(({ placeFinder }) => (this.#output.finder = placeFinder(files, { anyMain: true })));
    this.#stoppedByReader = this.#answered = false;
    line.value = "";
    log.hidden = false;
    result.hidden = true;
    trigger.textContent = "Stop";
    trigger.classList.add("busy");
    const connection = this.#connection();
    const settled = connection.on("state", ({ state }) => {
      if (state === "waiting") status.textContent = "The server can't be reached; trying again";
    });
    const current = (this.#run = connection.run(request));
    status.textContent = "Starting";
    // Input has its field from the first moment on: no key falls on Stop or into the code. Whoever
    // is elsewhere on the page stays there, and a touch keyboard comes only for a prompt.
    const typed = request.stdin === undefined;
    const cameFromEditor = this.#editor !== null && this.shadowRoot.activeElement !== trigger;
    input.hidden = !typed;
    if (this.#focused) {
      if (typed && !TOUCH.matches) line.focus();
      else if (!cameFromEditor || TOUCH.matches) log.focus({ preventScroll: true });
    }
    current.on("queued", ({ position }) => {
      status.textContent = position === 1 ? "You are next" : `${position - 1} ahead of you`;
    });
    current.on("started", ({ stage }) => {
      status.textContent = stage === "build" ? "Building" : "Running";
    });
    current.on("output", ({ stream, text, bytes }) => {
      this.#output.append(stream, text, bytes);
      if (typed && TOUCH.matches && this.#focused && !text.endsWith("\n")) line.focus();
    });
    try {
      const { tone, title, facts } = outcome(await current.exit, { byMe: this.#stoppedByReader });
      this.#show(tone, title, { facts });
    } catch (error) {
      const { title, detail } = refusal(error);
      if (detail) this.#output.append("note", `${detail}\n`);
      this.#show("bad", title);
    } finally {
      settled();
      this.#run = null;
      trigger.textContent = "Run";
      trigger.classList.remove("busy");
      status.textContent = "";
      const hadFocus = input.contains(this.shadowRoot.activeElement);
      input.hidden = true;
      log.hidden = this.#output.empty;
      if (hadFocus) (cameFromEditor && !this.#answered ? this.#editor : log).focus();
    }
  }

  #connection() {
    const server = this.#server;
    const room = this.getAttribute("room");
    // A room's link opens the server, too.
    const token = this.getAttribute("token") ?? (room ? `room.${room}.${this.getAttribute("key")}` : undefined);
    const key = `${server} ${token ?? ""}`;
    if (!connections.has(key)) connections.set(key, connect(server, { token, reconnect: { attempts: 4 } }));
    return connections.get(key);
  }

  #show(tone, title, { facts = [] } = {}) {
    const { result } = this.#parts;
    const list = element("dl");
    for (const [name, value] of facts) {
      const pair = element("div");
      pair.append(element("dt", "", name), element("dd", "", value));
      list.append(pair);
    }
    const words = element("p", "", title);
    words.setAttribute("role", "status");
    result.className = `outcome ${tone}`;
    result.replaceChildren(words, ...(facts.length ? [list] : []));
    result.hidden = false;
  }
}

/** The code between the tags, without the indentation that only the page's source has. */
function snippet(host) {
  const text = (host.querySelector("code, pre") ?? host).textContent.replace(/^[ \t]*\n/, "").trimEnd();
  const indents = text.split("\n").filter((line) => line.trim()).map((line) => /^[ \t]*/.exec(line)[0].length);
  const indent = Math.min(...indents, 80);
  return text.split("\n").map((line) => line.slice(indent)).join("\n");
}

async function loadSheet() {
  const made = new CSSStyleSheet();
  const [shared, own] = await Promise.all(
    ["style.css", "embed.css"].map(async (name) => {
      const response = await fetch(new URL(name, import.meta.url));
      if (!response.ok) throw new Error(`${name}: ${response.status}`);
      return response.text();
    }),
  );
  made.replaceSync(`${shared}\n${own}`);
  return made;
}

function button(words, className) {
  const made = element("button", className, words);
  made.type = "button";
  return made;
}

customElements.define("wsrunner-code", WsrunnerCode);
