/**
 * The widget: makes the snippets of any page runnable.
 *
 *     <script type="module" src="https://runner.example/static/embed.js"></script>
 *     <wsrunner-code language="python"><pre><code>print(6 * 7)</code></pre></wsrunner-code>
 *
 * Without scripts the code stays readable as it is. Attributes: `language`, `server` (where this file
 * came from, if left out), `token`, `stdin`, `args`, `readonly`, `autorun`, and `theme`, light or dark.
 * All widgets of a page share one connection for each server, opened by the first Run.
 */

import { splitArguments } from "./page/args.js";
import { createEditor } from "./page/editor.js";
import { Output } from "./page/output.js";
import { element } from "./page/picker.js";
import { outcome, refusal } from "./page/words.js";
import { connect } from "./wsrunner.js";

const HERE = new URL("..", import.meta.url);
/** @type {Map<string, import("./wsrunner.js").Connection>} */
const connections = new Map();
let sheet = null;

class WsrunnerCode extends HTMLElement {
  #file = null;
  #editor = null;
  #output = null;
  #run = null;
  #parts = {};

  async connectedCallback() {
    if (this.#file) return;
    // A parser calls this at the start tag; the code comes after it.
    if (document.readyState === "loading") {
      await new Promise((parsed) => document.addEventListener("DOMContentLoaded", parsed, { once: true }));
    }
    if (this.#file || !this.isConnected) return;
    this.#file = { name: this.language, content: snippet(this) };
    await this.#build();
    this.toggleAttribute("ready", true);
    // Unless somebody was quicker.
    if (this.hasAttribute("autorun") && this.#parts.log.hidden) this.run();
  }

  disconnectedCallback() {
    this.#run?.cancel();
  }

  get language() {
    return this.getAttribute("language") ?? "python";
  }

  /** The code as it is now. */
  get code() {
    return this.#file?.content ?? snippet(this);
  }

  async #build() {
    const root = this.shadowRoot ?? this.attachShadow({ mode: "open" });
    sheet ??= loadSheet();
    root.adoptedStyleSheets = [await sheet];
    const frame = element("div", "frame");
    if (this.getAttribute("theme")) frame.dataset.theme = this.getAttribute("theme");
    const code = element("div", "code");
    const bar = element("div", "bar");
    const run = button("Run", "button run");
    const reset = button("Reset", "button quiet small");
    const status = element("span", "state");
    status.setAttribute("role", "status");
    bar.append(run, status, element("span", "spacer"), reset);
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
    this.#parts = { run, reset, status, log, input, result, line };
    this.#output = new Output(log);

    // Before the editor, which takes a while to load: nobody's click is lost.
    run.addEventListener("click", () => (this.#run ? this.#run.cancel() : this.run()));
    input.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#output.append("typed", `${line.value}\n`);
      this.#run?.stdin(`${line.value}\n`);
      line.value = "";
    });
    eof.addEventListener("click", () => this.#run?.eof());

    const original = this.#file.content;
    if (this.hasAttribute("readonly")) {
      code.append(element("pre", "static", original));
    } else {
      this.#editor = await createEditor(code, {
        label: `Code, ${this.language}`,
        compact: true,
        onChange: (text) => {
          this.#file.content = text;
          reset.hidden = text === original;
        },
        onRun: () => this.run(),
      });
      await this.#editor.show(this.#file, this.language);
    }
    reset.addEventListener("click", () => {
      this.#file = { name: this.language, content: original };
      this.#editor.show(this.#file, this.language);
      reset.hidden = true;
    });
  }

  /** Run the code; settles at its end. */
  async run() {
    if (this.#run) return;
    const { run: trigger, status, log, input, result } = this.#parts;
    const request = { language: this.language, code: this.code };
    if (this.hasAttribute("stdin")) request.stdin = this.getAttribute("stdin");
    if (this.hasAttribute("args")) request.args = splitArguments(this.getAttribute("args"));
    this.#output.clear();
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
    current.on("queued", ({ position, waiting }) => {
      status.textContent = `Waiting: position ${position} of ${waiting}`;
    });
    current.on("started", ({ stage }) => {
      status.textContent = stage === "build" ? "Building" : "Running";
      input.hidden = stage !== "run" || request.stdin !== undefined;
    });
    current.on("output", ({ stream, text }) => this.#output.append(stream, text));
    try {
      const { tone, title, facts } = outcome(await current.exit);
      this.#show(tone, title, facts);
    } catch (error) {
      this.#show("bad", refusal(error));
    } finally {
      settled();
      this.#run = null;
      trigger.textContent = "Run";
      trigger.classList.remove("busy");
      status.textContent = "";
      input.hidden = true;
      log.hidden = this.#output.empty;
    }
  }

  #connection() {
    const server = this.getAttribute("server") ?? HERE.href;
    const token = this.getAttribute("token") ?? undefined;
    const key = `${server} ${token ?? ""}`;
    if (!connections.has(key)) connections.set(key, connect(server, { token, reconnect: { attempts: 4 } }));
    return connections.get(key);
  }

  #show(tone, title, facts = []) {
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
  return `${text.split("\n").map((line) => line.slice(indent)).join("\n")}\n`;
}

async function loadSheet() {
  const made = new CSSStyleSheet();
  const [shared, own] = await Promise.all(
    ["style.css", "embed.css"].map(async (name) => (await fetch(new URL(name, import.meta.url))).text()),
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
