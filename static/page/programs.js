/**
 * The program on the page: its language, files, arguments and input, kept for each language.
 *
 * What a person wrote is never lost to something they opened: it is put aside first, comes back with
 * Undo, and stays in the list of examples.
 */

import { EXAMPLES } from "./examples.js";
import { Files } from "./files.js";
import { notice, toast } from "./notices.js";
import { Picker } from "./picker.js";
import { forget, isLink, isProgram, isSame, recall, remember, unpack } from "./store.js";

/**
 * @typedef {object} Program
 * @property {string} language
 * @property {{name: string, content: string}[]} files
 * @property {string} [args]
 * @property {"typed" | "text" | "terminal"} [input]
 * @property {string | null} [stdin]
 */

const $ = (id) => document.getElementById(id);
const SAVE_AFTER_MS = 400;
/** Programs put aside, for each language. */
const ASIDE_MAX = 5;
/** Among the examples, stands before the place of a program that was put aside. */
const ASIDE = "aside-";

export class Programs {
  /** The catalogue. @type {Map<string, {id: string, name: string, file: string, aliases: string[], present: boolean}>} */
  #languages = new Map();
  #language = "python";
  #editor = null;
  #saveTimer = 0;
  /** Whether the program came from a link and nothing was changed yet. */
  #untouchedLink = false;
  #closeLinkNotice = () => {};
  #closeUndoToast = () => {};

  #files = new Files({
    onShow: () => this.#showFile(),
    onChange: () => this.save(),
    onAdd: () => this.#editor?.focus(),
    onRemove: (name, restore) => this.#offerUndo(`${name} was removed`, restore),
  });
  #languagePicker = new Picker($("language"), { label: "Languages", onChoose: (id) => this.#choose(id) });
  #examplePicker = new Picker($("examples"), {
    label: "Examples", searchable: false, onChoose: (id) => this.#openExample(id),
  });

  constructor() {
    this.open(lastProgram());
    if (isLink(location.hash)) this.#openLink();
    window.addEventListener("hashchange", () => isLink(location.hash) && this.#openLink());
    window.addEventListener("pagehide", () => this.#saveNow());
    for (const choice of document.querySelectorAll("[name=input]")) {
      choice.addEventListener("change", () => {
        this.#showInput();
        this.save();
      });
    }
    for (const id of ["args", "stdin"]) $(id).addEventListener("input", () => this.save());
  }

  /** @returns {Program} */
  get current() {
    return {
      language: this.#language, files: this.#files.all, args: $("args").value, input: this.#input,
      stdin: $("stdin").value,
    };
  }

  set editor(editor) {
    this.#editor = editor;
    this.#showFile();
  }

  set languages(entries) {
    this.#languages = new Map(entries.map((entry) => [entry.id, entry]));
    this.#showLanguages();
  }

  focusEditor() {
    this.#editor?.focus();
  }

  /** Take what was typed into the editor. */
  edit(text) {
    this.#files.current.content = text;
    this.save();
  }

  /** There is no terminal here. */
  withoutTerminal() {
    const choice = document.querySelector("[name=input][value=terminal]");
    choice.disabled = true;
    choice.parentElement.title = "The server has no terminal bundle (make web builds it, with Node)";
    if (choice.checked) this.#input = "typed";
  }

  /** @param {Program} program */
  open(program) {
    this.#closeUndoToast();
    this.#untouchedLink = false;
    this.#language = program.language;
    $("args").value = program.args ?? "";
    $("stdin").value = program.stdin ?? "";
    this.#input = program.input ?? (program.stdin ? "text" : "typed");
    this.#files.all = program.files;
    this.#showLanguages();
    remember("language", program.language);
  }

  save() {
    clearTimeout(this.#saveTimer);
    this.#saveTimer = setTimeout(() => this.#saveNow(), SAVE_AFTER_MS);
  }

  /** Put a link to the program into the address bar. */
  showLink(link) {
    this.#saveNow();
    history.replaceState(null, "", link);
  }

  #saveNow() {
    if (!this.#saveTimer) return;
    clearTimeout(this.#saveTimer);
    this.#saveTimer = 0;
    if (this.#untouchedLink) {
      this.#untouchedLink = false;
      putAside(kept(this.#language));
      this.#showLanguages();
    }
    remember(`program.${this.#language}`, this.current);
    remember("language", this.#language);
    // The link no longer shows what is on the page.
    if (isLink(location.hash)) dropLink();
  }

  #choose(id) {
    this.#saveNow();
    this.open(kept(id) ?? firstProgram(id, this.#languages));
    this.#editor?.focus();
  }

  #openExample(id) {
    const language = this.#language;
    if (id.startsWith(ASIDE)) {
      const { program } = aside(language)[Number(id.slice(ASIDE.length))];
      this.#replace(program, "Your code from before is back");
    } else {
      const example = examplesOf(language)[Number(id)];
      this.#replace(asProgram(language, example, this.#languages), "The example took the place of your code");
    }
    this.#editor?.focus();
  }

  /** Open a program in place of the one that is there. */
  #replace(next, words) {
    const before = this.current;
    this.open(next);
    this.save();
    if (isSame(before, next) || !putAside(before)) return;
    this.#showLanguages();
    this.#offerUndo(words, () => {
      this.open(before);
      this.save();
    });
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
    this.#saveNow();
    const mine = this.current;
    const own = mine.language === linked.language ? mine : kept(linked.language);
    if (isSame(mine, linked)) return;
    this.#closeLinkNotice();
    this.open(linked);
    remember("language", mine.language);
    this.#untouchedLink = true;
    this.#closeLinkNotice = notice("Opened from a link", {
      label: "Back to my code", action: () => this.#leaveLink(linked.language, own, mine),
    });
  }

  /** Go back to what was there before a link was opened; what was changed since is put aside. */
  #leaveLink(language, own, mine) {
    dropLink();
    this.#saveNow();
    const now = kept(language);
    if (now && !(own && isSame(now, own))) {
      putAside(now);
      if (own) remember(`program.${language}`, own);
      else forget(`program.${language}`);
    }
    this.open(kept(mine.language) ?? mine);
  }

  #showFile() {
    const file = this.#files.current;
    this.#editor?.show(file, file === this.#files.main ? this.#language : "");
  }

  get #input() {
    return document.querySelector("[name=input]:checked").value;
  }

  set #input(mode) {
    const known = mode === "text" || mode === "terminal" ? mode : "typed";
    const choice = document.querySelector(`[name=input][value=${known}]`);
    (choice.disabled ? document.querySelector("[name=input][value=typed]") : choice).checked = true;
    this.#showInput();
  }

  #showInput() {
    $("stdin-field").hidden = this.#input !== "text";
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
    document.title = `${name} · wsrunner`;
    this.#showExamples(name);
  }

  #showExamples(name) {
    const examples = examplesOf(this.#language).map(({ title, note }, index) => ({ id: String(index), name: title, note }));
    const yours = aside(this.#language).map(({ at }, index) => ({
      id: ASIDE + index, name: "Your code from before", note: moment(at),
    }));
    this.#examplePicker.groups = [{ label: name, entries: examples }, { label: "Yours", entries: yours }];
    $("examples").disabled = examples.length + yours.length === 0;
  }
}

/** What the page keeps for a language; null if there is nothing. */
function kept(id) {
  const program = recall(`program.${id}`);
  return isProgram(program) ? program : null;
}

function lastProgram() {
  const last = recall("language");
  const id = typeof last === "string" ? last : "python";
  return kept(id) ?? firstProgram(id, new Map());
}

/** Keep a program that something else takes the place of; false if there is nothing to keep. */
function putAside(program) {
  if (!program || isExample(program) || program.files.every(({ content }) => !content.trim())) return false;
  const others = aside(program.language).filter((entry) => !isSame(entry.program, program));
  remember(`aside.${program.language}`, [{ at: Date.now(), program }, ...others].slice(0, ASIDE_MAX));
  return true;
}

/** What was put aside, the newest first. @returns {{at: number, program: Program}[]} */
function aside(id) {
  const entries = recall(`aside.${id}`);
  return Array.isArray(entries) ? entries.filter((entry) => isProgram(entry?.program)) : [];
}

/** A time in few characters: of today the hour, else the day. */
function moment(at) {
  const time = new Date(at);
  return time.toDateString() === new Date().toDateString()
    ? time.toLocaleTimeString([], { timeStyle: "short" }) : time.toLocaleDateString();
}

function isExample(program) {
  return program.files.length === 1 && examplesOf(program.language).some(({ code }) => code === program.files[0].content);
}

/** The id may come from a link, so it may be anything. */
function examplesOf(id) {
  return Object.hasOwn(EXAMPLES, id) ? EXAMPLES[id] : [];
}

function firstProgram(id, languages) {
  return asProgram(id, { code: examplesOf(id)[0]?.code ?? "" }, languages);
}

function asProgram(id, { code, input, stdin, args }, languages) {
  const name = languages.get(id)?.file ?? examplesOf(id)[0]?.file ?? "main.txt";
  return { language: id, files: [{ name, content: code }], input, stdin, args };
}

function dropLink() {
  history.replaceState(null, "", location.pathname);
}
