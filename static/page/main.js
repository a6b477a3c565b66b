/**
 * The playground.
 *
 *     Files ── what is written        Connection ── one socket, see ../wsrunner.js
 *     editor ── CodeMirror or plain   Output, terminal ── what the program prints
 */

import { WsrunnerError, connect } from "../wsrunner.js";
import { splitArguments } from "./args.js";
import { createEditor } from "./editor.js";
import { EXAMPLES } from "./examples.js";
import { Files } from "./files.js";
import { Output } from "./output.js";
import { Picker, element } from "./picker.js";
import { forget, isProgram, pack, recall, remember, unpack } from "./store.js";
import { loadTerminal } from "./terminal.js";
import { duration, outcome, refusal } from "./words.js";

/**
 * @typedef {object} Program
 * @property {string} language
 * @property {{name: string, content: string}[]} files
 * @property {string} [args]
 * @property {"typed" | "text" | "terminal"} [input]
 * @property {string | null} [stdin]
 */

const $ = (id) => document.getElementById(id);
const BASE = new URL(".", document.baseURI);

const output = new Output($("log"));
const files = new Files({ onShow: showFile, onChange: save });
const languagePicker = new Picker($("language"), { label: "Languages", onChoose: chooseLanguage });
const examplePicker = new Picker($("examples"), { label: "Examples", searchable: false, onChoose: openExample });

/** The catalogue. @type {Map<string, {id: string, name: string, file: string, aliases: string[], present: boolean}>} */
let languages = new Map();
let language = "python";
let editor = null;
let connection = null;
let terminal = null;
/** The run that goes on. @type {import("../wsrunner.js").Run | null} */
let current = null;
let startedAt = 0;
let clock = 0;
let saveTimer = 0;

start();

async function start() {
  setUpTheme();
  setUpDivider();
  setUpControls();
  const createdEditor = createEditor($("editor"), { label: "Code", onChange: edited, onRun: toggle });
  loadTerminal().then((create) => {
    const choice = document.querySelector("[value=terminal]");
    choice.disabled = !create;
    if (!create) choice.parentElement.title = "The server has no terminal bundle (make web builds it, with Node)";
  });
  editor = await createdEditor;
  $("plain-note").hidden = !editor.plain;
  openProgram((await unpack(location.hash)) ?? lastProgram(), { fromLink: location.hash.startsWith("#code=") });
  window.addEventListener("hashchange", async () => {
    const program = await unpack(location.hash);
    if (program) openProgram(program, { fromLink: true });
  });
  window.addEventListener("pagehide", saveNow);
  await reach();
}

// The server.

/** Fetch the catalogue, which also tells how the server is, then connect. */
async function reach() {
  const token = recall("token") ?? sessionStorage.getItem("wsrunner.token") ?? "";
  let response;
  try {
    response = await fetch(new URL("v1/languages", BASE), {
      headers: token ? { Authorization: `Bearer ${token}` } : {},
    });
  } catch {
    banner("The server can't be reached. Is it running?", { again: reach });
    retryLater(reach);
    return;
  }
  if (response.status === 401) {
    banner(token ? "The server does not take this access token." : "The server wants an access token.",
      { again: askToken, label: "Enter token" });
    askToken(Boolean(token));
    return;
  }
  if (!response.ok) {
    const problem = await response.json().catch(() => ({}));
    banner(refusal({ code: problem.code ?? "", message: problem.message ?? `the server answered ${response.status}` }), { again: reach });
    retryLater(reach);
    return;
  }
  languages = new Map((await response.json()).map((entry) => [entry.id, entry]));
  showLanguages();
  banner("");
  open(token);
}

let retryTimer = 0;
let retries = 0;

function retryLater(what) {
  clearTimeout(retryTimer);
  retryTimer = setTimeout(what, Math.min(15_000, 1000 * 2 ** retries++));
}

function open(token) {
  connection?.close();
  connection = connect(BASE, { token, reconnect: { attempts: Infinity, maxMs: 8000 } });
  connection.on("state", ({ state, error, retryMs }) => {
    if (state === "open") {
      retries = 0;
      banner("");
    }
    if (state !== "waiting") return;
    // A server that goes away in order opens again at once, as a rule: only say what lasts.
    const words = error.code === "connection_lost" && /going away/.test(error.message)
      ? "The server has shut down." : "The server can't be reached.";
    banner(`${words} Trying again in ${Math.max(1, Math.round(retryMs / 1000))} s.`, { again: () => connection.reconnect() });
  });
}

function askToken(refused = false) {
  if (refused === true) $("token-words").textContent = "The one that was given is not it. Whoever runs the server has the right one.";
  const dialog = $("token-dialog");
  if (!dialog.open) dialog.showModal();
}

function banner(words, { again, label = "Try now" } = {}) {
  const box = $("banner");
  box.hidden = !words;
  if (box.firstChild?.textContent === words) return;
  box.replaceChildren(element("span", "", words));
  if (again && words) {
    const button = element("button", "button small", label);
    button.type = "button";
    button.addEventListener("click", () => again());
    box.append(button);
  }
}

// Languages and programs.

function showLanguages() {
  const entries = [...languages.values()].map((entry) => ({
    id: entry.id, name: entry.name, words: entry.aliases.join(" "), note: entry.file.split(".").pop(),
    mark: entry.present ? "ready" : "absent", chosen: entry.id === language, present: entry.present,
  }));
  entries.sort((one, other) => one.name.localeCompare(other.name, "en"));
  languagePicker.groups = [
    { label: "Ready", entries: entries.filter((entry) => entry.present) },
    { label: "Not installed on this server", entries: entries.filter((entry) => !entry.present) },
  ];
  const entry = languages.get(language);
  $("language-name").textContent = entry?.name ?? language;
  $("language").setAttribute("aria-label", `Language: ${entry?.name ?? language}${entry && !entry.present ? ", not installed on this server" : ""}`);
  $("language").querySelector(".mark").className = `mark ${entry ? (entry.present ? "ready" : "absent") : ""}`;
  const examples = EXAMPLES[language] ?? [];
  examplePicker.groups = [{ label: `${entry?.name ?? language}`, entries: examples.map(({ title, note }, index) => ({ id: String(index), name: title, note })) }];
  $("examples").disabled = examples.length === 0;
  document.title = `${entry?.name ?? "wsrunner"} · wsrunner`;
}

function chooseLanguage(id) {
  saveNow();
  const kept = recall(`program.${id}`);
  openProgram(isProgram(kept) ? kept : firstProgram(id));
  editor.focus();
}

function openExample(index) {
  const example = EXAMPLES[language][Number(index)];
  openProgram({ language, files: [{ name: mainFile(language), content: example.code }], input: example.input, stdin: example.stdin, args: example.args });
  save();
  editor.focus();
}

function mainFile(id) {
  return languages.get(id)?.file ?? EXAMPLES[id]?.[0]?.file ?? "main.txt";
}

function firstProgram(id) {
  return { language: id, files: [{ name: mainFile(id), content: EXAMPLES[id]?.[0]?.code ?? "" }] };
}

function lastProgram() {
  const id = recall("language") ?? "python";
  const kept = recall(`program.${id}`);
  return isProgram(kept) ? kept : firstProgram(id);
}

/** @param {Program} program */
function openProgram(program, { fromLink = false } = {}) {
  language = program.language;
  files.all = program.files;
  $("args").value = program.args ?? "";
  $("stdin").value = program.stdin ?? "";
  setInput(program.input ?? (program.stdin ? "text" : "typed"));
  showLanguages();
  if (fromLink) {
    toast("Opened from a link", "Back to my code", () => {
      history.replaceState(null, "", location.pathname);
      openProgram(lastProgram());
    });
  } else remember("language", language);
}

function program() {
  return { language, files: files.all, args: $("args").value, input: inputMode(), stdin: $("stdin").value };
}

function showFile(file, isMain) {
  editor?.show(file, isMain ? language : "");
}

function edited(text) {
  files.current.content = text;
  save();
}

function save() {
  clearTimeout(saveTimer);
  saveTimer = setTimeout(saveNow, 400);
}

function saveNow() {
  if (!saveTimer) return;
  clearTimeout(saveTimer);
  saveTimer = 0;
  remember(`program.${language}`, program());
  remember("language", language);
  // The link no longer shows what is on the page.
  if (location.hash.startsWith("#code=")) history.replaceState(null, "", location.pathname);
}

function inputMode() {
  return document.querySelector("[name=input]:checked").value;
}

function setInput(mode) {
  const choice = document.querySelector(`[name=input][value=${mode === "text" || mode === "terminal" ? mode : "typed"}]`);
  if (!choice.disabled) choice.checked = true;
  $("stdin-field").hidden = inputMode() !== "text";
}

// A run.

function toggle() {
  if (current) current.cancel();
  else run();
}

async function run() {
  if (!connection) {
    show("bad", "The server can't be reached, so nothing can run.");
    return;
  }
  const { files: sources, args, input, stdin } = program();
  const request = { language, files: sources };
  if (args.trim()) request.args = splitArguments(args);
  if (input === "text") request.stdin = stdin;
  $("outcome").hidden = $("welcome").hidden = true;
  output.clear();
  const inTerminal = input === "terminal" && (await openTerminal());
  if (inTerminal) request.tty = terminal.size;
  $("log").hidden = inTerminal;
  $("terminal").hidden = !inTerminal;

  const mine = connection.run(request);
  current = mine;
  busy(true);
  state(connection.state === "open" ? "Starting" : "Waiting for the server");
  announce("Starting");
  let first = null;
  mine.on("queued", (queued) => {
    first ??= queued.position;
    showQueue(queued, first);
  });
  mine.on("started", ({ stage }) => {
    if (!$("queue").hidden) announce("Your turn");
    $("queue").hidden = true;
    startedAt = performance.now();
    state(stage === "build" ? "Building" : "Running", true);
    const takesInput = stage === "run" && input === "typed";
    $("input").hidden = !takesInput;
    if (takesInput) $("input-line").disabled = $("eof").disabled = false;
    if (stage === "run" && inTerminal) terminal.focus();
  });
  mine.on("output", ({ stream, text, bytes }) => {
    if (inTerminal) terminal.write(bytes ?? text);
    else {
      output.append(stream, text);
      readOut(text);
    }
  });
  mine.on("error", (error) => {
    if (!(error instanceof WsrunnerError) || error.code === "no_such_run") return;
    output.append("note", `${error.message}\n`);
  });
  try {
    const exit = await mine.exit;
    const { tone, title, facts } = outcome(exit);
    show(tone, title, facts);
    if (!inTerminal && output.empty) output.append("note", "The program printed nothing.\n");
  } catch (error) {
    show("bad", refusal(error));
    if (!inTerminal && output.empty) $("log").hidden = true;
  } finally {
    if (current === mine) {
      current = null;
      busy(false);
      const hadFocus = $("input").contains(document.activeElement);
      $("input").hidden = $("queue").hidden = true;
      if (hadFocus || inTerminal) $("run").focus();
      state("");
    }
  }
}

async function openTerminal() {
  const create = await loadTerminal();
  if (!create) return false;
  $("terminal").hidden = false;
  $("log").hidden = true;
  terminal ??= create($("terminal"), {
    dark: isDark(),
    onData: (data) => current?.stdin(data),
    onResize: ({ columns, rows }) => current?.resize(columns, rows),
  });
  terminal.reset();
  terminal.fit();
  return true;
}

function showQueue({ position, waiting }, first) {
  $("queue").hidden = false;
  state("Waiting");
  const words = position === 1
    ? "You are next: position 1" : `All slots are taken: position ${position}`;
  $("queue-words").textContent = `${words}${waiting > 1 ? ` of ${waiting}` : ""}`;
  $("queue-progress").value = first > 1 ? (first - position) / first : 0;
  if (position === 1) $("queue-progress").value = Math.max(0.5, (first - 1) / first);
  announce($("queue-words").textContent);
}

function busy(on) {
  $("run").classList.toggle("busy", on);
  $("run-name").textContent = on ? "Stop" : "Run";
  $("run").title = on ? "Stop the program" : "Run (Ctrl-Enter)";
  if (on && matchMedia("(max-width: 860px)").matches) $("result").scrollIntoView({ block: "start" });
}

function state(words, ticking = false) {
  clearInterval(clock);
  $("state").classList.toggle("live", Boolean(words));
  $("state").textContent = words;
  if (!ticking) return;
  clock = setInterval(() => {
    $("state").textContent = `${words} ${duration(performance.now() - startedAt).replace(/\.\d+ s/, " s")}`;
  }, 1000);
}

function show(tone, title, facts = []) {
  const box = $("outcome");
  box.className = `outcome ${tone}`;
  box.hidden = false;
  const list = element("dl");
  for (const [name, value] of facts) {
    const pair = element("div");
    pair.append(element("dt", "", name), element("dd", "", value));
    list.append(pair);
  }
  box.replaceChildren(element("p", "", title), ...(facts.length ? [list] : []));
  announce(`${title}. ${facts.map((fact) => fact.join(" ")).join(", ")}`);
}

// What a screen reader hears: small output as it is, much of it as a number of lines.

let unread = "";
let unreadLines = 0;
let readTimer = 0;

function readOut(text) {
  if (unread.length < 300) unread += text.slice(0, 400);
  for (let at = text.indexOf("\n"); at !== -1; at = text.indexOf("\n", at + 1)) unreadLines++;
  readTimer ||= setTimeout(() => {
    readTimer = 0;
    announce(unread.length < 300 ? unread : `${unreadLines} lines of output`);
    unread = "";
    unreadLines = 0;
  }, 700);
}

function announce(words) {
  $("announce").textContent = words;
}

let toastTimer = 0;

function toast(words, label, action) {
  const box = $("toast");
  clearTimeout(toastTimer);
  box.hidden = false;
  box.replaceChildren(element("span", "", words));
  if (label) {
    const button = element("button", "", label);
    button.type = "button";
    button.addEventListener("click", () => {
      box.hidden = true;
      action();
    });
    box.append(button);
  }
  toastTimer = setTimeout(() => (box.hidden = true), label ? 12_000 : 3000);
}

// Controls.

function setUpControls() {
  $("run").addEventListener("click", toggle);
  document.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !event.defaultPrevented && !$("token-dialog").open) {
      event.preventDefault();
      toggle();
    }
  });
  $("copy").addEventListener("click", async () => {
    const text = $("terminal").hidden ? output.text : terminal.text;
    toast((await copy(text)) ? "Output copied" : "The browser does not allow copying here");
  });
  $("clear").addEventListener("click", () => {
    output.clear();
    terminal?.clear();
    if (!current) {
      $("outcome").hidden = $("log").hidden = $("terminal").hidden = true;
      $("welcome").hidden = false;
    }
  });
  $("share").addEventListener("click", async () => {
    const link = location.origin + location.pathname + (await pack(program()));
    saveNow();
    history.replaceState(null, "", link);
    toast((await copy(link)) ? "Link copied. The code is in the link itself." : "The link is in the address bar");
  });
  for (const choice of document.querySelectorAll("[name=input]")) {
    choice.addEventListener("change", () => {
      $("stdin-field").hidden = inputMode() !== "text";
      save();
    });
  }
  for (const id of ["args", "stdin"]) $(id).addEventListener("input", save);

  $("input").addEventListener("submit", (event) => {
    event.preventDefault();
    const line = $("input-line").value;
    $("input-line").value = "";
    output.append("typed", `${line}\n`);
    current?.stdin(`${line}\n`);
  });
  $("input-line").addEventListener("keydown", (event) => {
    if (!event.ctrlKey) return;
    const selected = $("input-line").selectionStart !== $("input-line").selectionEnd;
    if (event.key === "d") endInput();
    else if (event.key === "c" && !selected) current?.signal("SIGINT");
    else return;
    event.preventDefault();
  });
  $("interrupt").addEventListener("click", () => current?.signal("SIGINT"));
  $("eof").addEventListener("click", endInput);

  $("token-form").addEventListener("submit", () => {
    const token = $("token").value.trim();
    if ($("token-keep").checked) remember("token", token);
    else {
      forget("token");
      sessionStorage.setItem("wsrunner.token", token);
    }
    reach();
  });
  $("token-later").addEventListener("click", () => $("token-dialog").close());
}

function endInput() {
  current?.eof();
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

function setUpTheme() {
  const names = { auto: "Auto", light: "Light", dark: "Dark" };
  const order = Object.keys(names);
  const apply = (theme) => {
    if (theme === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    $("theme-name").textContent = names[theme];
    $("theme").setAttribute("aria-label", `Colours: ${names[theme]}`);
    if (terminal) terminal.dark = isDark();
  };
  let theme = names[recall("theme")] ? recall("theme") : "auto";
  apply(theme);
  $("theme").addEventListener("click", () => {
    theme = order[(order.indexOf(theme) + 1) % order.length];
    remember("theme", theme);
    apply(theme);
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => apply(theme));
}

function isDark() {
  const { theme } = document.documentElement.dataset;
  return theme ? theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

function setUpDivider() {
  const divider = $("divider");
  const split = $("split");
  const set = (percent) => {
    const left = Math.min(80, Math.max(20, Math.round(percent)));
    split.style.setProperty("--left", `${left}fr`);
    split.style.setProperty("--right", `${100 - left}fr`);
    divider.setAttribute("aria-valuenow", String(left));
    remember("left", left);
  };
  if (recall("left")) set(recall("left"));
  divider.addEventListener("pointerdown", (event) => divider.setPointerCapture(event.pointerId));
  divider.addEventListener("pointermove", (event) => {
    if (!divider.hasPointerCapture(event.pointerId)) return;
    const box = split.getBoundingClientRect();
    set(((event.clientX - box.left) / box.width) * 100);
  });
  divider.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -4, ArrowRight: 4 }[event.key];
    if (step) set(Number(divider.getAttribute("aria-valuenow")) + step);
  });
}
