/**
 * The program on the page: its language, files, arguments and input.
 *
 * Each tab has its own, kept for that tab (a reload or a restored tab brings it back) and in the
 * library of this browser. What a person wrote is never lost to something they opened: that opens
 * as another program. Where two tabs hold the same one, the second to change it goes on with a copy.
 */

import { EXAMPLES } from "./examples.js";
import { Files } from "./files.js";
import * as library from "./library.js";
import { LibraryDialog } from "./library_dialog.js";
import { notice, toast } from "./notices.js";
import { Picker } from "./picker.js";
import { isLink, isProgram, isSame, recall, remember, unpack } from "./store.js";
import { mainOf, receiveDrops } from "./transfer.js";

/**
 * @typedef {object} Program
 * @property {string} language
 * @property {{name: string, content: string}[]} files
 * @property {string} [args]
 * @property {"typed" | "text" | "terminal"} [input]
 * @property {string | null} [stdin]
 * @property {boolean} [merge] Errors as part of the output, in exactly the order in which both were written.
 */

/** @type {(id: string) => any} Each id of the page has an element of a kind of its own. */
const $ = (id) => document.getElementById(id);
const SAVE_AFTER_MS = 400;
/** What shows late, by a language's `live` in the catalogue; in a terminal too, as such runtimes ask no terminal. */
const LATE = {
  lines: "a prompt shows once its line has ended, or where the program flushes it",
  flushed: "output shows where the program flushes it, else at its end",
};

export class Programs {
  /** The catalogue. @type {Map<string, {id: string, name: string, file: string, aliases: string[], present: boolean, live?: string}>} */
  #languages = new Map();
  #language = "python";
  /** What the library knows the program by; the stamp is empty until it is there. */
  #entry = { id: "", name: "", stamp: "" };
  /** The program as it was last saved or opened, as JSON. */
  #saved = "";
  #toldUnkept = false;
  #editor = null;
  /** Where others write it too. @type {import("../src/together.js").Together | null} */
  #together = null;
  #locked = false;
  #saveTimer = 0;
  #closeLinkNotice = () => {};
  #closeUndoToast = () => {};

  #files = new Files({
    onShow: () => this.#showFile(),
    onChange: () => this.save(),
    onAdd: () => this.focusEditor(),
    onRemove: (name, restore) => this.#offerUndo(`${name} was removed`, restore),
  });
  #languagePicker = new Picker($("language"), { label: "Languages", onChoose: (id) => this.#choose(id) });
  #examplePicker = new Picker($("examples"), {
    label: "Examples", searchable: false, onChoose: (id) => this.#openExample(id),
  });
  #dialog = new LibraryDialog({
    current: () => ({ ...this.#entry, program: this.current }),
    saveNow: () => this.#saveNow(),
    open: (entry) => this.#openEntry(entry),
    create: () => this.#create(firstProgram(this.#language, this.#languages)),
    copy: () => this.#copy(),
    rename: (name) => this.#rename(name),
    take: (files) => this.#take(files, true),
    languageName: (id) => this.#languages.get(id)?.name ?? id,
  });

  constructor() {
    this.#openLast(text(recall("language", "session")) ?? text(recall("language")) ?? "python");
    if (isLink(location.hash)) this.#openLink();
    window.addEventListener("hashchange", () => isLink(location.hash) && this.#openLink());
    window.addEventListener("pagehide", () => this.#saveNow());
    for (const choice of document.querySelectorAll("[name=input], [name=errors]")) {
      choice.addEventListener("change", () => {
        this.#showInput();
        this.save();
      });
    }
    for (const id of ["args", "stdin"]) $(id).addEventListener("input", () => this.save());
    receiveDrops((files) => this.#take(files, false));
  }

  /** @returns {Program} */
  get current() {
    return {
      language: this.#language, files: this.#files.all, args: $("args").value, input: this.#input,
      stdin: $("stdin").value, merge: $("merge").checked,
    };
  }

  /** What the catalogue says about the language; undefined until it is there. */
  get language() {
    return this.#languages.get(this.#language);
  }

  set editor(editor) {
    this.#editor = editor;
    this.#showFile();
    if (this.#locked) this.locked = true;
  }

  /**
   * Write it together with others: this one, if the room is new, else that which is there.
   *
   * @param {import("../src/together.js").Together} together
   * @param {{opened: boolean}} how
   */
  shareIn(together, { opened }) {
    this.#saveNow();
    const own = this.current;
    if (opened && together.empty) together.replace(own);
    // Theirs is another program; this one is kept.
    else this.#entry = { id: library.newId(), name: "", stamp: "" };
    this.#together = together;
    this.showShared();
  }

  /** Others have changed what is beside the text of the files. */
  showShared() {
    if (!this.#together || this.#together.empty) return;
    const program = this.#together.program;
    this.#closeUndoToast();
    this.#language = text(program.language) ?? this.#language;
    this.#showFields(program);
    this.#files.entries = program.files;
    this.#showLanguages();
    this.save();
  }

  /** Go on alone. */
  shareNoMore() {
    this.#saveNow();
    this.#together = null;
    const { files } = this.current;
    this.#files.all = files;
    this.locked = false;
  }

  /** Whether nothing of it can be changed here. @param {boolean} on */
  set locked(on) {
    this.#locked = on;
    if (this.#editor) this.#editor.readOnly = on;
    this.#files.locked = on;
    for (const id of ["language", "examples", "programs", "args", "stdin"]) $(id).disabled = on;
    for (const id of ["errors", "input-mode"]) $(id).disabled = on;
    if (!on) this.#showLanguages();
  }

  /** Show a file and scroll to a place in it, for whoever looks on. @param {object} file @param {number} index */
  reveal(file, index) {
    const at = this.#files.entries.indexOf(file);
    if (at === -1) return;
    if (this.#files.current !== file) this.#files.show(at);
    this.#editor?.reveal(index);
  }

  set languages(entries) {
    this.#languages = new Map(entries.map((entry) => [entry.id, entry]));
    this.#showLanguages();
    this.#nameMain();
  }

  focusEditor() {
    this.#editor?.focus();
  }

  /** Put the cursor at a place of the program. @param {import("./places.js").Place} place */
  goTo({ file, line, column }) {
    if (this.#files.showNamed(file)) this.#editor?.goTo(line, column);
  }

  /** Mark lines in the editor; see `marksOf`. */
  mark(marks) {
    this.#editor?.mark(marks);
  }

  /** Take what was typed into the editor. */
  edit(text) {
    this.#files.current.content = text;
    this.save();
  }

  /** There is no terminal here. */
  withoutTerminal() {
    const choice = inputChoice("[value=terminal]");
    choice.disabled = true;
    choice.parentElement.title = "This server has no terminal";
    if (choice.checked) this.#input = "typed";
  }

  save() {
    if (this.#together && !this.#locked && this.#together.take({ ...this.current, files: this.#files.entries })) {
      this.#files.entries = this.#together.files;
    }
    clearTimeout(this.#saveTimer);
    this.#saveTimer = setTimeout(() => this.#saveNow(), SAVE_AFTER_MS);
  }

  /** Put a link to the program into the address bar. */
  showLink(link) {
    this.#saveNow();
    history.replaceState(null, "", link);
  }

  /** Ctrl-S: what is written is saved by itself, so this is about its name. */
  openLibrary() {
    this.#dialog.open();
  }

  #saveNow() {
    clearTimeout(this.#saveTimer);
    this.#saveTimer = 0;
    const program = this.current;
    const json = JSON.stringify(program);
    if (json === this.#saved) return;
    this.#saved = json;
    this.#keep(program);
    // The link no longer shows what is on the page.
    if (isLink(location.hash)) dropLink();
  }

  /** Write the program into the library and for this tab. */
  #keep(program) {
    const entry = this.#entry;
    const known = library.read(entry.id);
    if (known && known.stamp !== entry.stamp) {
      const { name } = entry;
      entry.id = library.newId();
      entry.name = name && library.freeName(name);
      if (name) toast(`Another tab has changed “${name}”. Here it goes on as “${entry.name}”.`);
    }
    entry.stamp = library.newId();
    const kept = library.write({ ...entry, at: Date.now(), program });
    if (!kept && !this.#toldUnkept) {
      this.#toldUnkept = true;
      notice("This browser can't keep your program, its storage is full or blocked. Download what must not be lost.");
    }
    this.#keepForTab(program);
  }

  #keepForTab(program) {
    remember(`open.${this.#language}`, { ...this.#entry, program }, "session");
    remember("language", this.#language, "session");
    // Where a new tab begins.
    remember("language", this.#language);
    this.#showName();
  }

  /** Show a program in place of the one that is there, which is saved. */
  #open(program, { id = library.newId(), name = "", stamp = "" } = {}) {
    this.#closeUndoToast();
    this.#language = program.language;
    this.#entry = { id, name, stamp };
    this.#showFields(program);
    if (this.#together) {
      this.#together.replace({ args: "", stdin: "", merge: false, input: this.#input, ...program });
      this.#files.entries = this.#together.files;
    } else this.#files.all = program.files;
    this.#saved = JSON.stringify(this.current);
    this.#showLanguages();
    this.#keepForTab(this.current);
  }

  #showFields(program) {
    for (const id of ["args", "stdin"]) {
      // Whoever writes there keeps the cursor where it is.
      const value = program[id] ?? "";
      if ($(id).value !== value) $(id).value = value;
    }
    $(program.merge ? "merge" : "apart").checked = true;
    this.#input = program.input ?? (program.stdin ? "text" : "typed");
  }

  /** What this tab had open in a language, else the newest there is, else an example. */
  #openLast(language) {
    const own = recall(`open.${language}`, "session");
    const entry = isProgram(own?.program) ? own : library.list().find(({ program }) => program.language === language);
    if (entry) this.#open(entry.program, { id: text(entry.id), name: text(entry.name), stamp: text(entry.stamp) });
    else this.#open(firstProgram(language, this.#languages));
  }

  #openEntry(entry) {
    this.#saveNow();
    this.#open(entry.program, entry);
    this.focusEditor();
  }

  /** Open a new program; what was there is a click away. */
  #create(program, words = "") {
    this.#saveNow();
    const before = { ...this.#entry, program: this.current };
    this.#open(program);
    if (words && !isSame(before.program, program) && !isBlank(before.program)) {
      this.#offerUndo(words, () => this.#openEntry(before));
    }
    this.focusEditor();
  }

  #copy() {
    this.#saveNow();
    const { name } = this.#entry;
    this.#open(this.current, { name: name && library.freeName(name) });
    this.#keep(this.current);
  }

  #rename(name) {
    this.#saveNow();
    this.#entry.name = name;
    this.#keep(this.current);
  }

  #choose(id) {
    this.#saveNow();
    this.#openLast(id);
    this.focusEditor();
  }

  #openExample(id) {
    const example = examplesOf(this.#language)[Number(id)];
    this.#create(asProgram(this.#language, example, this.#languages), "The example is a new program; yours is kept");
  }

  /**
   * Take files from outside: into this program, or as one of their own, if they are in another
   * language or `asProgram` says so.
   *
   * @param {{name: string, content: string}[]} files
   * @param {boolean} asProgram
   */
  #take(files, asProgram) {
    const found = mainOf(files, [...this.#languages.values()], this.#language);
    if (found && (asProgram || found.language !== this.#language)) {
      const rest = files.filter((file) => file !== found.file);
      const words = `Opened ${found.file.name} as a new program; yours is kept`;
      this.#create({ language: found.language, files: [found.file, ...rest] }, words);
      this.#keep(this.current);
      return;
    }
    const before = this.current;
    this.#files.put(files);
    this.save();
    const names = files.length === 1 ? files[0].name : `${files.length} files`;
    this.#offerUndo(`Added ${names}`, () => {
      this.#files.all = before.files;
      this.save();
    });
    this.focusEditor();
  }

  #offerUndo(words, undo) {
    this.#closeUndoToast = toast(words, { label: "Undo", action: undo });
  }

  async #openLink() {
    const linked = await unpack(location.hash);
    if (!linked) {
      dropLink();
      notice("This link holds no program that can be read. Here is your own code.");
      return;
    }
    const { hash } = location;
    this.#saveNow();
    const before = { ...this.#entry, program: this.current };
    if (isSame(before.program, linked)) return;
    // Saving has dropped it.
    history.replaceState(null, "", location.pathname + hash);
    this.#closeLinkNotice();
    this.#open(linked);
    this.#nameMain();
    this.#closeLinkNotice = notice("Opened from a link", {
      label: "Back to my code",
      action: () => {
        this.#openEntry(before);
        dropLink();
      },
    });
  }

  /** A widget does not know what the main file of a language is called. */
  #nameMain() {
    const name = this.#languages.get(this.#language)?.file ?? examplesOf(this.#language)[0]?.file;
    if (this.#files.main.name !== "main" || !name) return;
    this.#files.main.name = name;
    this.#files.show(0);
    this.#saved = JSON.stringify(this.current);
    this.#keepForTab(this.current);
  }

  #showFile() {
    const file = this.#files.current;
    this.#editor?.show(file, file === this.#files.main ? this.#language : "");
  }

  /** @returns {Program["input"]} */
  get #input() {
    return /** @type {Program["input"]} */ (inputChoice(":checked").value);
  }

  set #input(mode) {
    const known = mode === "text" || mode === "terminal" ? mode : "typed";
    const choice = inputChoice(`[value=${known}]`);
    (choice.disabled ? inputChoice("[value=typed]") : choice).checked = true;
    this.#showInput();
  }

  #showInput() {
    $("stdin-field").hidden = this.#input !== "text";
    // There they are in order anyway.
    $("errors").hidden = this.#input === "terminal";
    const entry = this.#languages.get(this.#language);
    const shown = LATE[entry?.live];
    $("live-note").hidden = !shown || this.#input === "text";
    $("live-note").textContent = shown ? `In ${entry.name}, ${shown}.` : "";
  }

  #showName() {
    const { name } = this.#entry;
    $("program-shown").textContent = name || "Untitled";
    $("programs").setAttribute("aria-label", `Programs: ${name || "untitled"}`);
    const language = this.#languages.get(this.#language)?.name ?? this.#language;
    document.title = `${name || language} · wsrunner`;
  }

  #showLanguages() {
    const language = this.#language;
    const entries = [...this.#languages.values()].map((entry) => ({
      id: entry.id, name: entry.name, words: entry.aliases.join(" "), note: entry.file.split(".").pop(),
      mark: entry.present ? "ready" : "absent", chosen: entry.id === language, present: entry.present,
    }));
    entries.sort((one, other) => one.name.localeCompare(other.name, "en"));
    this.#languagePicker.groups = [
      { label: "Ready", entries: entries.filter((entry) => entry.present) },
      { label: "Not installed on this server", entries: entries.filter((entry) => !entry.present) },
    ];
    const entry = this.#languages.get(language);
    const name = entry?.name ?? language;
    const absent = entry && !entry.present;
    $("language-name").textContent = name;
    $("language").setAttribute("aria-label", `Language: ${name}${absent ? ", not installed on this server" : ""}`);
    $("language").querySelector(".mark").className = `mark ${entry ? (absent ? "absent" : "ready") : ""}`;
    const examples = examplesOf(language).map(({ title, note }, index) => ({ id: String(index), name: title, note }));
    this.#examplePicker.groups = [{ label: name, entries: examples }];
    $("examples").disabled = this.#locked || examples.length === 0;
    this.#showName();
    this.#showInput();
  }
}

/** One of the ways to give input. @param {string} selector @returns {HTMLInputElement} */
function inputChoice(selector) {
  return document.querySelector(`[name=input]${selector}`);
}

/** Storage may hold anything. */
function text(value) {
  return typeof value === "string" ? value : undefined;
}

/** Whether nobody would miss it. */
function isBlank(program) {
  const examples = examplesOf(program.language);
  return (
    program.files.every(({ content }) => !content.trim()) ||
    (program.files.length === 1 && examples.some(({ code }) => code === program.files[0].content))
  );
}

/** The id may come from a link, so it may be anything. */
function examplesOf(id) {
  return Object.hasOwn(EXAMPLES, id) ? EXAMPLES[id] : [];
}

function firstProgram(id, languages) {
  return asProgram(id, { code: examplesOf(id)[0]?.code ?? "" }, languages);
}

/** @param {string} id @param {Partial<import("./examples.js").Example>} example */
function asProgram(id, { code, input, stdin, args }, languages) {
  const name = languages.get(id)?.file ?? examplesOf(id)[0]?.file ?? "main.txt";
  return { language: id, files: [{ name, content: code }], input, stdin, args };
}

function dropLink() {
  history.replaceState(null, "", location.pathname);
}
