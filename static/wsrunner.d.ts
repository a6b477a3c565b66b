/** Types of wsrunner.js; the words are those of docs/protocol.md. */

export type Signal =
  | "SIGINT" | "SIGTERM" | "SIGQUIT" | "SIGHUP" | "SIGUSR1" | "SIGUSR2" | "SIGKILL";

export type Reason =
  | "exited" | "signaled" | "timeout" | "cpu_limit" | "out_of_memory" | "output_limit"
  | "cancelled" | "lease_lost" | "replica_lost" | "engine_lost" | "draining";

export type StreamName = "stdout" | "stderr";

export type File =
  | { name: string; content: string }
  | { name: string; base64: string };

export interface Limits {
  wall_s?: number;
  cpu_s?: number;
  memory_mb?: number;
  output_kb?: number;
  pids?: number;
}

interface RequestBase {
  /** A catalogue id or alias. */
  language: string;
  /** All of stdin. Left out, stdin stays open for `Run.stdin` and `Run.eof`. */
  stdin?: string;
  args?: string[];
  env?: Record<string, string>;
  /** A shell line in place of the language's run command. */
  command?: string;
  /** These may only lower what the server allows. */
  limits?: Limits;
  /** Give the program a terminal of this size. */
  tty?: { columns?: number; rows?: number };
  /** Get stderr as stdout, in the order in which the program wrote to both. */
  merge?: boolean;
  /** Survive a lost connection: for so many seconds the run goes on while nobody drives it. */
  keep_s?: number;
  /** A random name of your own for this request, chosen if left out: it never runs twice. */
  once?: string;
  /** A room that this connection is in: all who are there may attach. See `Room.run`. */
  room?: string;
  /** Patterns of the files that are to come back: `*.png`, or `out/` for all in a folder. */
  outputs?: string[];
  /** Be told by `on("waiting")` when the program waits for input. */
  waiting?: boolean;
  /** Name of a container that is kept for the next run of that name: files stay, processes do not. */
  workspace?: string;
}

/** Exactly one of `code` (the main file's content) and `files` (the first is the main file). */
export type Request = RequestBase &
  ({ code: string; files?: undefined } | { files: File[]; code?: undefined });

/** A kept run's name and the secrets that open it. */
export interface Keys {
  run: string;
  /** For those who may type, signal and cancel. */
  drive: string;
  /** For those who may watch. */
  view: string;
}

export interface Accepted extends Keys {
  type: "accepted";
  id: string;
}

export interface Attached {
  type: "attached";
  id: string;
  run: string;
  role: "drive" | "view";
  stage: "queue" | "build" | "run";
  tty: boolean;
  stdin_bytes: number;
  eofs: number;
}

/** Output that is not there any more. */
export interface Gap {
  type: "gap";
  id: string;
  run: string;
  /** The `seq` from which it goes on. */
  next: number;
  /** All output before that. */
  before_bytes: number;
  missed_bytes: number | null;
}

/** The program waits for input, and none is on its way to it. */
export interface Waiting {
  type: "waiting";
  id: string;
  run: string;
}

export interface Queued {
  type: "queued";
  id: string;
  run: string;
  /** 1 is next. */
  position: number;
  /** All that wait, this one too. */
  waiting: number;
}

export interface Started {
  type: "started";
  id: string;
  run: string;
  stage: "build" | "run";
  /** Of a kept run's events. */
  seq?: number;
  /** With the first stage of a run in a workspace: whether files of earlier runs are there. */
  workspace?: "new" | "kept";
}

export interface Exit {
  type: "exit";
  id: string;
  run: string;
  stage: "queue" | "build" | "run";
  reason: Reason;
  code: number | null;
  signal: string | null;
  queued_ms: number;
  /** Of the stage it ended in, by the container's clock. */
  wall_ms: number;
  /** Of that stage; null if the server can't tell. */
  cpu_ms: number | null;
  /** The container's peak, in KiB; null if the server can't tell, and where the build needed more than the program. */
  memory_kb: number | null;
  output_bytes: number;
  truncated: boolean;
  /** Of a kept run's events. */
  seq?: number;
}

export interface Chunk {
  stream: StreamName;
  /** Counts the run's chunks from 1; of a kept run, its events. */
  seq: number;
  text: string;
  /** The bytes as they are, where they are not UTF-8. */
  bytes?: Uint8Array;
}

/** A file that a run has made. Its name is the program's choice. */
export interface RunFile {
  name: string;
  /** Its media type, by the name's ending. */
  type: string;
  bytes: Uint8Array<ArrayBuffer>;
}

/** What `outputs` asked for and what does not come. */
export interface LeftOut {
  /** Escaped, to be shown; left out where it is about all that there is besides. */
  name?: string;
  reason: string;
  message: string;
}

export interface Line {
  stream: StreamName;
  /** Without the line's end. */
  text: string;
}

export class WsrunnerError extends Error {
  constructor(code: string, message: string, more?: { path?: string; retryAfterS?: number });
  /**
   * The server's code, such as `queue_full`; or the client's own: `unreachable`, `connection_lost`,
   * `closed`, `detached`, `bad_token`, `iterated`, `no_url`, `no_websocket`.
   */
  readonly code: string;
  /** The place in the request, such as `$.files[0].name`. */
  readonly path?: string;
  /** Seconds after which it may succeed. */
  readonly retryAfterS?: number;
}

export type ConnectionState =
  | { state: "connecting" }
  | { state: "open" }
  | { state: "waiting"; error: WsrunnerError; retryMs: number }
  | { state: "closed"; error: WsrunnerError };

export interface ConnectOptions {
  /** Access token, sent as a subprotocol. */
  token?: string;
  /** How to come back after a loss; false for not at all. Defaults: 10 attempts, 250 ms to 10 s. */
  reconnect?: false | { attempts?: number; minMs?: number; maxMs?: number };
  /** The class to use where there is no global WebSocket. */
  WebSocket?: unknown;
}

/** Whether a text can be an access token: letters, digits and !#$%&'*+-.^_`|~ only. */
export function isToken(text: string): boolean;

export function connect(url?: string | URL, options?: ConnectOptions): Connection;

export class Connection {
  private constructor();
  readonly state: ConnectionState["state"];
  readonly url: string;
  set token(token: string | undefined);
  run(request: Request): Run;
  /** Attach to a kept run with one of its keys, which says whether to drive or to watch. */
  attach(place: ({ run: string; key: string } | { run: string; room: string }) & { after?: number; once?: string }): Run;
  /** Open a room, and be its owner. `once`, a random name of your own, makes you the same person later. */
  open(who?: { name?: string; once?: string }): Room;
  /** Come into a room; the key says as what. */
  join(place: { room: string; key: string; name?: string; once?: string }): Room;
  /** End a workspace: now, or with the run that goes on in it. Rejected where there is none. */
  forget(workspace: string): Promise<void>;
  reconnect(): void;
  close(): void;
  /** The same as `close`, for `using`. */
  [Symbol.dispose](): void;
  on(type: "state", listener: (state: ConnectionState) => void): () => void;
  on(type: "error", listener: (error: WsrunnerError) => void): () => void;
}

/** What somebody may do in a room: own it, work in it, or watch. */
export type Role = "own" | "work" | "watch";

export interface Person {
  /** The server's name for them. */
  person: string;
  name: string;
  role: Role;
  /** From 0, unlike that of anybody else there: for a colour. */
  number: number;
  /** Whether they have raised it. */
  hand: boolean;
}

export interface RoomRun {
  run: string;
  /** Who started it. */
  person: string;
  name: string;
  language: string;
  /** Whether it has ended. */
  over: boolean;
}

/** What opens a room, by what it makes of who comes. Secrets. */
export interface RoomKeys {
  own: string;
  work: string;
  watch: string;
}

export interface RoomNow {
  people: Person[];
  newcomers: "work" | "watch";
  runs?: RoomRun[];
}

/** A document as it is when this client comes in: updates to be applied in order, each by itself. */
export interface RoomDocument {
  seq: number;
  updates: Uint8Array[];
  awareness: { person: string; bytes: Uint8Array }[];
}

/** A change of the document; `bytes` is null where it is this client's own that has come. */
export interface RoomUpdate {
  seq: number;
  person: string;
  bytes: Uint8Array | null;
}

/** People, the document that they keep together, and their runs. Comes back by itself after a lost connection. */
export class Room {
  private constructor();
  readonly id: string;
  /** The server's name for it; empty until it is known. */
  readonly room: string;
  /** For who has opened it. */
  readonly keys: RoomKeys | null;
  /** Which of the people this client is. */
  readonly you: string;
  readonly people: Person[];
  /** What was run here and can be read, the newest last. */
  readonly runs: RoomRun[];
  readonly newcomers: Role;
  readonly me: Person | undefined;
  /** Whether this client may edit, run, and type into the room's runs. */
  readonly works: boolean;
  readonly over: boolean;
  /** What `Connection.join` takes to be the same person here later. */
  readonly place: { room: string; key: string; once: string };
  /** Settles when this client is in the room; rejects with a WsrunnerError. */
  readonly entered: Promise<Room>;
  update(bytes: Uint8Array, options?: { replaces?: number }): void;
  awareness(bytes: Uint8Array): void;
  hand(up?: boolean): void;
  /** The owner's; without `person` for all who do not own the room. */
  grant(role: "work" | "watch", person?: string): void;
  run(request: Request): Run;
  attach(run: string, options?: { after?: number; once?: string }): Run;
  leave(): void;
  /** The owner's: ends it for everybody. */
  close(): void;
  /** The document, whole: at first, and again where this client fell behind or comes back. */
  on(type: "joined", listener: (document: RoomDocument) => void): () => void;
  on(type: "room", listener: (room: Room) => void): () => void;
  on(type: "update", listener: (update: RoomUpdate) => void): () => void;
  on(type: "awareness", listener: (told: { person: string; bytes: Uint8Array }) => void): () => void;
  /** Somebody types into a run. */
  on(type: "typed", listener: (told: { run: string; person: string }) => void): () => void;
  /** Please send the whole document as one update that `replaces` this `seq`. */
  on(type: "compact", listener: (asked: { seq: number }) => void): () => void;
  on(type: "left", listener: (reason: string) => void): () => void;
  on(type: "error", listener: (error: WsrunnerError) => void): () => void;
}

export class Run implements AsyncIterable<Line> {
  private constructor();
  readonly id: string;
  readonly queued: Queued | null;
  readonly stage: "build" | "run" | null;
  /** Of a kept run, once it is accepted. */
  readonly keys: Keys | null;
  /** Of a run that was attached to, once it is. */
  readonly attached: Attached | null;
  /** What it has made of its `outputs`; all of it once it has ended. */
  readonly files: RunFile[];
  readonly leftOut: LeftOut[];
  /** Whether it has ended, with an exit or without. */
  readonly ended: boolean;
  /** Rejects with a WsrunnerError if the run was not accepted or the connection was lost. */
  readonly exit: Promise<Exit>;
  stdin(data: string | Uint8Array): Promise<void>;
  eof(): void;
  signal(signal: Signal): void;
  resize(columns: number, rows: number): void;
  cancel(): void;
  /** Leave a kept run, which goes on as `keep_s` says. */
  detach(): void;
  chunks(): AsyncGenerator<Chunk, void, void>;
  lines(): AsyncGenerator<Line, void, void>;
  collect(): Promise<{
    stdout: string;
    stderr: string;
    exit: Exit;
    files: RunFile[];
    leftOut: LeftOut[];
  }>;
  [Symbol.asyncIterator](): AsyncGenerator<Line, void, void>;
  on(type: "accepted", listener: (accepted: Accepted) => void): () => void;
  on(type: "attached", listener: (attached: Attached) => void): () => void;
  on(type: "gap", listener: (gap: Gap) => void): () => void;
  on(type: "queued", listener: (queued: Queued) => void): () => void;
  on(type: "started", listener: (started: Started) => void): () => void;
  on(type: "output", listener: (chunk: Chunk) => void): () => void;
  on(type: "waiting", listener: (waiting: Waiting) => void): () => void;
  on(type: "file", listener: (file: RunFile) => void): () => void;
  on(type: "exit", listener: (exit: Exit) => void): () => void;
  on(type: "error", listener: (error: WsrunnerError) => void): () => void;
}
