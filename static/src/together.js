// A program that several people write at once: Yjs behind a small interface.
//
// The document has a map `program` (language, args, input, stdin, merge) and an array `files`, of a map
// each: `name`, and `text`, which is edited together. The first file is the main one.

import { Prec } from "@codemirror/state";
import { keymap } from "@codemirror/view";
import { yCollab, yUndoManagerKeymap } from "y-codemirror.next";
import { Awareness, applyAwarenessUpdate, encodeAwarenessUpdate, removeAwarenessStates } from "y-protocols/awareness";
import * as Y from "yjs";

/** Changes are sent together that come within this time. */
const SEND_AFTER_MS = 30;
const FIELDS = ["language", "args", "input", "stdin", "merge"];
/** Where a change comes from: the room, or this page beside its editor. */
const FROM_ROOM = "room";
const FROM_PAGE = "page";

/** One file, as `page/files.js` has them. Once it is taken out it keeps what it was. */
class SharedFile {
  #map;
  #left = null;

  constructor(map, awareness) {
    this.#map = map;
    this.extension = [Prec.high(keymap.of(yUndoManagerKeymap)), yCollab(this.text, awareness)];
  }

  get text() {
    return this.#map.get("text");
  }

  get name() {
    return this.#left?.name ?? String(this.#map.get("name"));
  }

  set name(name) {
    this.#map.set("name", name);
  }

  get content() {
    return this.#left?.content ?? this.text.toString();
  }

  /** The editor has done that already. */
  set content(_) {}

  get isOut() {
    return this.#left !== null;
  }

  takeOut() {
    this.#left = { name: this.name, content: this.content };
  }
}

export class Together {
  #room;
  #doc = new Y.Doc();
  #awareness = new Awareness(this.#doc);
  #fields = this.#doc.getMap("program");
  #array = this.#doc.getArray("files");
  /** @type {Map<any, SharedFile>} */
  #files = new Map();
  #onChange;
  #onCaret;
  #unsent = [];
  #timer = 0;
  #caretTimer = 0;
  #ends = [];

  /**
   * @param {import("../wsrunner.js").Room} room
   * @param {{onChange: () => void, onCaret: (person: string) => void}} listeners `onChange`: there are other files, or
   *   another language or the like; `onCaret`: somebody's caret has moved.
   */
  constructor(room, { onChange, onCaret }) {
    this.#room = room;
    this.#onChange = onChange;
    this.#onCaret = onCaret;
    this.#doc.on("update", (update, origin) => {
      if (origin !== FROM_ROOM) this.#send(update);
    });
    const changed = (_, { origin }) => origin !== FROM_PAGE && this.#onChange();
    this.#fields.observe(changed);
    this.#array.observeDeep((events, transaction) => {
      // What is written in a file, the editor knows by itself.
      if (events.some(({ target }) => !(target instanceof Y.Text))) changed(null, transaction);
    });
    this.#awareness.on("change", ({ added, updated, removed }, origin) => {
      for (const id of [...added, ...updated]) this.#name(id, origin);
      if (origin === "local") this.#sendCaret();
      else for (const id of [...added, ...updated, ...removed]) this.#onCaret(this.#personOf(id));
    });
    this.#awareness.on("update", (_, origin) => {
      if (origin === "local") this.#sendCaret();
    });
    this.#ends = [
      room.on("joined", (all) => this.#meet(all)),
      room.on("update", ({ bytes }) => bytes && this.#take(bytes)),
      room.on("awareness", (told) => this.#hear(told)),
      room.on("compact", ({ seq }) => {
        this.#flush();
        room.update(Y.encodeStateAsUpdate(this.#doc), { replaces: seq });
      }),
      room.on("room", () => this.#showPeople()),
    ];
  }

  /** Whether there is a program yet. */
  get empty() {
    return this.files.length === 0;
  }

  /** What all write; its files are to be shown as they are. @returns {any} */
  get program() {
    return { ...Object.fromEntries(FIELDS.map((name) => [name, this.#fields.get(name)])), files: this.files };
  }

  get files() {
    return this.#array.toArray().filter(isFile).map((map) => this.#fileOf(map));
  }

  /** Put another program in the place of the one that is there. @param {any} program */
  replace(program) {
    this.#doc.transact(() => {
      this.#takeFields(program);
      for (const file of this.files) file.takeOut();
      this.#array.delete(0, this.#array.length);
      this.#array.insert(0, program.files.map(madeFile));
    }, FROM_PAGE);
  }

  /**
   * Take over what the page has made of it: files that came or went, and what is beside the files.
   *
   * @param {any} program
   * @returns {boolean} Whether the page is to show the files anew: those that came are others now.
   */
  take(program) {
    const isNew = (file) => !(file instanceof SharedFile) || file.isOut;
    const anew = program.files.some(isNew);
    this.#doc.transact(() => {
      this.#takeFields(program);
      const shown = program.files;
      for (let index = this.#array.length - 1; index >= 0; index--) {
        const entry = this.#array.get(index);
        const file = isFile(entry) ? this.#fileOf(entry) : null;
        if (file && shown.includes(file)) continue;
        file?.takeOut();
        this.#array.delete(index);
      }
      shown.forEach((file, index) => {
        if (isNew(file)) this.#array.insert(index, [madeFile(file)]);
      });
    }, FROM_PAGE);
    return anew;
  }

  /** Where somebody's caret is; null if it is nowhere. @param {string} person @returns {{file: SharedFile, index: number} | null} */
  caretOf(person) {
    for (const [id, state] of this.#awareness.getStates()) {
      if (id === this.#doc.clientID || state.user?.person !== person || !state.cursor?.head) continue;
      const at = Y.createAbsolutePositionFromRelativePosition(state.cursor.head, this.#doc);
      const file = at && this.files.find(({ text }) => text === at.type);
      if (at && file) return { file, index: at.index };
    }
    return null;
  }

  /** Write no more together. */
  end() {
    this.#flush();
    clearTimeout(this.#caretTimer);
    for (const end of this.#ends) end();
    this.#awareness.destroy();
    this.#doc.destroy();
  }

  #fileOf(map) {
    let file = this.#files.get(map);
    if (!file) this.#files.set(map, (file = new SharedFile(map, this.#awareness)));
    return file;
  }

  #takeFields(program) {
    for (const name of FIELDS) {
      if (program[name] !== undefined && program[name] !== this.#fields.get(name)) this.#fields.set(name, program[name]);
    }
  }

  // The room.

  /** Take all there is, and give what this page has that is not there: it was lost with a connection. */
  #meet({ updates, awareness }) {
    const there = new Y.Doc();
    for (const update of updates) {
      apply(there, update);
      this.#take(update);
    }
    const mine = Y.encodeStateAsUpdate(this.#doc, Y.encodeStateVector(there));
    // One that changes nothing has two zeros.
    if (this.#room.works && mine.length > 2) this.#room.update(mine);
    there.destroy();
    for (const told of awareness) this.#hear(told);
    this.#showMyself();
  }

  #take(update) {
    apply(this.#doc, update);
  }

  #send(update) {
    this.#unsent.push(update);
    this.#timer ||= setTimeout(() => this.#flush(), SEND_AFTER_MS);
  }

  #flush() {
    clearTimeout(this.#timer);
    this.#timer = 0;
    if (this.#unsent.length) this.#room.update(Y.mergeUpdates(this.#unsent));
    this.#unsent = [];
  }

  // Carets.

  #sendCaret() {
    this.#caretTimer ||= setTimeout(() => {
      this.#caretTimer = 0;
      this.#room.awareness(encodeAwarenessUpdate(this.#awareness, [this.#doc.clientID]));
    }, SEND_AFTER_MS);
  }

  #hear({ person, bytes }) {
    try {
      applyAwarenessUpdate(this.#awareness, bytes, { person });
    } catch {
      // Somebody's rubbish.
    }
  }

  #showPeople() {
    const there = new Set(this.#room.people.map(({ person }) => person));
    const gone = [...this.#awareness.getStates()].filter(([id, { user }]) => id !== this.#doc.clientID && !there.has(user?.person));
    removeAwarenessStates(this.#awareness, gone.map(([id]) => id), FROM_ROOM);
    this.#showMyself();
  }

  #showMyself() {
    const me = this.#room.me;
    const known = this.#awareness.getLocalState()?.user;
    if (me && (known?.name !== me.name || known?.person !== me.person)) this.#awareness.setLocalStateField("user", userOf(me));
  }

  /** Whose caret it is, the server says: name and colour are not what the client likes to be. */
  #name(id, origin) {
    const state = this.#awareness.getStates().get(id);
    const person = this.#room.people.find((each) => each.person === origin?.person);
    if (state && origin?.person) state.user = person ? userOf(person) : { person: origin.person };
  }

  #personOf(id) {
    return this.#awareness.getStates().get(id)?.user?.person ?? "";
  }
}

function apply(doc, update) {
  try {
    Y.applyUpdate(doc, update, FROM_ROOM);
  } catch {
    // One that is broken spoils none but itself.
  }
}

/** Anybody who works in the room may have put anything there. */
function isFile(entry) {
  return entry instanceof Y.Map && typeof entry.get("name") === "string" && entry.get("text") instanceof Y.Text;
}

function madeFile({ name, content }) {
  return new Y.Map([["name", name], ["text", new Y.Text(content)]]);
}

function userOf({ person, name, number }) {
  const color = `var(--person-${number % 8})`;
  return { person, name: name || "Somebody", color, colorLight: `color-mix(in srgb, ${color} 25%, transparent)` };
}
