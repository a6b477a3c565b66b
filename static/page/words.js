/** What happened, in words a person understands. */

const SIGNALS = {
  SIGSEGV: "it touched memory that is not its own",
  SIGABRT: "it gave up by itself",
  SIGFPE: "an impossible calculation, such as a division by zero",
  SIGILL: "an instruction the processor does not know",
  SIGBUS: "a bad memory access",
  SIGKILL: "it was killed",
  SIGTERM: "it was asked to end",
  SIGINT: "it was interrupted",
  SIGPIPE: "nobody read its output",
};

const REASONS = {
  timeout: "Stopped: it ran longer than the time limit",
  cpu_limit: "Stopped: it used more CPU time than the limit",
  out_of_memory: "Stopped: it needed more memory than the limit",
  output_limit: "Stopped: it printed more than the limit",
  cancelled: "Cancelled",
  lease_lost: "Stopped: the server lost track of this run; run it again",
  engine_lost: "Stopped: the container engine went away; run it again",
  draining: "Stopped: the server is shutting down; run it again in a moment",
  replica_lost: "Lost: the server that ran it is gone; run it again",
};

/**
 * @param {import("../wsrunner.js").Exit} exit
 * @param {{byMe?: boolean}} [options] Whether it was the reader who cancelled it, or an operator; if
 *   left out, nobody is named.
 * @returns {{tone: "good" | "bad" | "plain", title: string, facts: [string, string][]}}
 */
export function outcome(exit, { byMe } = {}) {
  /** @type {[string, string][]} */
  const facts = [];
  if (exit.stage !== "queue") facts.push(["Time", duration(exit.wall_ms)]);
  if (exit.cpu_ms !== null) facts.push(["CPU", duration(exit.cpu_ms)]);
  // That of the stage it ended in: a build is not the program.
  const whose = exit.stage === "build" ? "Build's peak memory" : "Program's peak memory";
  if (exit.memory_kb !== null) facts.push([whose, size(exit.memory_kb * 1024)]);
  if (exit.queued_ms >= 50) facts.push(["Waited", duration(exit.queued_ms)]);
  const told = titleOf(exit);
  if (exit.reason === "cancelled" && byMe !== undefined) {
    told.title = told.title.replace("Cancelled", byMe ? "Stopped by you" : "Stopped by the server's operator");
  }
  return { ...told, facts };
}

/** @param {import("../wsrunner.js").Exit} exit @returns {{tone: "good" | "bad" | "plain", title: string}} */
function titleOf({ reason, code, signal, stage, truncated }) {
  if (reason === "exited" && stage === "build") {
    return { tone: "bad", title: `The build failed with exit code ${code}` };
  }
  if (reason === "exited") {
    return code === 0
      ? { tone: "good", title: "Finished with exit code 0" }
      : { tone: "bad", title: `Ended with exit code ${code}` };
  }
  if (reason === "signaled") {
    const meaning = SIGNALS[signal] ? `: ${SIGNALS[signal]}` : "";
    return { tone: signal === "SIGINT" ? "plain" : "bad", title: `Ended by ${signal}${meaning}` };
  }
  const cut = truncated && reason !== "output_limit" ? "; its output was cut" : "";
  const title = (REASONS[reason] ?? `Ended: ${reason}`) + cut;
  return { tone: reason === "cancelled" ? "plain" : "bad", title };
}

/**
 * Why a run was not accepted or did not end.
 *
 * @param {{code: string, message: string, retryAfterS?: number}} error
 * @returns {{title: string, detail: string}} Words for everybody, and what the server said where that helps them.
 */
export function refusal(error) {
  const words = {
    queue_full: "The server is full: every slot is taken and so is every place in the queue.",
    rate_limited: "That was too many runs in a short time.",
    draining: "The server is shutting down and takes no new runs.",
    gate_unavailable: "The server can't hand out slots at the moment.",
    engine_unavailable: "The server's container engine does not answer.",
    image_missing: "This language is not installed on the server.",
    unknown_language: "The server does not know this language.",
    too_large: "The program is larger than the server takes.",
    internal: "The server failed; run it again.",
    connection_lost: "The connection to the server was lost, and the run with it.",
    unreachable: "The server can't be reached.",
    no_such_run: "The server has no such run, or not any more: it ended some time ago, or with the server.",
    detached: "You have left this run. It may go on.",
    bad_token: "The access token can't be one.",
  }[error.code];
  const later = error.retryAfterS ? ` Try again in ${Math.ceil(error.retryAfterS)} s.` : "";
  const said = sentence(error.message);
  if (!words) return { title: said + later, detail: "" };
  // What an operator would have to do is no help to who writes programs; sizes and limits are.
  return { title: words + later, detail: error.code === "too_large" ? said : "" };
}

export function duration(ms) {
  if (ms < 10) return `${ms.toFixed(1)} ms`;
  if (ms < 999.5) return `${Math.round(ms)} ms`;
  if (ms < 9995) return `${(ms / 1000).toFixed(2)} s`;
  if (ms < 59_950) return `${(ms / 1000).toFixed(1)} s`;
  const seconds = Math.round(ms / 1000);
  return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
}

/** A duration for a clock that ticks: whole seconds. */
export function elapsed(ms) {
  const seconds = Math.floor(ms / 1000);
  return seconds < 60 ? `${seconds} s` : `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
}

export function size(bytes) {
  if (bytes < 1024) return `${bytes} B`;
  if (bytes < 1024 ** 2) return `${Math.round(bytes / 1024)} KB`;
  return `${(bytes / 1024 ** 2).toFixed(bytes < 100 * 1024 ** 2 ? 1 : 0)} MB`;
}

/** The server's messages begin in lower case and have no full stop. */
export function sentence(text = "") {
  const end = /[.!?]$/.test(text) || !text ? "" : ".";
  return text.charAt(0).toUpperCase() + text.slice(1) + end;
}
