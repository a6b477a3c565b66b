/**
 * The playground.
 *
 *     Programs ── what is written         Server ── catalogue, token, one connection
 *     editor ── CodeMirror or plain       Output, terminal ── what the program prints
 */

import { isDark, setUpDivider, setUpTheme } from "./appearance.js";
import { splitArguments } from "./args.js";
import { showAsking } from "./asks.js";
import { createEditor } from "./editor.js";
import { Findings } from "./findings.js";
import { isRunKey } from "./keys.js";
import { forgetVisit, isKept, KEEP_S, placeIn, recallVisit, rememberVisit, Visit } from "./kept.js";
import { takeLines } from "./lines.js";
import { Live } from "./live.js";
import { Made, OUTPUTS } from "./made.js";
import { announce, notice, readOut, takeUnread, toast } from "./notices.js";
import { Output } from "./output.js";
import { explainMissing } from "./packages.js";
import { element } from "./picker.js";
import { placeFinder } from "./places.js";
import { Programs } from "./programs.js";
import { Server } from "./server.js";
import { forget, pack, recall, remember } from "./store.js";
import { hasTerminal, loadTerminal } from "./terminal.js";
import { elapsed, outcome, refusal, size } from "./words.js";

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
const liveRoom = new Live({ server, programs, onRoom: followRoom, copy });

let terminal = null;
/** What Stop ends: a start under way, then the run. @type {{cancel: () => void} | null} */
let current = null;
/** The run that takes input. @type {import("../wsrunner.js").Run | null} */
let live = null;
/** What was typed before there is one. @type {((run: import("../wsrunner.js").Run) => void)[]} */
let early = [];
/** The run that is watched and takes none. @type {import("../wsrunner.js").Run | null} */
let watching = null;
/** What is shown of a run, and of it so much once more: up to the output of this number. */
let visit = new Visit();
let replayed = 0;
/** The run of the room that the page showed last. */
let lastOfRoom = "";
let stoppedByMe = false;
/** Whether the run began while this person wrote on, as others' runs of a room do. */
let busyWriting = false;
/** Whether the run was started from the editor, and whether the program was sent any input. */
let cameFromEditor = false;
let answered = false;
/** What finds places in the output, and what the run said about them. @type {ReturnType<typeof placeFinder>} */
let findPlaces = () => [];
let findings = new Findings();
let clock = 0;

start();

async function start() {
  server.guest = Live.token;
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
  await liveRoom.comeBack();
}

// A page that is left: what is kept can be come back to, any other run ends with its page.

function setUpLeaving() {
  comeBack();
  window.addEventListener("hashchange", () => {
    const place = placeIn(location.hash);
    if (!place) return;
    if (current) notice("A run goes on here. Open the link in another tab, or stop this one first.");
    else attach(place);
  });
  window.addEventListener("beforeunload", (event) => {
    // Any other run can be had again, by coming back or by pressing Run.
    if (live && answered && !visit.place) event.preventDefault();
  });
  window.addEventListener("pagehide", leave);
  // One that comes back as it was has its run still.
  window.addEventListener("pageshow", (event) => event.persisted && forgetVisit());
}

function leave() {
  // The room has its runs, and a page that comes back to it sees them.
  if (!current || placeIn(location.hash) || ofRoom(visit.place)) return;
  if (visit.place) {
    rememberVisit(visit);
    return;
  }
  const text = $("terminal").hidden ? output.text : terminal.text;
  remember("interrupted", text.slice(-LAST_OUTPUT_CHARS), "session");
  // Nobody could come back to one that is only being accepted.
  if (!live) current.cancel();
}

/** Go on with the run that the link or the page before names, or say that a reload ended it. */
function comeBack() {
  const text = recall("interrupted", "session");
  const before = recallVisit();
  forget("interrupted", "session");
  forgetVisit();
  const linked = placeIn(location.hash);
  if (linked) attach(linked);
  else if (before) attach(before.place, before);
  else if (typeof text === "string") showInterrupted(text);
}

/** Say that a run was ended by a reload, and what it had printed. */
function showInterrupted(text) {
  $("welcome").hidden = true;
  $("log").hidden = !text.trim();
  if (text.trim()) output.append("stdout", text.endsWith("\n") ? text : `${text}\n`);
  show("plain", text.trim() ? "The reload ended this run; this is the last of its output" : "The reload ended the run");
}

// A run.

/** Whether a run is one of the room that the page is in. @param {import("./kept.js").Place | null} place */
function ofRoom(place) {
  return Boolean(place?.room);
}

/** The room, or what one may do there, has changed: show its newest run, if this page shows none that goes on. */
function followRoom() {
  const { room } = liveRoom;
  $("run").disabled = !current && room !== null && !room.works;
  if (!room) {
    lastOfRoom = "";
    return;
  }
  const mine = current && ofRoom(visit.place) ? /** @type {any} */ (current) : null;
  if (mine?.attached && room.works === (watching === mine)) {
    if (room.works) driveNow(mine);
    else watch(mine);
  }
  const newest = room.runs.at(-1);
  if (current || !newest || newest.run === lastOfRoom) return;
  attach({ run: newest.run, room: room.room }, new Visit({ language: newest.language }));
}

/** Somebody who watched may type from now on. */
function driveNow(mine) {
  watching = null;
  busy(true);
  drive(mine, !$("terminal").hidden);
}

function toggle() {
  if (!current) {
    if (!$("run").disabled) run();
  }
  else if (watching) watching.detach();
  else {
    stoppedByMe = true;
    current.cancel();
  }
}

async function run() {
  if (placeIn(location.hash)) history.replaceState(null, "", location.pathname);
  const { language, files, args, input, stdin, merge } = programs.current;
  const request = { language, files, outputs: OUTPUTS };
  // A terminal has one stream anyway.
  if (merge && input !== "terminal") request.merge = true;
  if (args.trim()) request.args = splitArguments(args);
  if (input === "text") request.stdin = stdin;
  if (input === "typed") request.waiting = true;
  visit = new Visit({ language, input, merged: request.merge });
  busyWriting = false;
  const starting = prepare(files);
  $("log").hidden = input === "terminal";
  expectInput(input);
  const createTerminal = input === "terminal" ? await loadTerminal() : null;
  if (current !== starting) return;
  const inTerminal = showPane(createTerminal);
  if (inTerminal) terminal.focus();
  const connection = await connected(starting);
  if (!connection) return;

  if (inTerminal) request.tty = terminal.size;
  const how = { inTerminal, typed: !inTerminal && input !== "text", retype: null };
  const { room } = liveRoom;
  const begin = (/** @type {any} */ asked) => {
    const mine = room ? room.run(asked) : connection.run(asked);
    current = mine;
    follow(mine, how);
    return mine;
  };
  state(connection.state === "open" ? "Starting" : "Waiting for the server");
  let mine = begin({ ...request, keep_s: KEEP_S });
  if (!(await isKept(mine))) {
    if (stoppedByMe) {
      stopped(mine);
      return;
    }
    // It ends with this page, then.
    mine = begin(request);
  }
  visit.place = mine.keys && (room ? { run: mine.keys.run, room: room.room } : { run: mine.keys.run, key: mine.keys.drive });
  if (room && mine.keys) lastOfRoom = mine.keys.run;
  takeInput(mine);
  await finish(mine, () => inTerminal);
}

/**
 * Show a run that goes on already, from its beginning.
 *
 * @param {import("./kept.js").Place} place
 * @param {Visit} [before] What the page had of it before a reload.
 */
async function attach(place, before = new Visit()) {
  visit = before;
  visit.place = place;
  if (place.room) lastOfRoom = place.run;
  const retype = visit.retyping();
  // Nobody who writes is taken away from it because somebody else has pressed Run.
  busyWriting = ofRoom(place) && $("program").contains(document.activeElement);
  const starting = prepare(before.language ? programs.current.files : []);
  // Which of the two panes it needs, only the server knows.
  const createTerminal = await loadTerminal();
  const connection = current === starting && (await connected(starting));
  if (!connection) return;
  const mine = connection.attach(place);
  current = mine;
  let inTerminal = false;
  const seen = mine.on("attached", ({ role, tty, stage }) => {
    seen();
    inTerminal = showPane(tty ? createTerminal : null);
    state(stage === "queue" ? "Waiting" : "Running", stage !== "queue");
    follow(mine, { inTerminal, typed: !inTerminal && role === "drive" && visit.input !== "text", retype });
    if (role === "view") watch(mine);
    else drive(mine, inTerminal);
    output.append("typed", retype(0));
  });
  await finish(mine, () => inTerminal);
}

/** Everything is about a new run from now on; return what can be stopped until there is one. */
function prepare(files) {
  $("welcome").hidden = true;
  $("input-line").value = "";
  output.clear();
  made.clear();
  output.finder = findPlaces = placeFinder(files);
  findings = new Findings({ merged: visit.merged });
  programs.mark([]);
  takeUnread();
  // The terminal and the connection may take a while to come; Stop works meanwhile.
  const starting = { cancel: () => stopped(starting) };
  current = starting;
  stoppedByMe = false;
  answered = visit.typed.length > 0;
  early = [];
  watching = null;
  replayed = 0;
  busy(true);
  state("Starting");
  announce("Starting");
  cameFromEditor = $("editor").contains(document.activeElement);
  if (!busyWriting) view("output");
  $("terminal").hidden = true;
  foot("");
  return starting;
}

/** Say that it was stopped before it was a run. */
function stopped(which) {
  idle(which);
  $("log").hidden = output.empty;
  show("plain", "Stopped by you");
}

/** Show the terminal, if there is what makes one, or the log. @returns {boolean} Whether it is the terminal. */
function showPane(createTerminal) {
  $("terminal").hidden = !createTerminal;
  $("log").hidden = Boolean(createTerminal);
  if (createTerminal) openTerminal(createTerminal);
  showTools();
  return Boolean(createTerminal);
}

/** The connection for what starts; null if there is none, or it was stopped meanwhile. */
async function connected(starting) {
  const connection = await server.connected();
  if (current !== starting) return null;
  if (connection) return connection;
  idle(starting);
  $("log").hidden = $("terminal").hidden = true;
  show("bad", `${server.trouble || "The server can't be reached."} Nothing can run.`);
  return null;
}

/** What was typed goes to this run, and what will be. */
function takeInput(mine) {
  if (current !== mine) return;
  live = mine;
  for (const step of early.splice(0)) step(mine);
}

function drive(mine, inTerminal) {
  takeInput(mine);
  expectInput(inTerminal ? "terminal" : visit.input === "text" ? "text" : "typed");
  if (visit.ended) $("input-line").disabled = $("eof").disabled = true;
  if (!inTerminal) return;
  // Of others' runs nobody knows where that ends: they answer until somebody types here.
  replayed = visit.language && !ofRoom(visit.place) ? visit.seq : Infinity;
  mine.resize(terminal.size.columns, terminal.size.rows);
  if (!busyWriting) terminal.focus();
}

/** Look on; Stop can only mean to look away, for the run is others'. */
function watch(mine) {
  watching = mine;
  early = [];
  $("run-name").textContent = "Leave";
  $("run").title = "Watch no longer; the run goes on";
  foot("foot-words");
  $("foot-words").textContent = "Watching. Input comes from those who drive this run.";
  announce("Watching");
  focusOutput();
}

/** Show how a run ends, and that it is over. @param {() => boolean} isTerminal Whether its output is in the terminal. */
async function finish(mine, isTerminal) {
  try {
    const exit = await mine.exit;
    const inTerminal = isTerminal();
    made.tell(mine.leftOut);
    if (!inTerminal && exit.stage === "run" && output.empty && !mine.files.length) output.append("note", "The program printed nothing.\n");
    if (!inTerminal) for (const remark of output.remarks) output.append("note", `${remark}\n`);
    // Of a run that others could end, or that was left alone for too long, nobody is named.
    const byMe = stoppedByMe || (mine.attached ? undefined : false);
    const { tone, title, facts } = outcome(exit, { byMe });
    const { language } = visit;
    const missing = tone === "bad" && language && !inTerminal && (await explainMissing(output.text, () => server.language(language)));
    if (missing) output.append("note", `${missing}\n`);
    output.whenDrawn(() => programs.mark(findings.marks({ failed: tone === "bad" })));
    show(tone, title, { facts });
  } catch (error) {
    const { title, detail } = refusal(error);
    if (detail && !isTerminal()) output.append("note", `${detail}\n`);
    if (!isTerminal() && output.empty) $("log").hidden = true;
    show(error.code === "detached" ? "plain" : "bad", title);
  } finally {
    idle(mine);
    followRoom();
  }
}

/** Show what becomes of a run, up to its end. */
function follow(mine, { inTerminal, typed, retype }) {
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
    $("keys").hidden = !(runs && inTerminal) || Boolean(watching);
  });
  mine.on("output", ({ stream, text, bytes, seq }) => {
    visit.seq = Math.max(visit.seq, seq);
    if (inTerminal) terminal.write(bytes ?? text, seq >= replayed ? () => (replayed = 0) : undefined);
    else output.append(stream, text, bytes);
    if (retype) output.append("typed", retype(seq));
    findings.take(stream, text);
    // A line that is not ended is a prompt.
    if (typed && TOUCH.matches && !text.endsWith("\n")) focusInput();
  });
  showAsking(mine, $("input"));
  mine.on("file", (file) => made.add(file));
  mine.on("gap", ({ missed_bytes: missed }) => {
    const words = `(${missed ? size(missed) : "Some"} of the output is not kept any more)`;
    if (inTerminal) terminal.write(`\r\n${words}\r\n`);
    else output.append("note", `${words}\n`);
  });
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
  if (busyWriting) return;
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
  if (busyWriting) return;
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
  current = live = watching = null;
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
    onData: (data) => {
      // A terminal answers questions of the program; in what is shown again, it has done so already.
      if (!replayed) sendInput(data);
    },
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
    visit.type(text);
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
  for (const type of ["keydown", "paste", "beforeinput"]) {
    $("terminal").addEventListener(type, () => (replayed = replayed === Infinity ? 0 : replayed), { capture: true });
  }
  $("interrupt").addEventListener("click", () => live?.signal("SIGINT"));
  $("eof").addEventListener("click", endInput);

  // The terminal keeps the focus, and with it a phone its keyboard.
  $("keys").addEventListener("pointerdown", (event) => event.preventDefault());
  $("keys").addEventListener("click", (event) => {
    const { key } = event.target.dataset;
    if (!key) return;
    replayed = 0;
    terminal.press(key);
  });
}

function sendInput(data) {
  answered = true;
  toRun((run) => run.stdin(data));
}

/** Do something to the run, now or as soon as there is one. */
function toRun(step) {
  if (live) step(live);
  else if (current && !watching) early.push(step);
}

function endInput() {
  visit.ended = true;
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
