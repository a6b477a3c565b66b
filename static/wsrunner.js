// @ts-self-types="./wsrunner.d.ts"
/**
 * The JavaScript client of wsrunner: many runs over one WebSocket.
 *
 * One file without dependencies, for browsers, Node 22 and Deno. The words on the wire are those of
 * docs/protocol.md; how to use this is in docs/javascript.md, the types are in wsrunner.d.ts.
 *
 *     Connection ── one socket, opened again with backoff when it is lost
 *     ├─ Run ────── one program: its output, its stdin, its exit
 *     │  └─ Keeping ── of a kept run: what it takes to come back to it
 *     └─ Room ───── people, the document that they keep together, and their runs
 *
 * @import { Attached, Chunk, ConnectOptions, ConnectionState, Exit, Keys, LeftOut, Line, Person, Queued, Request, Role, RoomKeys, RoomNow, RoomRun, RunFile, Signal, StreamName } from "./wsrunner.d.ts"
 */

const SUBPROTOCOL = "wsrunner.v1";
const TOKEN_PREFIX = "wsrunner.token.";

/** What is sent as one `stdin` message, in UTF-16 units or bytes; the server takes at least 1 MiB. */
const STDIN_PIECE = 32 * 1024;
/** Stdin sent beyond what the server said the program took; it refuses when 1 MiB waits there. */
const STDIN_WINDOW_BYTES = 256 * 1024;

/** For `using`, also where that is not known yet. @type {typeof Symbol.dispose} */
const DISPOSE = Symbol.dispose ?? Symbol.for("Symbol.dispose");

/** @type {StreamName[]} */
const STREAMS = ["stdout", "stderr"];

const BACKOFF = { attempts: 10, minMs: 250, maxMs: 10_000 };
/** A socket that stays open this long, or says something, counts as a success. */
const STEADY_MS = 5000;

/** @type {Record<number, string>} */
const CLOSED = {
  1000: "the server closed the connection",
  1001: "the server is going away",
  1008: "the server does not allow this",
  1009: "a message was larger than the server takes",
  1011: "the server failed",
  1013: "the server is too busy; try again later",
  4408: "the server gave up: no output was taken for too long",
};

/** Close codes after which trying again can't help. */
const FINAL_CLOSE_CODES = new Set([1008]);

/** Errors that end an attachment to a kept run, or a place in a room, that goes on; and the pause before the next one. */
const LEFT_CODES = new Set(["gate_unavailable", "kept_full", "internal"]);
const ATTACH_AGAIN_MS = 500;

/** Places in a stdin, signal or resize; an error about one of them is no refusal of the run. */
const CONTROL_PATH = /^\$\.(?:data|base64|at|signal|columns|rows)$/;

/**
 * What a run may do with its connection.
 * @typedef {{send: (message: object) => void, withdraw: (run: Run | Room) => void}} Link
 * @typedef {{code: number, reason: string}} Closing How a socket ended.
 * @typedef {{code: string, message: string, path?: string, retry_after_s?: number}} WireError
 * @typedef {{promise: Promise<void>, resolve: () => void}} Deferred
 * @typedef {Request & {type: "run"}} RunMessage
 */

/** What went wrong: a refusal of the server (`code` is the wire code) or of the connection. */
export class WsrunnerError extends Error {
  /**
   * @param {string} code
   * @param {string} message
   * @param {{path?: string, retryAfterS?: number}} [more]
   */
  constructor(code, message, more = {}) {
    super(message);
    this.name = "WsrunnerError";
    this.code = code;
    this.path = more.path;
    this.retryAfterS = more.retryAfterS;
  }
}

/**
 * Open a connection to a server.
 *
 * @param {string | URL} [url] Of the server or its `/v1/run`: `ws:`, `wss:`, `http:` or `https:`.
 *   In a browser the page's own server if left out.
 * @param {ConnectOptions} [options]
 */
export function connect(url = defaultUrl(), options = {}) {
  return new Connection(url, options);
}

/**
 * Whether a text can travel as an access token. It is part of a subprotocol's name, which has only
 * letters, digits and !#$%&'*+-.^_`|~ (RFC 7230 section 3.2.6).
 *
 * @param {string} text
 */
export function isToken(text) {
  return /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/.test(text);
}

/** The least of an event target: `on` returns what ends the subscription. */
class Emitter {
  /** @type {Map<string, Set<(value: any) => void>>} */
  #listeners = new Map();

  /**
   * @param {string} type
   * @param {(value: any) => void} listener
   */
  on(type, listener) {
    const listeners = this.#listeners.get(type) ?? new Set();
    this.#listeners.set(type, listeners.add(listener));
    return () => {
      listeners.delete(listener);
    };
  }

  /**
   * @protected
   * @param {string} type
   * @param {unknown} value
   */
  _emit(type, value) {
    for (const listener of [...(this.#listeners.get(type) ?? [])]) {
      try {
        listener(value);
      } catch (error) {
        // Reported as any uncaught error is; it must stop neither the other listeners nor the client.
        queueMicrotask(() => {
          throw error;
        });
      }
    }
  }
}

export class Connection extends Emitter {
  #url;
  #token;
  #WebSocket;
  #backoff;
  /** @type {WebSocket | null} */
  #socket = null;
  #timer = 0;
  #steadyTimer = 0;
  #failures = 0;
  /** @type {ConnectionState["state"]} */
  #state = "closed";
  #nextId = 1;
  /** Runs and rooms the server knows of, by id; a room before its runs. @type {Map<string, Run | Room>} */
  #live = new Map();
  /** Those that wait for a socket. @type {Set<Run | Room>} */
  #waiting = new Set();
  /** Who waits to hear that a workspace is forgotten, by id: called with the error, if there is one. @type {Map<string, (error?: WsrunnerError) => void>} */
  #forgetting = new Map();

  /**
   * @param {string | URL} url
   * @param {ConnectOptions} [options]
   */
  constructor(url, { token, reconnect = {}, WebSocket = globalThis.WebSocket } = {}) {
    super();
    if (!WebSocket) {
      throw new WsrunnerError("no_websocket", "there is no WebSocket here; pass one as an option");
    }
    this.#url = endpoint(url);
    this.#token = token;
    this.#WebSocket = /** @type {typeof globalThis.WebSocket} */ (WebSocket);
    this.#backoff = { ...BACKOFF, ...(reconnect || { attempts: 0 }) };
    this.#open();
  }

  /** `connecting`, `open`, `waiting` (to try again) or `closed`. */
  get state() {
    return this.#state;
  }

  /** The socket's address. */
  get url() {
    return this.#url;
  }

  /** The token for the next time the socket is opened. @param {string | undefined} token */
  set token(token) {
    this.#token = token;
  }

  /**
   * Start a program. Its fields are those of the `run` message; an `id` is chosen. With `keep_s` it
   * survives a lost connection.
   *
   * @param {Request} request
   * @returns {Run} At once; its `exit` says what became of it.
   */
  run(request) {
    if (request.keep_s === undefined && request.once === undefined && request.room === undefined) {
      return this.#begin({ ...request, type: "run" }, null);
    }
    const { once = randomName() } = request;
    return this.#begin({ ...request, type: "run", once }, new Keeping(once));
  }

  /**
   * Attach to a kept run, to drive it or to watch it: the key says which, or, in its place, what
   * this client may do in the room that the run belongs to.
   *
   * @param {{run: string, key?: string, room?: string, after?: number, once?: string}} place
   * @returns {Run} At once; its `exit` says what became of it.
   */
  attach({ run, key, room, after = 0, once = randomName() }) {
    const keeping = new Keeping(once);
    Object.assign(keeping, { run, key, room, seq: after });
    return this.#begin(null, keeping);
  }

  /**
   * Open a room, and be its owner.
   *
   * @param {{name?: string, once?: string}} [who] What the others call this person; `once` makes it the same one later.
   * @returns {Room} At once; its `entered` says whether it is there.
   */
  open({ name = "", once = randomName() } = {}) {
    return this.#enter(new Room(`r${this.#nextId++}`, { type: "open", name, once }, this, this.#link));
  }

  /**
   * Come into a room; the key says as what.
   *
   * @param {{room: string, key: string, name?: string, once?: string}} place See `open`.
   * @returns {Room} At once; its `entered` says whether it could be.
   */
  join({ room, key, name = "", once = randomName() }) {
    return this.#enter(new Room(`r${this.#nextId++}`, { type: "join", room, key, name, once }, this, this.#link));
  }

  /**
   * End a workspace and its files: now, or with the run that goes on in it.
   *
   * @param {string} workspace Its name.
   * @returns {Promise<void>} Rejected where there is none of that name, or no open connection.
   */
  forget(workspace) {
    if (this.#state !== "open") return Promise.reject(new WsrunnerError("closed", "the connection is not open"));
    const id = `f${this.#nextId++}`;
    return new Promise((resolve, reject) => {
      this.#forgetting.set(id, (error) => (error ? reject(error) : resolve()));
      this.#link.send({ type: "forget", id, workspace });
    });
  }

  /**
   * @param {RunMessage | null} request
   * @param {Keeping | null} keeping
   */
  #begin(request, keeping) {
    return this.#enter(new Run(`r${this.#nextId++}`, request, this.#link, keeping));
  }

  /**
   * @template {Run | Room} T
   * @param {T} entry
   */
  #enter(entry) {
    if (this.#state === "open") this.#start(entry);
    else {
      this.#waiting.add(entry);
      if (this.#state === "closed") this.#open();
    }
    return entry;
  }

  /** Try now, if the connection waits to be tried again or was closed. */
  reconnect() {
    if (this.#state === "waiting" || this.#state === "closed") {
      this.#failures = 0;
      this.#open();
    }
  }

  /** End the connection, and with it every run on it that is not kept. */
  close() {
    const socket = this.#socket;
    this.#lost(new WsrunnerError("closed", "the connection was closed"), null);
    socket?.close(1000);
  }

  [DISPOSE]() {
    this.close();
  }

  /** What a run may do with its connection. @type {Link} */
  #link = {
    send: (message) => {
      // A socket that is closing says on the page's console that it takes nothing more.
      const closing = (this.#socket?.readyState ?? 0) > 1;
      if (this.#state === "open" && !closing) this.#socket?.send(JSON.stringify(message));
    },
    withdraw: (run) => {
      this.#waiting.delete(run);
      this.#live.delete(run.id);
    },
  };

  #open() {
    clearTimeout(this.#timer);
    const protocols = [SUBPROTOCOL];
    if (this.#token) {
      if (!isToken(this.#token)) {
        this.#lost(new WsrunnerError("bad_token", "the access token has characters that none can have"), null);
        return;
      }
      protocols.push(TOKEN_PREFIX + this.#token);
    }
    let socket;
    try {
      socket = new this.#WebSocket(this.#url, protocols);
    } catch (error) {
      // An address that is none, or one that the page may not connect to.
      this.#lost(new WsrunnerError("unreachable", error instanceof Error ? error.message : String(error)), null);
      return;
    }
    this.#socket = socket;
    let opened = false;
    this.#become("connecting");
    socket.onopen = () => {
      opened = true;
      // A server that is too busy may accept a socket only to close it: that is one more failure.
      this.#steadyTimer = setTimeout(() => (this.#failures = 0), STEADY_MS);
      this.#become("open");
      for (const run of this.#live.values()) run._start();
      for (const run of this.#waiting) this.#start(run);
      this.#waiting.clear();
    };
    socket.onmessage = (event) => {
      this.#failures = 0;
      this.#receive(event.data);
    };
    /** @param {Closing} event */
    const closed = (event) => {
      if (this.#socket !== socket) return;
      this.#lost(closing(event, opened, this.#url), FINAL_CLOSE_CODES.has(event.code) ? null : event);
    };
    socket.onclose = closed;
    // Every close follows in onclose, but for a handshake that failed in older versions of Node.
    socket.onerror = () => {
      if (!opened) closed({ code: 1006, reason: "" });
    };
  }

  /**
   * The socket is gone.
   *
   * @param {WsrunnerError} error
   * @param {Closing | null} event Null if it is not to be opened again.
   */
  #lost(error, event) {
    clearTimeout(this.#timer);
    clearTimeout(this.#steadyTimer);
    if (this.#socket) this.#socket.onclose = this.#socket.onmessage = null;
    this.#socket = null;
    const retries = event && this.#failures < this.#backoff.attempts;
    // Those that are kept go on with the next socket.
    const over = [...this.#live.values()].filter((run) => !(retries && run._pause()));
    for (const run of over) this.#live.delete(run.id);
    // Runs hear of it last: a listener that starts the next run must find the new state.
    if (retries) {
      const { minMs, maxMs } = this.#backoff;
      const longest = Math.min(maxMs, minMs * 2 ** this.#failures++);
      // Half of it at random: clients that lost one server come back one by one.
      const retryMs = longest / 2 + (Math.random() * longest) / 2;
      this.#timer = setTimeout(() => this.#open(), retryMs);
      this.#become("waiting", { error, retryMs });
    } else {
      over.push(...this.#waiting);
      this.#waiting.clear();
      this.#become("closed", { error });
    }
    const forgetting = [...this.#forgetting.values()];
    this.#forgetting.clear();
    for (const run of over) run._fail(error);
    for (const told of forgetting) told(error);
  }

  /**
   * @param {ConnectionState["state"]} state
   * @param {{error?: WsrunnerError, retryMs?: number}} [more]
   */
  #become(state, more = {}) {
    this.#state = state;
    this._emit("state", { state, ...more });
  }

  /** @param {Run | Room} run */
  #start(run) {
    this.#live.set(run.id, run);
    run._start();
  }

  /** @param {string | ArrayBuffer} data */
  #receive(data) {
    let message;
    try {
      message = JSON.parse(typeof data === "string" ? data : new TextDecoder().decode(data));
    } catch {
      return;
    }
    const forgetting = this.#forgetting.get(message.id);
    if (forgetting) {
      this.#forgetting.delete(message.id);
      forgetting(message.type === "error" ? serverError(message) : undefined);
      return;
    }
    const run = this.#live.get(message.id);
    if (!run) {
      // What crossed with the end of its run harms nobody.
      if (message.type === "error" && message.code !== "no_such_run") this._emit("error", serverError(message));
      return;
    }
    if (run._receive(message)) this.#live.delete(run.id);
  }
}

/** What it takes to come back to a kept run: how far it was heard, and what was sent to it. */
class Keeping {
  /** @type {string | null} */
  run = null;
  /** @type {string | null} */
  key = null;
  /** In the key's place: the room that says what this client may do. @type {string | undefined} */
  room = undefined;
  seq = 0;
  /** Whether the run hears what is sent to it now. */
  open = false;
  /** Stdin that was not drained: where it begins, and its pieces; null is an end of file. */
  #begin = 0;
  /** @type {({piece: string | Uint8Array, size: number} | null)[]} */
  #log = [];
  #sent = 0;
  /** Where the first entry begins that is not on its way. */
  #next = 0;
  #eofs = 0;

  /** @param {string} once */
  constructor(once) {
    this.once = once;
  }

  /** Whether a message has not been heard yet. @param {{seq?: number}} message */
  isNew({ seq }) {
    if (seq === undefined) return true;
    if (seq <= this.seq) return false;
    this.seq = seq;
    return true;
  }

  /** Put stdin into the log, or its end. @param {string | Uint8Array | null} piece */
  write(piece) {
    this.#log.push(piece === null ? null : { piece, size: byteLength(piece) });
    if (piece === null) this.#eofs += 1;
  }

  /**
   * Learn how much of the stdin has come: what comes after it is to be sent.
   *
   * @param {number} stdinBytes
   * @param {number} eofs
   */
  came(stdinBytes, eofs) {
    let at = this.#begin;
    let ended = this.#eofs - this.#log.filter((entry) => entry === null).length;
    if (!this.#log.length) {
      at = this.#begin = Math.max(at, stdinBytes);
      this.#eofs = Math.max(this.#eofs, eofs);
    }
    this.#sent = 0;
    for (const entry of this.#log) {
      if (entry === null ? ended >= eofs : at + entry.size > stdinBytes) break;
      if (entry === null) ended += 1;
      else at += entry.size;
      this.#sent += 1;
    }
    this.#next = at;
  }

  /** What carries stdin and is not on its way, as messages; from now on it is. @param {string} id */
  *unsent(id) {
    while (this.open && this.#sent < this.#log.length) {
      const entry = this.#log[this.#sent];
      const at = this.#next;
      this.#sent += 1;
      this.#next += entry?.size ?? 0;
      yield entry === null ? { type: "eof", id } : { ...stdinMessage(id, entry.piece), at };
    }
  }

  /** Forget stdin that the program's side has taken. @param {number} bytes */
  drained(bytes) {
    // An end of file has been taken once something behind it has.
    let count = 0;
    while (count < this.#sent && this.#begin + (this.#log[count]?.size ?? 1) <= bytes) {
      this.#begin += this.#log[count]?.size ?? 0;
      count += 1;
    }
    this.#log.splice(0, count);
    this.#sent -= count;
  }
}

/** One program, from the request to its exit. Made by `Connection.run` or `Connection.attach`. */
export class Run extends Emitter {
  #request;
  #link;
  #keeping;
  #cancelled = false;
  /** How often the run was asked for, or attached to. */
  #greetings = 0;
  #sent = false;
  #ended = false;
  #accepted = false;
  /** @type {{resolve: (exit: Exit) => void, reject: (error: WsrunnerError) => void}} */
  #settle;
  #decoders = { stdout: new TextDecoder(), stderr: new TextDecoder() };
  /** Chunks that nobody has taken yet; null once it is known that nobody will iterate. @type {Chunk[] | null} */
  #chunks = [];
  /** @type {Deferred | null} */
  #wake = null;
  /** @type {WsrunnerError | null} */
  #failure = null;
  /** Messages from before the socket was open. @type {object[]} */
  #early = [];
  /** The window's size, kept until the program starts: nothing has that size before. @type {object | null} */
  #size = null;
  /** Settles when the stdin that was asked for is sent; null if it is. @type {Promise<void> | null} */
  #input = null;
  #stdinBytes = 0;
  #drainedBytes = 0;
  /** @type {Deferred | null} */
  #drained = null;
  /** The pieces of the file that comes. @type {Uint8Array[]} */
  #pieces = [];

  /**
   * @param {string} id
   * @param {RunMessage | null} request None for a run that is attached to.
   * @param {Link} link
   * @param {Keeping | null} keeping
   */
  constructor(id, request, link, keeping = null) {
    super();
    this.id = id;
    this.#request = request;
    this.#link = link;
    this.#keeping = keeping;
    /** Of a kept run: what others need to attach to it, once it is accepted. @type {Keys | null} */
    this.keys = null;
    /** Of a run that was attached to: the message, once it has come. @type {Attached | null} */
    this.attached = null;
    /** The last `queued` message while the run waits, else null. @type {Queued | null} */
    this.queued = null;
    /** What it has made of its `outputs`; all of it once it has ended. @type {RunFile[]} */
    this.files = [];
    /** What of them does not come. @type {LeftOut[]} */
    this.leftOut = [];
    /** The stage that runs: null, `build` or `run`. @type {"build" | "run" | null} */
    this.stage = null;
    /** The `exit` message; rejects with a WsrunnerError if there is none. */
    this.exit = new Promise((resolve, reject) => {
      this.#settle = { resolve, reject };
    });
    // Whoever iterates or listens hears of it too: no unhandled rejection on top.
    this.exit.catch(() => {});
  }

  /** Whether it has ended, with an exit or without. */
  get ended() {
    return this.#ended;
  }

  /**
   * Write to the program's stdin.
   *
   * @param {string | Uint8Array} data
   * @returns {Promise<void>} Settles when more may be sent without piling up.
   */
  stdin(data) {
    return this.#inOrder(() => this.#write(data));
  }

  /** @param {string | Uint8Array} data */
  async #write(data) {
    for (const piece of pieces(data)) {
      while (this.#stdinBytes - this.#drainedBytes > STDIN_WINDOW_BYTES && !this.#ended) {
        await (this.#drained ??= deferred()).promise;
      }
      if (this.#ended) return;
      this.#stdinBytes += byteLength(piece);
      if (this.#keeping) this.#log(this.#keeping, piece);
      else this.#send(stdinMessage(this.id, piece));
    }
  }

  /** End the program's stdin. */
  eof() {
    this.#inOrder(() => {
      if (this.#keeping) this.#log(this.#keeping, null);
      else this.#send({ type: "eof", id: this.id });
    });
  }

  /**
   * Send stdin of a kept run, and keep it until it has been taken.
   *
   * @param {Keeping} keeping
   * @param {string | Uint8Array | null} piece
   */
  #log(keeping, piece) {
    keeping.write(piece);
    this.#sendLog(keeping);
  }

  /** @param {Keeping} keeping */
  #sendLog(keeping) {
    for (const message of keeping.unsent(this.id)) this.#link.send(message);
  }

  /** What is written goes out in the order of the calls, also if nobody awaits a large one. @param {() => void | Promise<void>} step */
  #inOrder(step) {
    const done = this.#input ? this.#input.then(step, step) : Promise.resolve(step());
    this.#input = done;
    const settled = () => {
      if (this.#input === done) this.#input = null;
    };
    done.then(settled, settled);
    return done;
  }

  /** Send a signal, such as `SIGINT`, to the program's process group. @param {Signal} signal */
  signal(signal) {
    this.#send({ type: "signal", id: this.id, signal });
  }

  /**
   * Tell the new size of the window of a terminal run.
   *
   * @param {number} columns
   * @param {number} rows
   */
  resize(columns, rows) {
    this.#size = { type: "resize", id: this.id, columns, rows };
    if (this.stage) this.#sendSize();
  }

  #sendSize() {
    if (this.#size) this.#send(this.#size);
    this.#size = null;
  }

  /** End the run, wherever it is. */
  cancel() {
    // Of a kept run it is said again if the connection is lost with it.
    this.#cancelled = true;
    if (this.#sent) {
      this.#send({ type: "cancel", id: this.id });
    } else if (!this.#ended) {
      this.#link.withdraw(this);
      this.#finish({ type: "exit", id: this.id, run: "", stage: "queue", reason: "cancelled",
        code: null, signal: null, queued_ms: 0, wall_ms: 0, cpu_ms: null, memory_kb: null,
        output_bytes: 0, truncated: false });
    }
  }

  /** Leave a kept run, which goes on as `keep_s` says; its `exit` then rejects with `detached`. */
  detach() {
    this.#send({ type: "detach", id: this.id });
  }

  /**
   * Subscribe to `queued`, `started`, `output`, `waiting`, `file`, `exit`, `error`; of a kept run also `accepted`,
   * `attached` and `gap`.
   *
   * @param {string} type
   * @param {(value: any) => void} listener
   * @returns What ends the subscription.
   */
  on(type, listener) {
    // With a listener for output and no iteration yet, nothing need be kept.
    if (type === "output" && this.#chunks && !this.#iterated) this.#chunks = null;
    return super.on(type, listener);
  }

  #iterated = false;

  /** Output as it comes, unfinished lines included. One iteration, of chunks or of lines, per run. @returns {AsyncGenerator<Chunk, void, void>} */
  async *chunks() {
    if (!this.#chunks || this.#iterated) {
      throw new WsrunnerError("iterated", "the output of this run is taken already");
    }
    this.#iterated = true;
    try {
      for (;;) {
        const chunks = this.#chunks;
        this.#chunks = [];
        yield* chunks;
        if (this.#chunks.length) continue;
        if (this.#failure) throw this.#failure;
        if (this.#ended) return;
        await (this.#wake = deferred()).promise;
      }
    } finally {
      // Whoever left in the middle takes no more: keep nothing.
      this.#chunks = null;
    }
  }

  /** Output line by line, without line ends; what is unfinished at the exit comes last. @returns {AsyncGenerator<Line, void, void>} */
  async *lines() {
    // Pieces of a line are joined once, at its end: a line may be as long as the whole output.
    /** @type {Record<StreamName, string[]>} */
    const unfinished = { stdout: [], stderr: [] };
    for await (const { stream, text } of this.chunks()) {
      const parts = text.split("\n");
      const rest = parts.pop();
      for (const part of parts) {
        const line = unfinished[stream].join("") + part;
        unfinished[stream] = [];
        yield { stream, text: line.endsWith("\r") ? line.slice(0, -1) : line };
      }
      if (rest) unfinished[stream].push(rest);
    }
    for (const stream of STREAMS) {
      if (unfinished[stream].length) yield { stream, text: unfinished[stream].join("") };
    }
  }

  [Symbol.asyncIterator]() {
    return this.lines();
  }

  /** Wait for the end and return it with all of the output. */
  async collect() {
    const text = { stdout: "", stderr: "" };
    for await (const chunk of this.chunks()) text[chunk.stream] += chunk.text;
    const exit = await this.exit;
    return { ...text, exit, files: this.files, leftOut: this.leftOut };
  }

  /** For the connection alone. */
  _start() {
    this.#sent = true;
    this.#greetings += 1;
    const { run, key, room, seq, once } = this.#keeping ?? {};
    // A request that was not accepted is made once more: the same `once` never runs twice.
    this.#link.send(
      run ? { type: "attach", id: this.id, run, ...(room ? { room } : { key }), after: seq, once }
        : { ...this.#request, id: this.id },
    );
    for (const message of this.#early) this.#link.send(message);
    this.#early = [];
  }

  /** The socket is gone. For the connection alone. @returns {boolean} Whether the run goes on with the next. */
  _pause() {
    if (this.#keeping) this.#keeping.open = false;
    return this.#keeping !== null;
  }

  /**
   * Take one message of the server. For the connection alone.
   *
   * @param {any} message
   * @returns {boolean} Whether it was the last.
   */
  _receive(message) {
    if (this.#keeping && !this.#keeping.isNew(message)) return false;
    switch (message.type) {
      case "accepted":
      case "attached":
        if (this.#keeping) this.#goOnHere(this.#keeping, message);
        return false;
      case "gap":
      case "waiting":
        this._emit(message.type, message);
        return false;
      case "detached":
        this._fail(new WsrunnerError("detached", "this client has left the run, which may go on"));
        return true;
      case "queued":
        this.#accepted = true;
        this.queued = message;
        this._emit("queued", message);
        return false;
      case "started":
        this.#accepted = true;
        this.queued = null;
        this.stage = message.stage;
        this.#sendSize();
        this._emit("started", message);
        return false;
      case "stdout":
      case "stderr":
        this.#output(message);
        return false;
      case "file":
        this.#file(message);
        return false;
      case "left_out":
        this.leftOut.push({ name: message.name, reason: message.reason, message: message.message });
        return false;
      case "drained":
        this.#drainedBytes = message.bytes;
        this.#keeping?.drained(message.bytes);
        this.#goOn();
        return false;
      case "exit":
        this.#finish(message);
        return true;
      case "error":
        if (this.#keeping && this.#accepted && LEFT_CODES.has(message.code)) {
          this._pause();
          const greetings = this.#greetings;
          // On a new socket that has come meanwhile it has been done already.
          setTimeout(() => {
            if (!this.#ended && this.#greetings === greetings) this._start();
          }, ATTACH_AGAIN_MS);
          return false;
        }
        if (this.#goesOn(message)) {
          this._emit("error", serverError(message));
          return false;
        }
        this._fail(serverError(message));
        return true;
      default:
        return false;
    }
  }

  /**
   * A kept run hears this client from now on.
   *
   * @param {Keeping} keeping
   * @param {any} message
   */
  #goOnHere(keeping, message) {
    if (message.type === "accepted") {
      this.keys = { run: message.run, drive: message.drive, view: message.view };
      Object.assign(keeping, { run: message.run, key: message.drive, room: this.#request?.room });
    } else {
      this.attached = message;
      this.stage = message.stage === "queue" ? null : message.stage;
      keeping.came(message.stdin_bytes, message.eofs);
    }
    this.#accepted = true;
    keeping.open = true;
    this.#sendLog(keeping);
    if (this.#cancelled) this.#send({ type: "cancel", id: this.id });
    this._emit(message.type, message);
  }

  /** Whether an error is only about something sent to the run, a signal say, and not its end. @param {WireError} error */
  #goesOn({ code, path }) {
    if (path === "$.run") return false;
    if (code === "no_such_run" || (path && CONTROL_PATH.test(path))) return true;
    return this.#accepted && code !== "internal";
  }

  /** End without an exit. For the connection alone. @param {WsrunnerError} error */
  _fail(error) {
    if (this.#ended) return;
    this.#failure = error;
    this.#end();
    this.#settle.reject(error);
    this._emit("error", error);
  }

  /** @param {{type: StreamName, seq: number, data: string, base64?: string}} message */
  #output(message) {
    const stream = message.type;
    const bytes = message.base64 === undefined ? undefined : fromBase64(message.base64);
    // Bytes that are no UTF-8 show as replacement characters; `bytes` holds them as they are.
    const text = bytes ? this.#decoders[stream].decode(bytes, { stream: true }) : message.data;
    const chunk = bytes ? { stream, seq: message.seq, text, bytes } : { stream, seq: message.seq, text };
    this.#chunks?.push(chunk);
    this._emit("output", chunk);
    this.#wake?.resolve();
  }

  /** @param {{name: string, media_type: string, size: number, offset: number, base64: string}} message */
  #file({ name, media_type: type, size, offset, base64 }) {
    if (!offset) this.#pieces = [];
    const before = this.#pieces.reduce((sum, { length }) => sum + length, 0);
    // Of a kept run its beginning may be lost.
    if (offset !== before) return;
    const piece = fromBase64(base64);
    this.#pieces.push(piece);
    if (offset + piece.length < size) return;
    const file = { name, type, bytes: joined(this.#pieces, size) };
    this.#pieces = [];
    this.files.push(file);
    this._emit("file", file);
  }

  /** @param {Exit} exit */
  #finish(exit) {
    this.#end();
    this.#settle.resolve(exit);
    this._emit("exit", exit);
  }

  #end() {
    this.#ended = true;
    this.queued = this.stage = null;
    this.#goOn();
    this.#wake?.resolve();
  }

  #goOn() {
    this.#drained?.resolve();
    this.#drained = null;
  }

  /** @param {object} message */
  #send(message) {
    if (this.#ended) return;
    if (this.#sent) this.#link.send(message);
    else this.#early.push(message);
  }
}

/**
 * A room: who is there, the updates of their document, and what they run. Made by
 * `Connection.open` or `Connection.join`; comes back by itself after a lost connection.
 */
export class Room extends Emitter {
  #request;
  #connection;
  #link;
  #sent = false;
  #inside = false;
  #greetings = 0;
  #over = false;
  /** @type {{resolve: (room: Room) => void, reject: (error: WsrunnerError) => void}} */
  #settle;

  /**
   * @param {string} id
   * @param {{type: string, room?: string, key?: string, name: string, once: string}} request
   * @param {Connection} connection
   * @param {Link} link
   */
  constructor(id, request, connection, link) {
    super();
    this.id = id;
    this.#request = request;
    this.#connection = connection;
    this.#link = link;
    /** The server's name for it; empty until it is known. */
    this.room = request.room ?? "";
    /** For who has opened it: what lets others own it, work in it, or watch. Secrets. @type {RoomKeys | null} */
    this.keys = null;
    /** Which of the people this client is. */
    this.you = "";
    /** @type {Person[]} */
    this.people = [];
    /** What was run here and can be read, the newest last. @type {RoomRun[]} */
    this.runs = [];
    /** What the key to work makes of those who come. @type {Role} */
    this.newcomers = "work";
    /** Settles when this client is in the room; rejects with a WsrunnerError if it can't be. @type {Promise<Room>} */
    this.entered = new Promise((resolve, reject) => {
      this.#settle = { resolve, reject };
    });
    this.entered.catch(() => {});
  }

  /** This client among the people; undefined until it is there. */
  get me() {
    return this.people.find(({ person }) => person === this.you);
  }

  /** Whether this client may edit, run, and type into the room's runs. */
  get works() {
    return Boolean(this.me) && this.me?.role !== "watch";
  }

  /** Whether nothing more comes of it. */
  get over() {
    return this.#over;
  }

  /** What it takes to be the same person here later; its key is a secret. */
  get place() {
    const { key, once } = this.#request;
    return { room: this.room, key: this.keys?.own ?? key ?? "", once };
  }

  /**
   * Send a change of the document.
   *
   * @param {Uint8Array} bytes
   * @param {{replaces?: number}} [options] In answer to `compact`: the `seq` up to which it stands for all.
   */
  update(bytes, { replaces } = {}) {
    this.#send({ type: "update", base64: toBase64(bytes), replaces });
  }

  /** Tell the others where this person is. @param {Uint8Array} bytes */
  awareness(bytes) {
    this.#send({ type: "awareness", base64: toBase64(bytes) });
  }

  /** Raise the hand, or take it down. @param {boolean} [up] */
  hand(up = true) {
    this.#send({ type: "hand", up });
  }

  /**
   * Let somebody work or only watch; the owner's to say.
   *
   * @param {"work" | "watch"} role
   * @param {string} [person] Left out, all who do not own the room, and those who come.
   */
  grant(role, person) {
    this.#send({ type: "grant", role, person });
  }

  /** Start a program that all see; see `Connection.run`. @param {Request} request */
  run(request) {
    return this.#connection.run({ ...request, room: this.room });
  }

  /**
   * Attach to a run of the room.
   *
   * @param {string} run
   * @param {{after?: number, once?: string}} [options]
   */
  attach(run, options = {}) {
    return this.#connection.attach({ run, room: this.room, ...options });
  }

  /** Leave; the room goes on. */
  leave() {
    this.#send({ type: "leave" });
    if (!this.#sent) {
      this.#link.withdraw(this);
      this.#end("left");
    }
  }

  /** End it for everybody; its owner's to say. */
  close() {
    this.#send({ type: "close" });
  }

  /** For the connection alone. */
  _start() {
    this.#sent = true;
    this.#greetings += 1;
    // Opened once, it is come back to.
    const key = this.keys?.own;
    const request = key ? { ...this.#request, type: "join", room: this.room, key } : this.#request;
    this.#link.send({ ...request, id: this.id });
  }

  /** The socket is gone. For the connection alone. @returns {boolean} */
  _pause() {
    this.#inside = false;
    return true;
  }

  /** Take one message of the server. For the connection alone. @param {any} message @returns {boolean} Whether it was the last. */
  _receive(message) {
    switch (message.type) {
      case "opened":
        this.room = message.room;
        this.keys = { own: message.own, work: message.work, watch: message.watch };
        return false;
      case "joined":
        this.you = message.you;
        this.#inside = true;
        this.#take(message.now);
        this._emit("joined", {
          seq: message.seq,
          updates: message.updates.map(fromBase64),
          awareness: Object.entries(message.awareness).map(([person, text]) => ({ person, bytes: fromBase64(text) })),
        });
        this.#settle.resolve(this);
        this._emit("room", this);
        return false;
      case "room":
        this.#take(message);
        this._emit("room", this);
        return false;
      case "update":
        this._emit("update", {
          seq: message.seq, person: message.person,
          bytes: message.base64 === undefined ? null : fromBase64(message.base64),
        });
        return false;
      case "awareness":
        this._emit("awareness", { person: message.person, bytes: fromBase64(message.base64) });
        return false;
      case "typed":
      case "compact":
        this._emit(message.type, message);
        return false;
      case "left":
        this.#end(message.reason);
        return true;
      case "error":
        return this.#fail(serverError(message));
      default:
        return false;
    }
  }

  /** It can't be entered, or entered again. For the connection alone. @param {WsrunnerError} error */
  _fail(error) {
    if (this.#over) return;
    this.#settle.reject(error);
    this._emit("error", error);
    this.#end("lost");
  }

  /** @param {WsrunnerError} error @returns {boolean} Whether it ends the room here. */
  #fail(error) {
    if (this.you && LEFT_CODES.has(error.code)) {
      this.#inside = this.#sent = false;
      const greetings = this.#greetings;
      // On a new socket that has come meanwhile it has been done already.
      setTimeout(() => {
        if (!this.#over && this.#greetings === greetings) this._start();
      }, ATTACH_AGAIN_MS);
      return false;
    }
    // What was sent behind a request to come in that was refused is about nothing on the socket.
    if (this.you && error.code !== "no_such_room" && (this.#inside || error.code === "no_such_run")) {
      this._emit("error", error);
      return false;
    }
    this._fail(error);
    return true;
  }

  /** @param {RoomNow} now */
  #take({ people, newcomers, runs = [] }) {
    this.people = people;
    this.newcomers = newcomers;
    this.runs = runs;
  }

  /** @param {string} reason */
  #end(reason) {
    if (this.#over) return;
    this.#over = true;
    this.#settle.reject(new WsrunnerError(reason, "this client is not in the room any more"));
    this._emit("left", reason);
  }

  /** @param {object} message */
  #send(message) {
    if (!this.#over && this.#sent) this.#link.send({ ...message, id: this.id });
  }
}

function defaultUrl() {
  if (!globalThis.location?.host) throw new WsrunnerError("no_url", "say which server: connect(url)");
  return globalThis.location.origin;
}

/** Return the address of the socket that a server's address means. @param {string | URL} url */
function endpoint(url) {
  const parsed = new URL(url, globalThis.location?.href);
  parsed.protocol = parsed.protocol.replace("http", "ws");
  if (!/\/v1\/run\/?$/.test(parsed.pathname)) {
    parsed.pathname = `${parsed.pathname.replace(/\/$/, "")}/v1/run`;
  }
  parsed.hash = "";
  return parsed.href;
}

/**
 * @param {Closing} event
 * @param {boolean} opened
 * @param {string} url
 */
function closing(event, opened, url) {
  if (!opened) return new WsrunnerError("unreachable", `no connection to ${url}`);
  const words = CLOSED[event.code] ?? "the connection was lost";
  return new WsrunnerError("connection_lost", event.reason ? `${words}: ${event.reason}` : words);
}

/** @param {WireError} error */
function serverError({ code, message, path, retry_after_s }) {
  return new WsrunnerError(code, message, { path, retryAfterS: retry_after_s });
}

/** @returns {Deferred} */
function deferred() {
  let resolve = () => {};
  /** @type {Promise<void>} */
  const promise = new Promise((done) => {
    resolve = done;
  });
  return { promise, resolve };
}

/**
 * @param {string} id
 * @param {string | Uint8Array} piece
 */
function stdinMessage(id, piece) {
  return typeof piece === "string"
    ? { type: "stdin", id, data: piece }
    : { type: "stdin", id, base64: toBase64(piece) };
}

/** A name that nobody guesses. */
function randomName() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Cut data into what one message may hold, never through a character. @param {string | Uint8Array} data */
function* pieces(data) {
  for (let start = 0; start < data.length; ) {
    let end = Math.min(start + STDIN_PIECE, data.length);
    if (typeof data === "string" && end < data.length && isHighSurrogate(data.charCodeAt(end - 1))) {
      end -= 1;
    }
    yield typeof data === "string" ? data.slice(start, end).toWellFormed?.() ?? data.slice(start, end)
      : data.subarray(start, end);
    start = end;
  }
}

/** @param {number} unit */
function isHighSurrogate(unit) {
  return unit >= 0xd800 && unit <= 0xdbff;
}

/** @param {string | Uint8Array} piece */
function byteLength(piece) {
  return typeof piece === "string" ? new TextEncoder().encode(piece).length : piece.length;
}

/**
 * @param {Uint8Array[]} pieces
 * @param {number} size
 */
function joined(pieces, size) {
  const whole = new Uint8Array(size);
  let at = 0;
  for (const piece of pieces) {
    whole.set(piece, at);
    at += piece.length;
  }
  return whole;
}

/** @param {Uint8Array} bytes */
function toBase64(bytes) {
  let binary = "";
  for (let start = 0; start < bytes.length; start += 8192) {
    binary += String.fromCharCode(...bytes.subarray(start, start + 8192));
  }
  return btoa(binary);
}

/** @param {string} text */
function fromBase64(text) {
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}
