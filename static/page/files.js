/** The files of a program as tabs above the editor. The first is the main file, whose name is fixed. */

import { element } from "./picker.js";

/** @type {(id: string) => any} Each id of the page has an element of a kind of its own. */
const $ = (id) => document.getElementById(id);

export class Files {
  #files = [];
  #shown = 0;
  #tabs = $("tabs");
  #onShow;
  #onChange;
  #onAdd;
  #onRemove;

  /**
   * @param {{onShow: () => void, onChange: () => void, onAdd: () => void,
   *   onRemove: (name: string, restore: () => void) => void}} options
   */
  constructor({ onShow, onChange, onAdd, onRemove }) {
    this.#onShow = onShow;
    this.#onChange = onChange;
    this.#onAdd = onAdd;
    this.#onRemove = onRemove;
    this.#tabs.addEventListener("click", (event) => {
      const tab = event.target.closest("[role=tab]");
      if (tab) this.show(Number(tab.dataset.index));
    });
    this.#tabs.addEventListener("keydown", (event) => this.#key(event));
    this.#tabs.addEventListener("dblclick", () => this.#shown && !$("rename").disabled && this.#rename());
    $("add").addEventListener("click", () => this.#add());
    $("rename").addEventListener("click", () => this.#rename());
    $("remove").addEventListener("click", () => this.#remove());
  }

  get all() {
    return this.#files.map(({ name, content }) => ({ name, content }));
  }

  set all(files) {
    this.#files = files.map(({ name, content }) => ({ name, content }));
    this.show(0);
  }

  /** The files themselves, whoever keeps them; what is shown stays shown, if it is there still. */
  get entries() {
    return this.#files;
  }

  set entries(files) {
    const before = this.current;
    this.#files.splice(0, this.#files.length, ...files);
    const same = files.indexOf(before);
    const named = files.findIndex(({ name }) => name === before?.name);
    this.#shown = Math.max(0, same === -1 ? named : same);
    this.#draw();
    if (this.current !== before) this.#onShow();
  }

  /** Whether files may come, go and change their names. @param {boolean} on */
  set locked(on) {
    for (const id of ["add", "rename", "remove"]) $(id).disabled = on;
  }

  /** Add files; one takes the place of that of its name. */
  put(files) {
    for (const { name, content } of files) {
      const index = this.#files.findIndex((file) => file.name === name);
      if (index === -1) this.#files.push({ name, content });
      else this.#files[index] = { name, content };
    }
    this.show(this.#files.findIndex(({ name }) => name === files[0].name));
  }

  get current() {
    return this.#files[this.#shown];
  }

  get main() {
    return this.#files[0];
  }

  show(index) {
    this.#shown = index;
    // The tabs are made anew; whoever was on one stays there.
    const hadFocus = this.#tabs.contains(document.activeElement);
    this.#draw();
    if (hadFocus) $(`tab-${index}`).focus();
    this.#onShow();
  }

  /** Show the file of a name; false if there is none any more. */
  showNamed(name) {
    const index = this.#files.findIndex((file) => file.name === name);
    if (index !== -1 && index !== this.#shown) this.show(index);
    return index !== -1;
  }

  #draw() {
    this.#tabs.replaceChildren(
      ...this.#files.map((file, index) => {
        const tab = element("button", "", file.name);
        tab.type = "button";
        tab.id = `tab-${index}`;
        tab.dataset.index = String(index);
        tab.tabIndex = index === this.#shown ? 0 : -1;
        tab.setAttribute("role", "tab");
        tab.setAttribute("aria-selected", String(index === this.#shown));
        tab.setAttribute("aria-controls", "editor");
        return tab;
      }),
    );
    $("editor").setAttribute("aria-labelledby", `tab-${this.#shown}`);
    $("rename").hidden = $("remove").hidden = this.#shown === 0;
    $(`tab-${this.#shown}`).scrollIntoView?.({ block: "nearest", inline: "nearest" });
  }

  #key(event) {
    const last = this.#files.length - 1;
    const index = {
      ArrowRight: Math.min(this.#shown + 1, last), ArrowLeft: Math.max(this.#shown - 1, 0), Home: 0, End: last,
    }[event.key];
    if (index !== undefined) {
      event.preventDefault();
      this.show(index);
    } else if ($("rename").disabled) return;
    else if (event.key === "F2" && this.#shown) this.#rename();
    else if (event.key === "Delete" && this.#shown) this.#remove();
  }

  async #add() {
    const name = await this.#askName("", -1);
    if (name === null) return;
    this.#files.push({ name, content: "" });
    this.show(this.#files.length - 1);
    this.#onChange();
    this.#onAdd();
  }

  async #rename() {
    const name = await this.#askName(this.current.name, this.#shown);
    if (name === null) return;
    this.current.name = name;
    this.show(this.#shown);
    this.#onChange();
  }

  #remove() {
    const files = this.#files;
    const index = this.#shown;
    const [file] = files.splice(index, 1);
    this.show(index - 1);
    $(`tab-${this.#shown}`).focus();
    this.#onChange();
    this.#onRemove(file.name, () => {
      // Another program may be open by now.
      if (this.#files !== files) return;
      files.splice(Math.min(index, files.length), 0, file);
      this.show(files.indexOf(file));
      this.#onChange();
    });
  }

  #askName(name, self) {
    const dialog = $("name-dialog");
    $("name").value = name;
    $("name-problem").textContent = "";
    dialog.showModal();
    $("name").select();
    return new Promise((resolve) => {
      let answer = null;
      $("name-form").onsubmit = (event) => {
        const given = $("name").value.trim();
        const problem = this.#problem(given, self);
        $("name-problem").textContent = problem;
        if (problem) event.preventDefault();
        else answer = given;
      };
      $("name-cancel").onclick = () => dialog.close();
      dialog.onclose = () => resolve(answer);
    });
  }

  /** What the server would not take either, said sooner. */
  #problem(name, self) {
    if (!name) return "A file needs a name.";
    if (this.#files.some((file, index) => index !== self && file.name === name)) return "There is a file of that name.";
    if (name.startsWith("/")) return "The name begins with /; it must be relative.";
    if (name.split("/").some((part) => part === "" || part === "." || part === "..")) {
      return "A part of the name is empty, . or ..";
    }
    return "";
  }
}
