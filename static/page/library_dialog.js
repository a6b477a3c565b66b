/** The dialog that lists the programs of this browser: open, name, download, upload, delete. */

import * as library from "./library.js";
import { toast } from "./notices.js";
import { element } from "./picker.js";
import { download, readFiles } from "./transfer.js";

/** @type {(id: string) => any} Each id of the page has an element of a kind of its own. */
const $ = (id) => document.getElementById(id);

export class LibraryDialog {
  #page;
  #dialog = $("programs-dialog");

  /**
   * @param {{current: () => Omit<library.Entry, "at">, saveNow: () => void, open: (entry: library.Entry) => void,
   *   create: () => void, copy: () => void, rename: (name: string) => void,
   *   take: (files: {name: string, content: string}[]) => void, languageName: (id: string) => string}} page
   */
  constructor(page) {
    this.#page = page;
    $("programs").addEventListener("click", () => this.open());
    $("programs-close").addEventListener("click", () => this.#dialog.close());
    // A click beside the dialog.
    this.#dialog.addEventListener("click", (event) => event.target === this.#dialog && this.#dialog.close());
    $("program-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#save();
    });
    $("program-new").addEventListener("click", () => this.#leave(() => page.create()));
    $("program-copy").addEventListener("click", () => {
      page.copy();
      this.#show();
      $("program-name").select();
    });
    $("program-download").addEventListener("click", () => download(page.current()));
    $("program-upload").addEventListener("click", () => $("program-files").click());
    $("program-files").addEventListener("change", async () => {
      const files = await readFiles($("program-files").files);
      $("program-files").value = "";
      this.#leave(() => files.length && page.take(files));
    });
    // Another tab has written.
    window.addEventListener("storage", () => this.#dialog.open && this.#fill());
  }

  open() {
    if (this.#dialog.open) return;
    this.#page.saveNow();
    this.#dialog.showModal();
    this.#show();
    $("program-name").select();
  }

  #leave(action) {
    this.#dialog.close();
    action();
  }

  #show() {
    $("program-name").value = this.#page.current().name;
    $("program-problem").textContent = "";
    this.#fill();
  }

  #save() {
    const name = $("program-name").value.trim();
    const { id } = this.#page.current();
    const taken = library.list().some((entry) => entry.name === name && entry.id !== id);
    $("program-problem").textContent = !name ? "Give it a name." : taken ? "There is a program of that name." : "";
    if (!name || taken) return;
    this.#leave(() => this.#page.rename(name));
    toast(`Saved as “${name}” in this browser`);
  }

  #fill() {
    const { id } = this.#page.current();
    const entries = library.list();
    // Those with a name are what somebody wanted to keep.
    entries.sort((one, other) => Number(Boolean(other.name)) - Number(Boolean(one.name)));
    $("program-list").replaceChildren(...entries.map((entry) => this.#row(entry, entry.id === id)));
    $("program-none").hidden = entries.length > 0;
  }

  #row(entry, isOpen) {
    const row = element("li", isOpen ? "open" : "");
    const { name, program, at } = entry;
    const called = name || firstLine(program);
    const choose = element("button", "program-open");
    choose.type = "button";
    if (isOpen) choose.setAttribute("aria-current", "true");
    const count = program.files.length;
    choose.append(
      element("span", name ? "program-title" : "program-title unnamed", called),
      element("span", "program-facts", [
        this.#page.languageName(program.language), ...(count > 1 ? [`${count} files`] : []), moment(at), ...(isOpen ? ["open"] : []),
      ].join(" · ")),
    );
    choose.addEventListener("click", () => this.#leave(() => isOpen || this.#page.open(entry)));
    row.append(
      choose,
      tool("Download", called, "M10 4v8m-3.500-3.500L10 12l3.500-3.500M4.500 15.500h11", () => download(entry)),
      tool("Delete", called, "M4 6h12M8 6V4h4v2M5.500 6l.7 10.500h7.600L14.500 6", () => this.#delete(row, entry, isOpen)),
    );
    return row;
  }

  #delete(row, entry, isOpen) {
    library.remove(entry.id);
    const back = element("button", "button small", "Undo");
    back.type = "button";
    back.addEventListener("click", () => {
      library.write(entry);
      const again = this.#row(entry, isOpen);
      row.replaceWith(again);
      again.firstChild.focus();
    });
    row.className = "deleted";
    row.replaceChildren(element("span", "", `Deleted “${entry.name || firstLine(entry.program)}”`), back);
    back.focus();
  }
}

function tool(words, called, path, action) {
  const button = element("button", "icon");
  button.type = "button";
  button.title = words;
  button.setAttribute("aria-label", `${words} ${called}`);
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 20 20");
  svg.setAttribute("aria-hidden", "true");
  const line = document.createElementNS("http://www.w3.org/2000/svg", "path");
  line.setAttribute("d", path);
  svg.append(line);
  button.append(svg);
  button.addEventListener("click", action);
  return button;
}

/** What tells a program without a name from another. */
function firstLine({ files }) {
  const line = files[0].content.split("\n").find((text) => text.trim()) ?? "";
  return line.trim().slice(0, 60) || files[0].name;
}

/** A time in few characters: of today the hour, else the day. */
function moment(at) {
  const time = new Date(at);
  return time.toDateString() === new Date().toDateString()
    ? time.toLocaleTimeString([], { timeStyle: "short" }) : time.toLocaleDateString();
}
