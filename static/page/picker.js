/**
 * A button that opens a list to choose from, with a field to narrow it down.
 *
 * The combobox pattern of the ARIA Authoring Practices: focus stays in the field, the arrow keys move
 * `aria-activedescendant`.
 */

let count = 0;

export class Picker {
  #button;
  #panel;
  #field;
  #list;
  #groups = [];
  #options = [];
  #active = -1;
  #onChoose;
  #prefix = `picker-${++count}`;

  /**
   * @param {HTMLButtonElement} button
   * @param {{label: string, searchable?: boolean, onChoose: (id: string) => void}} options
   */
  constructor(button, { label, searchable = true, onChoose }) {
    this.#button = button;
    this.#onChoose = onChoose;
    this.#panel = element("div", "picker-panel");
    this.#panel.hidden = true;
    this.#field = element("input", searchable ? "picker-field" : "picker-field visually-hidden");
    Object.assign(this.#field, { type: "text", placeholder: `Search ${label.toLowerCase()}`, readOnly: !searchable });
    attributes(this.#field, {
      role: "combobox", "aria-label": label, "aria-expanded": "true", "aria-autocomplete": "list",
      "aria-controls": `${this.#prefix}-list`, autocomplete: "off", spellcheck: "false",
    });
    this.#list = element("div", "picker-list");
    attributes(this.#list, { role: "listbox", id: `${this.#prefix}-list`, "aria-label": label });
    this.#panel.append(this.#field, this.#list);
    attributes(button, { "aria-haspopup": "listbox", "aria-expanded": "false" });
    button.after(this.#panel);

    button.addEventListener("click", () => (this.#panel.hidden ? this.open() : this.close()));
    this.#field.addEventListener("input", () => this.#fill());
    this.#field.addEventListener("keydown", (event) => this.#key(event));
    this.#panel.addEventListener("focusout", (event) => {
      if (!this.#panel.contains(event.relatedTarget) && event.relatedTarget !== button) this.close(false);
    });
    // Focus stays in the field, so that a click is not its loss.
    this.#list.addEventListener("mousedown", (event) => event.preventDefault());
    this.#list.addEventListener("click", (event) => {
      const index = this.#options.indexOf(event.target.closest("[role=option]"));
      if (index >= 0) this.#choose(index);
    });
  }

  /** @param {{label: string, entries: {id: string, name: string, note?: string, mark?: string, words?: string, chosen?: boolean}[]}[]} groups */
  set groups(groups) {
    this.#groups = groups;
    if (!this.#panel.hidden) this.#fill();
  }

  open() {
    this.#panel.hidden = false;
    this.#button.setAttribute("aria-expanded", "true");
    this.#field.value = "";
    this.#fill();
    this.#field.focus();
  }

  close(refocus = true) {
    if (this.#panel.hidden) return;
    this.#panel.hidden = true;
    this.#button.setAttribute("aria-expanded", "false");
    if (refocus) this.#button.focus();
  }

  #fill() {
    const wanted = this.#field.value.trim().toLowerCase();
    this.#list.replaceChildren();
    this.#options = [];
    let start = 0;
    for (const [groupIndex, group] of this.#groups.entries()) {
      const entries = group.entries.filter(({ name, words = "" }) =>
        `${name} ${words}`.toLowerCase().includes(wanted));
      if (!entries.length) continue;
      const box = element("div", "picker-group");
      const heading = element("div", "picker-heading", group.label);
      heading.id = `${this.#prefix}-group-${groupIndex}`;
      attributes(box, { role: "group", "aria-labelledby": heading.id });
      box.append(heading);
      for (const entry of entries) {
        const option = element("div", "picker-option");
        attributes(option, {
          role: "option", id: `${this.#prefix}-${entry.id}`, "aria-selected": String(Boolean(entry.chosen)),
        });
        option.dataset.id = entry.id;
        if (entry.mark) option.append(element("span", `mark ${entry.mark}`));
        option.append(element("span", "picker-name", entry.name));
        if (entry.note) option.append(element("span", "picker-note", entry.note));
        if (entry.chosen && !wanted) start = this.#options.length;
        this.#options.push(option);
        box.append(option);
      }
      this.#list.append(box);
    }
    if (!this.#options.length) this.#list.append(element("div", "picker-none", "Nothing matches"));
    this.#activate(this.#options.length ? start : -1);
  }

  #activate(index) {
    this.#options[this.#active]?.classList.remove("active");
    this.#active = index;
    const option = this.#options[index];
    option?.classList.add("active");
    option?.scrollIntoView({ block: "nearest" });
    attributes(this.#field, { "aria-activedescendant": option?.id ?? "" });
  }

  #key(event) {
    const last = this.#options.length - 1;
    const moves = {
      ArrowDown: Math.min(this.#active + 1, last), ArrowUp: Math.max(this.#active - 1, 0),
      PageDown: Math.min(this.#active + 8, last), PageUp: Math.max(this.#active - 8, 0),
    };
    if (event.key in moves && last >= 0) this.#activate(moves[event.key]);
    else if (event.key === "Enter" && this.#active >= 0) this.#choose(this.#active);
    else if (event.key === "Escape") this.close();
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  #choose(index) {
    const { id } = this.#options[index].dataset;
    this.close();
    this.#onChoose(id);
  }
}

export function element(name, className = "", text = "") {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text) made.textContent = text;
  return made;
}

function attributes(target, values) {
  for (const [name, value] of Object.entries(values)) target.setAttribute(name, value);
}
