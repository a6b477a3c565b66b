/**
 * The playground.
 *
 *     Programs ── what is written         Server ── catalogue, token, one connection
 *     editor ── CodeMirror or plain       Output, terminal ── what the program prints
 */

import { isDark, setUpDivider, setUpTheme } from "./appearance.js";
import { splitArguments } from "./args.js";
import { createEditor } from "./editor.js";
import { Findings } from "./findings.js";
import { isRunKey } from "./keys.js";
import { takeLines } from "./lines.js";
import { Made, OUTPUTS } from "./made.js";
import { announce, readOut, takeUnread, toast } from "./notices.js";
import { Output } from "./output.js";
import { explainMissing } from "./packages.js";
import { element } from "./picker.js";
import { placeFinder } from "./places.js";
import { Programs } from "./programs.js";
import { Server } from "./server.js";
import { forget, pack, recall, remember } from "./store.js";
import { hasTerminal, loadTerminal } from "./terminal.js";
import { elapsed, outcome, refusal } from "./words.js";

/** @type {(id: string) => any} Each id of the page has an element of a kind of its own. */
const $ = (id) => document.getElementById(id);
const TOUCH = matchMedia("(pointer: coarse)");
/** Of a run that a reload ended, so much of the output is shown again. */
const LAST_OUTPUT_CHARS = 200_000;
const ON_MAC = /Mac|iPhone|iPad/.test(navigator.platform);

const output = new Output($("log"), {
  onText: readOut, onChange: showTools, onOpen: openPlace,
  onPlace: (stream, line, place) => findings.note(stream, line, place),
});
const made = new Made($("made"));
const programs = new Programs();
const server = new Server(new URL(".", document.baseURI), (entries) => (programs.languages = entries));

let terminal = null;
/** What Stop ends: a start under way, then the run. @type {{cancel: () => void} | null} */
let current = null;
/** The run that takes input. @type {import("../wsrunner.js").Run | null} */
let live = null;
/** What was typed before there is one. @type {((run: import("../wsrunner.js").Run) => void)[]} */
let early = [];
let stoppedByMe = false;
/** Whether the run was started from the editor, and whether the program was sent any input. */
let cameFromEditor = false;
let answered = false;
/** What finds places in the output, and what the run said about them. @type {ReturnType<typeof placeFinder>} */
let findPlaces = () => [];
let findings = new Findings();
let clock = 0;

start();

async function start() {
  server.reach();
  setUpTheme(() => {
    if (terminal) terminal.dark = isDark();
  });
  setUpDivider();
  setUpControls();
  setUpLeaving();
  hasTerminal().then((has) => has || programs.withoutTerminal());
  const editor = await createEditor($("editor"), { label: "Code", onChange: (text) => programs.edit(text), onRun: toggle });
  programs.editor = editor;
  $("plain-note").hidden = !editor.plain;
}

// A page that is left ends its run: the server stops what nobody listens to.

function setUpLeaving() {
  showInterrupted();
  window.addEventListener("beforeunload", (event) => {
    // Any other run can be had again by pressing Run.
    if (live && answered) event.preventDefault();
  });
  window.addEventListener("pagehide", () => {
    if (!current) return;
    const text = $("terminal").hidden ? output.text : terminal.text;
    remember("interrupted", text.slice(-LAST_OUTPUT_CHARS), "session");
  });
}

/** Say that a run was ended by a reload, and what it had printed. */
function showInterrupted() {
  const text = recall("interrupted", "session");
  forget("interrupted", "session");
  if (typeof text !== "string") return;
  $("welcome").hidden = true;
  $("log").hidden = !text.trim();
  if (text.trim()) output.append("stdout", text.endsWith("\n") ? text : `${text}\n`);
  show("plain", text.trim() ? "The reload ended this run; this is the last of its output" : "The reload ended the run");
}

// A run.

function toggle() {
  if (!current) run();
  else {
    stoppedByMe = true;
    current.cancel();
  }
}

async function run() {
  const { language, files, args, input, stdin, merge } = programs.current;
  const request = { language, files, outputs: OUTPUTS };
  // A terminal has one stream anyway.
  if (merge && input !== "terminal") request.merge = true;
  if (args.trim()) request.args = splitArguments(args);
  if (input === "text") request.stdin = stdin;
  $("welcome").hidden = true;
  $("input-line").value = "";
  output.clear();
  made.clear();
  output.finder = findPlaces = placeFinder(files);
  findings = new Findings({ merged: request.merge });
  programs.mark([]);
  takeUnread();

  // The terminal and the connection may take a while to come; Stop works meanwhile.
  const starting = {
    cancel: () => {
      idle(starting);
      $("log").hidden = output.empty;
      show("plain", "Stopped by you");
    },
  };
  current = starting;
  stoppedByMe = answered = false;
  early = [];
  busy(true);
  state("Starting");
  announce("Starting");
  cameFromEditor = $("editor").contains(document.activeElement);
  view("output");
  $("log").hidden = input === "terminal";
  $("terminal").hidden = true;
  expectInput(input);
  const createTerminal = input === "terminal" ? await loadTerminal() : null;
  if (current !== starting) return;
  const inTerminal = Boolean(createTerminal);
  $("terminal").hidden = !inTerminal;
  $("log").hidden = inTerminal;
  if (inTerminal) {
    openTerminal(createTerminal);
    terminal.focus();
  }
  showTools();
  const connection = await server.connected();
  if (current !== starting) return;
  if (!connection) {
    idle(starting);
    $("log").hidden = $("terminal").hidden = true;
    show("bad", `${server.trouble || "The server can't be reached."} Nothing can run.`);
    return;
  }

  if (inTerminal) request.tty = terminal.size;
  const mine = connection.run(request);
  current = live = mine;
  for (const step of early.splice(0)) step(mine);
  state(connection.state === "open" ? "Starting" : "Waiting for the server");
  follow(mine, { inTerminal, typed: !inTerminal && input !== "text" });
  try {
    const exit = await mine.exit;
    made.tell(mine.leftOut);
    if (!inTerminal && exit.stage === "run" && output.empty && !mine.files.length) output.append("note", "The program printed nothing.\n");
    if (!inTerminal) for (const remark of output.remarks) output.append("note", `${remark}\n`);
    const { tone, title, facts } = outcome(exit, { byMe: stoppedByMe });
    const missing = tone === "bad" && !inTerminal && (await explainMissing(output.text, () => server.language(language)));
    if (missing) output.append("note", `${missing}\n`);
    output.whenDrawn(() => programs.mark(findings.marks({ failed: tone === "bad" })));
    show(tone, title, { facts });
  } catch (error) {
    const { title, detail } = refusal(error);
    if (detail && !inTerminal) output.append("note", `${detail}\n`);
    if (!inTerminal && output.empty) $("log").hidden = true;
    show("bad", title);
  } finally {
    idle(mine);
  }
}

/** Show what becomes of a run, up to its end. */
function follow(mine, { inTerminal, typed }) {
  let first = null;
  mine.on("queued", ({ position, waiting }) => {
    first ??= position;
    showQueue(position, waiting, first);
  });
  mine.on("started", ({ stage }) => {
    if (!$("queue").hidden) announce("Your turn");
    $("queue").hidden = true;
    state(stage === "build" ? "Building" : "Running", true);
    const runs = stage === "run";
    $("keys").hidden = !(runs && inTerminal);
  });
  mine.on("output", ({ stream, text, bytes }) => {
    if (inTerminal) terminal.write(bytes ?? text);
    else output.append(stream, text, bytes);
    findings.take(stream, text);
    // A line that is not ended is a prompt.
    if (typed && TOUCH.matches && !text.endsWith("\n")) focusInput();
  });
  mine.on("file", (file) => made.add(file));
  mine.on("error", (error) => {
    // Of one that ended the run, the outcome tells; of input that crossed with the end, nobody need hear.
    if (mine.ended || error.code === "no_such_run") return;
    output.append("note", `${error.message}\n`);
  });
}

/**
 * Put the focus where input is taken, from the first moment on: what is typed early waits for the
 * program, and no key falls on Stop or into the source.
 */
function expectInput(input) {
  foot(input === "typed" ? "input" : "foot-words");
  $("foot-words").textContent = input === "text" ? "Input comes from the text beside Arguments."
    : `Keys go to the terminal${TOUCH.matches ? "." : "; Shift-Tab leaves it."}`;
  $("input-line").disabled = $("eof").disabled = false;
  // A touch keyboard would cover half of the output of a program that asks nothing.
  if (input === "typed" && !TOUCH.matches) $("input-line").focus();
  else if (!cameFromEditor || TOUCH.matches) focusOutput();
}

/** Show one thing below the output, or nothing. @param {"input" | "foot-words" | "outcome" | ""} which */
function foot(which) {
  $("foot").hidden = !which;
  for (const id of ["input", "foot-words", "outcome"]) $(id).hidden = id !== which;
}

function focusInput() {
  if (!$("input").contains(document.activeElement)) $("input-line").focus();
}

/** Where no key does anything but scroll. */
function focusOutput() {
  ($("log").hidden ? $("result") : $("log")).focus({ preventScroll: true });
}

/** Of a place in the terminal; in the log, addresses are links of their own. */
function openPlace(place) {
  if (place.url) window.open(place.url, "_blank", "noopener,noreferrer");
  else {
    view("code");
    programs.goTo(place);
  }
}

/** The run, or the start, is over, unless another has begun. */
function idle(which) {
  if (current !== which) return;
  current = live = null;
  busy(false);
  const hadFocus = $("input").contains(document.activeElement) || $("terminal").contains(document.activeElement);
  $("queue").hidden = $("keys").hidden = true;
  if ($("outcome").hidden) foot("");
  state("");
  if (hadFocus) giveFocusBack();
}

function giveFocusBack() {
  // Whoever answered the program may press Enter once more: not into the source, nor on Run.
  if (cameFromEditor && !answered) programs.focusEditor();
  else focusOutput();
}

function openTerminal(create) {
  terminal ??= create($("terminal"), {
    dark: isDark(),
    onData: (data) => sendInput(data),
    onResize: ({ columns, rows }) => live?.resize(columns, rows),
    find: (text) => findPlaces(text),
    onOpen: openPlace,
  });
  terminal.reset();
  terminal.fit();
}

/** Where only one pane has room, show this one. @param {"code" | "output"} which */
function view(which) {
  document.body.dataset.view = which;
  for (const name of ["code", "output"]) $(`show-${name}`).setAttribute("aria-pressed", String(name === which));
}

function showQueue(position, waiting, first) {
  $("queue").hidden = false;
  state("Waiting");
  $("queue-words").textContent = position === 1 ? "You are next" : `${position - 1} ahead of you`;
  $("queue-more").textContent = waiting > position ? `${waiting - position} behind you` : "";
  // Who came first in line has no way behind them to show.
  if (first === 1) $("queue-progress").removeAttribute("value");
  else $("queue-progress").value = (first - position) / first;
  announce($("queue-words").textContent);
}

function busy(on) {
  $("run").classList.toggle("busy", on);
  $("run-name").textContent = on ? "Stop" : "Run";
  $("run").title = on ? "Stop the program" : `Run (${ON_MAC ? "⌘" : "Ctrl"}-Enter)`;
}

function state(words, ticking = false) {
  clearInterval(clock);
  $("state").classList.toggle("live", Boolean(words));
  $("state").textContent = words;
  if (!ticking) return;
  const startedAt = performance.now();
  clock = setInterval(() => {
    $("state").textContent = `${words} ${elapsed(performance.now() - startedAt)}`;
  }, 1000);
}

function show(tone, title, { facts = [] } = {}) {
  const box = $("outcome");
  box.className = `outcome ${tone}`;
  const hadFocus = $("input").contains(document.activeElement);
  foot("outcome");
  if (hadFocus) giveFocusBack();
  const parts = [element("p", "", title)];
  if (facts.length) {
    const list = element("dl");
    for (const [name, value] of facts) {
      const pair = element("div");
      pair.append(element("dt", "", name), element("dd", "", value));
      list.append(pair);
    }
    parts.push(list);
  }
  box.replaceChildren(...parts);
  showTools();
  const words = `${title}${/[.!]$/.test(title) ? "" : "."} ${facts.map((fact) => fact.join(" ")).join(", ")}`;
  // A screen reader hears the last of the output first.
  output.whenDrawn(() => announce([takeUnread(), words].filter(Boolean).join("\n")));
}

/** Copy and Clear are there when there is something to copy or to clear. */
function showTools() {
  const nothing = output.empty && $("terminal").hidden;
  $("copy").disabled = nothing;
  $("clear").disabled = nothing && $("outcome").hidden;
}

// Controls.

function setUpControls() {
  $("show-code").addEventListener("click", () => view("code"));
  $("show-output").addEventListener("click", () => view("output"));
  busy(false);
  showTools();
  // A phone has no room for more, and its keyboard has an Enter that says so.
  if (TOUCH.matches) $("input-line").placeholder = "Type a line";
  $("run-modifier").textContent = ON_MAC ? "⌘" : "Ctrl";
  $("run").addEventListener("click", toggle);
  document.addEventListener("keydown", (event) => {
    if (!isRunKey(event) || event.defaultPrevented || document.querySelector("dialog[open]")) return;
    if ($("terminal").contains(event.target)) return;
    event.preventDefault();
    // A key that is held down means it once.
    if (!event.repeat) toggle();
  });
  document.addEventListener("keydown", (event) => {
    const isSave = event.key === "s" && (event.ctrlKey || event.metaKey) && !event.altKey && !event.shiftKey;
    if (!isSave || $("terminal").contains(event.target) || document.querySelector("dialog[open]")) return;
    event.preventDefault();
    programs.openLibrary();
  });
  $("copy").addEventListener("click", async () => {
    const text = $("terminal").hidden ? output.text : terminal.text;
    toast((await copy(text)) ? "Output copied" : "The browser does not allow copying here");
  });
  $("clear").addEventListener("click", () => {
    output.clear();
    made.clear();
    terminal?.clear();
    if (!current) {
      foot("");
      $("log").hidden = $("terminal").hidden = true;
      $("welcome").hidden = false;
      // Clear itself is disabled now, and the focus would be nowhere.
      $("run").focus();
    }
    showTools();
  });
  $("share").addEventListener("click", async () => {
    const link = location.origin + location.pathname + (await pack(programs.current));
    programs.showLink(link);
    toast((await copy(link)) ? "Link copied. The code is in the link itself." : "The link is in the address bar");
  });

  takeLines($("input-line"), (text) => {
    output.append("typed", text);
    sendInput(text);
  });
  $("input-line").addEventListener("keydown", (event) => {
    if (!event.ctrlKey) return;
    const selected = $("input-line").selectionStart !== $("input-line").selectionEnd;
    if (event.key === "d") endInput();
    else if (event.key === "c" && !selected) live?.signal("SIGINT");
    else return;
    event.preventDefault();
  });
  $("interrupt").addEventListener("click", () => live?.signal("SIGINT"));
  $("eof").addEventListener("click", endInput);

  // The terminal keeps the focus, and with it a phone its keyboard.
  $("keys").addEventListener("pointerdown", (event) => event.preventDefault());
  $("keys").addEventListener("click", (event) => {
    const { key } = event.target.dataset;
    if (key) terminal.press(key);
  });
}

function sendInput(data) {
  answered = true;
  toRun((run) => run.stdin(data));
}

/** Do something to the run, now or as soon as there is one. */
function toRun(step) {
  if (live) step(live);
  else if (current) early.push(step);
}

function endInput() {
  answered = true;
  toRun((run) => run.eof());
  $("input-line").disabled = $("eof").disabled = true;
  output.append("note", "(end of input)\n");
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false;
  }
}
