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
  cancelled: "Stopped by you",
  lease_lost: "Stopped: the server lost track of this run; run it again",
  engine_lost: "Stopped: the container engine went away; run it again",
  draining: "Stopped: the server is shutting down; run it again in a moment",
};

/**
 * @param {import("../wsrunner.js").Exit} exit
 * @returns {{tone: "good" | "bad" | "plain", title: string, facts: [string, string][]}}
 */
export function outcome(exit) {
  const facts = [];
  if (exit.stage !== "queue") facts.push(["Time", duration(exit.wall_ms)]);
  if (exit.cpu_ms !== null) facts.push(["CPU", duration(exit.cpu_ms)]);
  if (exit.memory_kb !== null) facts.push(["Peak memory", size(exit.memory_kb * 1024)]);
  if (exit.queued_ms >= 50) facts.push(["Waited", duration(exit.queued_ms)]);
  return { ...titleOf(exit), facts };
}

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

/** @param {{code: string, message: string, retryAfterS?: number}} error */
export function refusal(error) {
  const later = error.retryAfterS ? ` Try again in ${Math.ceil(error.retryAfterS)} s.` : "";
  const words = {
    queue_full: "The server is full: every slot is taken and so is every place in the queue.",
    rate_limited: "That were too many runs in a short time.",
    draining: "The server is shutting down and takes no new runs.",
    gate_unavailable: "The server can't hand out slots at the moment.",
    engine_unavailable: "The server's container engine does not answer.",
    image_missing: "This language is not installed on the server.",
    connection_lost: "The connection to the server was lost, and the run with it.",
    unreachable: "The server can't be reached.",
  }[error.code];
  const message = error.message ? ` (${error.message})` : "";
  return words ? words + later + (error.code === "unreachable" ? "" : message) : `${capital(error.message)}.${later}`;
}

export function duration(ms) {
  if (ms < 10) return `${ms.toFixed(1)} ms`;
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${(ms / 1000).toFixed(ms < 10_000 ? 2 : 1)} s`;
  return `${Math.floor(ms / 60_000)} min ${Math.round((ms % 60_000) / 1000)} s`;
}

export function size(bytes) {
  if (bytes < 1024) return `${bytes} B`;
  if (bytes < 1024 ** 2) return `${Math.round(bytes / 1024)} KB`;
  return `${(bytes / 1024 ** 2).toFixed(bytes < 100 * 1024 ** 2 ? 1 : 0)} MB`;
}

function capital(text) {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
