/** The server as the page knows it: its catalogue, the access token, one connection, and the banner. */

import { connect, isToken } from "../wsrunner.js";
import { banner } from "./notices.js";
import { recallToken } from "./store.js";
import { tokenDialog } from "./token.js";
import { refusal, sentence } from "./words.js";

const TOKEN = "token";
const RETRY_MIN_MS = 1000;
const RETRY_MAX_MS = 15_000;
const RECONNECT = { attempts: Infinity, maxMs: 8000 };

const UNREACHABLE = "The server can't be reached.";
const SHUT_DOWN = "The server has shut down.";
const WANTS_TOKEN = "The server wants an access token.";

export class Server {
  #base;
  #onLanguages;
  #openDialog;
  /** @type {import("../wsrunner.js").Connection | null} */
  #connection = null;
  /** The first look at the server, while it goes on. */
  #reaching = null;
  /** Counts the looks: an answer to any but the last is dropped. */
  #looks = 0;
  #retries = 0;
  #retryTimer = 0;
  /** When the connection tries again, by `performance.now()`. */
  #retryAt = 0;
  #opened = false;
  /** What is wrong, in words. */
  #trouble = "";
  #refused = false;

  /**
   * @param {URL} base
   * @param {(entries: object[]) => void} onLanguages Called with the catalogue, again when it may have changed.
   */
  constructor(base, onLanguages) {
    this.#base = base;
    this.#onLanguages = onLanguages;
    this.#openDialog = tokenDialog(TOKEN, () => {
      this.#refused = false;
      this.reach();
    });
  }

  /** What opens the server where no token is kept: a room's link. */
  guest = "";

  get #token() {
    return recallToken(TOKEN) || this.guest;
  }

  /** Why nothing can run; empty if it can. */
  get trouble() {
    return this.#connection ? "" : this.#trouble;
  }

  /** Look whether the server is there, then connect; goes on until it is. */
  reach() {
    clearTimeout(this.#retryTimer);
    this.#reaching = this.#reach();
  }

  /** The connection, as soon as it is clear whether there is one; else null, and `trouble` says why. */
  async connected() {
    for (let seen = null; !this.#connection && seen !== this.#reaching; ) {
      seen = this.#reaching;
      await seen;
    }
    if (!this.#connection && this.#refused) this.#showDialog();
    return this.#connection;
  }

  /** What is known of one language; null if the server does not say. @param {string} id */
  async language(id) {
    const token = this.#token;
    try {
      const response = await fetch(new URL(`v1/languages/${encodeURIComponent(id)}`, this.#base), {
        headers: token ? { Authorization: `Bearer ${token}` } : {},
      });
      return response.ok ? await response.json() : null;
    } catch {
      return null;
    }
  }

  async #reach() {
    const answer = await this.#look();
    if (!answer) return;
    this.#trouble = answer.trouble ?? "";
    if (answer.refused) this.#askToken();
    else if (answer.entries) {
      this.#retries = 0;
      this.#onLanguages(answer.entries);
      banner("");
      this.#connect();
    } else {
      const retryMs = Math.min(RETRY_MAX_MS, RETRY_MIN_MS * 2 ** this.#retries++);
      this.#retryTimer = setTimeout(() => this.reach(), retryMs);
      banner(this.#trouble, { retryMs, action: () => this.reach() });
    }
  }

  #connect() {
    const token = this.#token;
    if (this.#connection) {
      this.#connection.token = token;
      this.#connection.reconnect();
      return;
    }
    this.#connection = connect(this.#base, { token, reconnect: RECONNECT });
    this.#connection.on("state", (now) => this.#follow(now));
  }

  /** @param {import("../wsrunner.js").ConnectionState} now */
  #follow(now) {
    if (now.state === "open") {
      this.#refused = false;
      this.#trouble = "";
      banner("");
      if (this.#opened) this.#refresh();
      this.#opened = true;
    } else if (now.state === "waiting") {
      const { error, retryMs } = now;
      this.#retryAt = performance.now() + retryMs;
      this.#trouble ||= UNREACHABLE;
      if (error.code === "connection_lost") {
        this.#trouble = /going away/.test(error.message) ? SHUT_DOWN : sentence(error.message);
      }
      this.#showTrouble();
      if (error.code === "unreachable") this.#probe();
    } else if (now.state === "closed") {
      banner(refusal(now.error).title, { action: () => this.#connection.reconnect() });
    }
  }

  /** A failed handshake tells nothing: see whether a token is what is missing, or what else is wrong. */
  async #probe() {
    const answer = await this.#look();
    if (!answer || this.#connection.state === "open") return;
    if (answer.refused) this.#askToken();
    else {
      this.#refused = false;
      if (answer.trouble) this.#trouble = answer.trouble;
      this.#showTrouble();
    }
  }

  /** After a reconnect: what is installed may have changed. */
  async #refresh() {
    const answer = await this.#look();
    if (answer?.entries) this.#onLanguages(answer.entries);
  }

  #showTrouble() {
    if (this.#refused || this.#connection.state !== "waiting") return;
    const retryMs = this.#retryAt - performance.now();
    banner(this.#trouble, { retryMs, action: () => this.#connection.reconnect() });
  }

  #askToken() {
    banner(WANTS_TOKEN, { label: "Enter token", action: () => this.#showDialog() });
    this.#trouble = WANTS_TOKEN;
    // Once, not at each attempt: whoever said "Not now" is left alone.
    if (!this.#refused) this.#showDialog();
    this.#refused = true;
  }

  #showDialog() {
    this.#openDialog(
      recallToken(TOKEN)
        ? "The one that was given is not it. Whoever runs the server has the right one."
        : "Whoever runs it has one. It stays in this browser.",
    );
  }

  /** Fetch the catalogue, which also tells how the server is; undefined if this was overtaken. */
  async #look() {
    const look = ++this.#looks;
    const answer = await catalogue(this.#base, this.#token);
    return look === this.#looks ? answer : undefined;
  }
}

/** @returns {Promise<{entries?: object[], refused?: boolean, trouble?: string}>} */
async function catalogue(base, token) {
  if (token && !isToken(token)) return { refused: true };
  let response;
  try {
    response = await fetch(new URL("v1/languages", base), {
      headers: token ? { Authorization: `Bearer ${token}` } : {},
    });
    if (response.ok) return { entries: await response.json() };
  } catch {
    return { trouble: UNREACHABLE };
  }
  if (response.status === 401) return { refused: true };
  const { code = "", message = `the server answered ${response.status}` } = await response.json().catch(() => ({}));
  return { trouble: refusal({ code, message }).title };
}
