/**
 * A live room on the page: two links, the people who are there, and the program that they write together.
 *
 *     Room (wsrunner.js) ── people and messages     Together (bundle) ── the document and the carets
 */

import { loadBundle } from "./bundle.js";
import { announce, notice, toast } from "./notices.js";
import { element } from "./picker.js";
import { forget, recall, remember } from "./store.js";
import { refusal } from "./words.js";

/** @type {(id: string) => any} Each id of the page has an element of a kind of its own. */
const $ = (id) => document.getElementById(id);
const NAME = "name";
const SEAT = "room";
const TYPED_MS = 2000;
const GONE = {
  closed: "The room has ended. What was written together is yours from here on.",
  elsewhere: "You are in this room in another tab or window now.",
  lost: "This page is not in the room any more.",
};

/** Return the room and the key that a page's fragment names; null if it names none. @param {string} fragment */
export function roomIn(fragment) {
  const [, room, key] = /^#room=([^.]+)\.(.+)$/.exec(fragment) ?? [];
  return room && key ? { room, key } : null;
}

export class Live {
  #server;
  #programs;
  #onRoom;
  /** @type {import("../wsrunner.js").Room | null} */
  #room = null;
  /** @type {import("../src/together.js").Together | null} */
  #together = null;
  /** Whom the page looks over the shoulder. */
  #followed = "";
  #known = new Map();
  #typedTimer = 0;

  /**
   * @param {{server: import("./server.js").Server, programs: import("./programs.js").Programs, onRoom: () => void,
   *   copy: (text: string) => Promise<boolean>}} options `onRoom`: the room, or what one may do there, is another.
   */
  constructor({ server, programs, onRoom, copy }) {
    this.#server = server;
    this.#programs = programs;
    this.#onRoom = onRoom;
    loadBundle().then(() => ($("live").hidden = false), () => {});
    $("live").addEventListener("click", () => (this.#room ? this.#showLinks() : this.#share()));
    $("room-links").addEventListener("click", () => this.#showLinks());
    $("room-leave").addEventListener("click", () => this.#room?.leave());
    $("room-end").addEventListener("click", () => {
      $("links-dialog").close();
      this.#room?.close();
    });
    $("hand").addEventListener("click", () => this.#room?.hand(!this.#room.me?.hand));
    $("people").addEventListener("click", (event) => this.#press(event.target.closest("button")));
    for (const button of document.querySelectorAll("[data-copies]")) {
      const field = $(/** @type {HTMLElement} */ (button).dataset.copies);
      button.addEventListener("click", async () => {
        field.select();
        toast((await copy(field.value)) ? "Link copied" : "The browser does not allow copying here; the link is selected");
      });
    }
    window.addEventListener("hashchange", () => this.#comeByLink());
  }

  /** The room that the page is in; null if it is in none. */
  get room() {
    return this.#room;
  }

  /** What opens the server to who has nothing but a room's link, as an access token; empty without one. */
  static get token() {
    const { room, key } = roomIn(location.hash) ?? recall(SEAT, "session") ?? {};
    return room && key ? `room.${room}.${key}` : "";
  }

  /** Come into the room that the link names, or that the page was in before its reload. */
  async comeBack() {
    const before = recall(SEAT, "session");
    const linked = roomIn(location.hash);
    if (before && typeof before.once === "string" && (!linked || linked.room === before.room)) {
      await this.#enter((connection, name) => connection.join({ ...before, name }), String(recall(NAME) ?? ""));
    } else await this.#comeByLink();
  }

  async #comeByLink() {
    const place = roomIn(location.hash);
    if (!place || this.#room?.room === place.room) return;
    if (this.#room) {
      notice("This page is in a room already. Open the link in another tab, or leave this room first.");
      return;
    }
    const name = await this.#askName("You are invited to a live room: its program is written and run together.", "Join");
    if (name === null) dropLink();
    else await this.#enter((connection) => connection.join({ ...place, name }), name);
  }

  async #share() {
    const name = await this.#askName("Others write and run this program with you, or watch. You get a link for each.", "Share");
    if (name !== null && (await this.#enter((connection) => connection.open({ name }), name))) this.#showLinks();
  }

  /** Come in; false if that can't be. */
  async #enter(enter, name) {
    const connection = await this.#server.connected();
    if (!connection) {
      notice(`${this.#server.trouble || "The server can't be reached."} Nothing can be shared.`);
      return false;
    }
    const { Together } = await (await loadBundle()).together();
    // From here on nothing may be waited for until all that the room tells is listened to.
    const room = enter(connection, name);
    const together = new Together(room, {
      onChange: () => this.#together && this.#programs.showShared(),
      onCaret: (person) => person === this.#followed && this.#follow(),
    });
    room.on("room", () => this.#show());
    room.on("typed", ({ person }) => this.#showTyped(person));
    room.on("left", (reason) => this.#left(room, together, reason));
    room.on("error", (error) => room.you && this.#complain(error));
    try {
      await room.entered;
    } catch (error) {
      forget(SEAT, "session");
      dropLink();
      together.end();
      notice(error.code === "no_such_room" ? "There is no such room, or it has ended." : refusal(error).title);
      return false;
    }
    this.#room = room;
    this.#together = together;
    this.#known = new Map();
    remember(SEAT, room.place, "session");
    dropLink();
    this.#programs.shareIn(together, { opened: room.keys !== null });
    this.#show();
    return true;
  }

  #left(room, together, reason) {
    if (this.#room !== room) return;
    this.#room = this.#together = null;
    this.#followed = "";
    forget(SEAT, "session");
    this.#programs.shareNoMore();
    together.end();
    $("room").hidden = true;
    $("live").querySelector("span").textContent = "Share live";
    if (Object.hasOwn(GONE, reason)) notice(GONE[reason]);
    else toast("You have left the room. What was written is yours from here on.");
    this.#onRoom();
  }

  #complain(error) {
    if (error.code === "not_allowed" || error.code === "rate_limited" || error.code === "too_large") {
      notice(`${refusal(error).title} The others may not have your last change: leave the room and join again.`);
    } else notice(refusal(error).title);
  }

  #askName(words, go) {
    const dialog = $("live-dialog");
    $("live-words").textContent = words;
    $("live-go").textContent = go;
    $("live-name").value = String(recall(NAME) ?? "");
    $("live-problem").textContent = "";
    dialog.showModal();
    $("live-name").select();
    return new Promise((resolve) => {
      /** @type {string | null} */
      let answer = null;
      $("live-form").onsubmit = (event) => {
        const name = $("live-name").value.trim();
        if (name) {
          answer = name;
          remember(NAME, name);
          return;
        }
        event.preventDefault();
        $("live-problem").textContent = "The others need a name for you.";
      };
      $("live-cancel").onclick = () => dialog.close();
      dialog.onclose = () => resolve(answer);
    });
  }

  #showLinks() {
    const { room, keys } = this.#room ?? {};
    if (!keys) return;
    for (const role of ["work", "watch"]) {
      $(`link-${role}`).value = `${location.origin}${location.pathname}#room=${room}.${keys[role]}`;
    }
    $("links-dialog").showModal();
  }

  // People.

  #show() {
    const room = this.#room;
    if (!room?.me) return;
    const { me, works } = room;
    $("room").hidden = false;
    $("room-links").hidden = !room.keys;
    $("live").querySelector("span").textContent = room.keys ? "Live" : "In a room";
    $("hand").hidden = me.role === "own";
    $("hand").setAttribute("aria-pressed", String(me.hand));
    $("hand").textContent = me.hand ? "Lower hand" : "Raise hand";
    if (!this.#typedTimer) $("room-words").textContent = works ? "" : "You are watching.";
    this.#tellChanges(room);
    const focused = /** @type {HTMLElement | null} */ (document.activeElement)?.closest("#people button");
    const key = focused && /** @type {HTMLElement} */ (focused).dataset;
    $("people").replaceChildren(...room.people.map((person) => this.#chip(person, me)));
    if (key) /** @type {HTMLElement | null} */ ($("people").querySelector(`[data-person="${key.person}"][data-does="${key.does}"]`))?.focus();
    this.#programs.locked = !works;
    this.#onRoom();
  }

  #chip(person, me) {
    const mine = person.person === me.person;
    const chip = element("li", `person person-${person.number % 8}`);
    chip.classList.toggle("watches", person.role === "watch");
    const who = element("button", "person-name", mine ? `${person.name || "You"} (you)` : person.name || "Somebody");
    who.type = "button";
    Object.assign(who.dataset, { person: person.person, does: "follow" });
    who.setAttribute("aria-pressed", String(this.#followed === person.person));
    who.disabled = mine;
    who.title = mine ? "" : this.#followed === person.person ? "Follow no longer" : `Follow ${person.name}: see where they write`;
    chip.append(who);
    if (person.hand) chip.append(element("span", "hand", "hand up"));
    if (person.role === "watch") chip.append(element("span", "soft", "watches"));
    if (me.role === "own" && person.role !== "own") {
      const watches = person.role === "watch";
      const grant = element("button", "button small", watches ? "Let work" : "Only watch");
      grant.type = "button";
      Object.assign(grant.dataset, { person: person.person, does: watches ? "work" : "watch" });
      grant.setAttribute("aria-label", watches ? `Let ${person.name} work` : `Let ${person.name} only watch`);
      chip.append(grant);
    }
    return chip;
  }

  #press(button) {
    const { person, does } = button?.dataset ?? {};
    if (does === "work" || does === "watch") this.#room?.grant(does, person);
    else if (does === "follow") {
      this.#followed = this.#followed === person ? "" : person;
      this.#show();
      this.#follow();
    }
  }

  #follow() {
    const caret = this.#followed && this.#together?.caretOf(this.#followed);
    if (caret) this.#programs.reveal(caret.file, caret.index);
  }

  /** Say who came and went, whose hand is up, and what this person may do now. */
  #tellChanges(room) {
    const before = this.#known;
    this.#known = new Map(room.people.map((person) => [person.person, person]));
    if (!before.size) return;
    const words = [];
    for (const [id, now] of this.#known) {
      const was = before.get(id);
      if (!was) words.push(`${now.name} has come in`);
      else if (now.hand && !was.hand && id !== room.you) words.push(`${now.name} has raised a hand`);
      if (was && id === room.you && was.role !== now.role) {
        toast(now.role === "watch" ? "From now on you watch" : "You may write, run and type now");
      }
    }
    for (const [id, { name }] of before) if (!this.#known.has(id)) words.push(`${name} has left`);
    if (words.length) announce(words.join(". "));
    if (this.#followed && !this.#known.has(this.#followed)) this.#followed = "";
  }

  #showTyped(person) {
    const name = this.#known.get(person)?.name;
    if (!name) return;
    clearTimeout(this.#typedTimer);
    $("room-words").textContent = `${name} types into the program`;
    this.#typedTimer = setTimeout(() => {
      this.#typedTimer = 0;
      $("room-words").textContent = this.#room?.works === false ? "You are watching." : "";
    }, TYPED_MS);
  }
}

/** The key is in it, and what the page shows needs it no more. */
function dropLink() {
  if (roomIn(location.hash)) history.replaceState(null, "", location.pathname);
}
