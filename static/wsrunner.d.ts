/** Types of wsrunner.js; the words are those of docs/protocol.md. */

export type Signal =
  | "SIGINT" | "SIGTERM" | "SIGQUIT" | "SIGHUP" | "SIGUSR1" | "SIGUSR2" | "SIGKILL";

export type Reason =
  | "exited" | "signaled" | "timeout" | "cpu_limit" | "out_of_memory" | "output_limit"
  | "cancelled" | "lease_lost" | "engine_lost" | "draining";

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
}

/** Exactly one of `code` (the main file's content) and `files` (the first is the main file). */
export type Request = RequestBase &
  ({ code: string; files?: undefined } | { files: File[]; code?: undefined });

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
}

export interface Chunk {
  stream: StreamName;
  /** Counts the run's chunks from 1. */
  seq: number;
  text: string;
  /** The bytes as they are, where they are not UTF-8. */
  bytes?: Uint8Array;
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
   * `closed`, `bad_token`, `iterated`, `no_url`, `no_websocket`.
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
  reconnect(): void;
  close(): void;
  /** The same as `close`, for `using`. */
  [Symbol.dispose](): void;
  on(type: "state", listener: (state: ConnectionState) => void): () => void;
  on(type: "error", listener: (error: WsrunnerError) => void): () => void;
}

export class Run implements AsyncIterable<Line> {
  private constructor();
  readonly id: string;
  readonly queued: Queued | null;
  readonly stage: "build" | "run" | null;
  /** Whether it has ended, with an exit or without. */
  readonly ended: boolean;
  /** Rejects with a WsrunnerError if the run was not accepted or the connection was lost. */
  readonly exit: Promise<Exit>;
  stdin(data: string | Uint8Array): Promise<void>;
  eof(): void;
  signal(signal: Signal): void;
  resize(columns: number, rows: number): void;
  cancel(): void;
  chunks(): AsyncGenerator<Chunk, void, void>;
  lines(): AsyncGenerator<Line, void, void>;
  collect(): Promise<{ stdout: string; stderr: string; exit: Exit }>;
  [Symbol.asyncIterator](): AsyncGenerator<Line, void, void>;
  on(type: "queued", listener: (queued: Queued) => void): () => void;
  on(type: "started", listener: (started: Started) => void): () => void;
  on(type: "output", listener: (chunk: Chunk) => void): () => void;
  on(type: "exit", listener: (exit: Exit) => void): () => void;
  on(type: "error", listener: (error: WsrunnerError) => void): () => void;
}
