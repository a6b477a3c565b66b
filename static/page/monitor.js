/** The monitor page, fed by `WS /v1/monitor`. It holds no code and no output, as the feed has none. */

import { isToken } from "../wsrunner.js";
import { banner, notice, toast } from "./notices.js";
import { element } from "./picker.js";
import { recallToken } from "./store.js";
import { tokenDialog } from "./token.js";
import { duration, elapsed, outcome, sentence, size } from "./words.js";

/** @type {(id: string) => any} Each id of the page has an element of a kind of its own. */
const $ = (id) => document.getElementById(id);
const BASE = new URL(".", document.baseURI);
const ENDED_SHOWN = 200;
const SVG = "http://www.w3.org/2000/svg";
/** The upper and the lower end of a chart, within its view box. */
const TOP = 3;
const BOTTOM = 147;
const STAGES = new Map([["queue", "Waiting"], ["build", "Building"], ["run", "Running"]]);
const GONE = new Set(["no_such_run", "no_such_room"]);
/** A server may have one token for operators and another for everybody. */
const OPERATOR_TOKEN = "operator-token";
const TOKEN = "token";

let socket = null;
let failures = 0;
/** Handshakes in a row that a server which is there has turned down. */
let refusals = 0;
let retryTimer = 0;
/** The number of slots that was asked for and is not there yet. */
let wantedSlots = null;

const openDialog = tokenDialog(OPERATOR_TOKEN, () => {
  refusals = 0;
  open();
});

open();

function token() {
  return recallToken(OPERATOR_TOKEN) || recallToken(TOKEN);
}

function open() {
  clearTimeout(retryTimer);
  const url = new URL("v1/monitor", BASE);
  url.protocol = url.protocol.replace("http", "ws");
  const protocols = ["wsrunner.v1"];
  // One that can't be a token is none: the server then asks for one.
  if (isToken(token())) protocols.push(`wsrunner.token.${token()}`);
  let opened = false;
  socket = new WebSocket(url, protocols);
  socket.onopen = () => {
    opened = true;
    refusals = 0;
    banner("");
    status("Live", true);
  };
  socket.onmessage = ({ data }) => {
    failures = 0;
    take(JSON.parse(data));
  };
  socket.onclose = async ({ reason }) => {
    status("Not connected");
    for (const id of ["live", "kept", "rooms"]) $(id).replaceChildren();
    const why = opened ? reason : await trouble();
    if (why) openLater(`${why}.`);
    // A server that has just come up looks the same, once.
    else if (++refusals === 1) openLater("The server can't be reached.");
    else askToken();
  };
}

function openLater(words) {
  const retryMs = Math.min(10, 2 ** failures++) * 1000;
  banner(words, { retryMs, action: open });
  retryTimer = setTimeout(open, retryMs);
}

/** Why a handshake failed, which itself does not tell; nothing if the server is there and does not let us in. */
async function trouble() {
  const ready = await fetch(new URL("readyz", BASE)).catch(() => null);
  if (!ready) return "The server can't be reached";
  const { code } = await ready.json().catch(() => ({}));
  return code === "draining" ? "The server is shutting down" : "";
}

function askToken() {
  banner("The monitor wants an access token.", { label: "Enter token", action: showDialog });
  showDialog();
}

function showDialog() {
  openDialog(
    token()
      ? "The one that was given is not it. Whoever runs the server has the right one."
      : "Whoever runs the server has it. It stays in this browser.",
  );
}

$("slots-form").addEventListener("submit", (event) => {
  event.preventDefault();
  wantedSlots = Number($("slots-field").value);
  send({ type: "slots", slots: wantedSlots });
  $("slots-field").blur();
});
$("live").addEventListener("click", (event) => {
  const { run } = event.target.dataset;
  if (run) send({ type: "cancel", run });
});

function send(message) {
  if (socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify(message));
}

function take(message) {
  if (message.type === "state") showState(message);
  else if (message.type === "run") addEnded(message);
  // What has just ended can't be ended any more; the next state says so.
  else if (message.type === "error" && !GONE.has(message.code)) {
    wantedSlots = null;
    notice(sentence(message.message));
  }
}

function showState(state) {
  if (state.recent) {
    $("ended").replaceChildren();
    for (const run of state.recent) addEnded(run);
    if (!state.recent.length) none($("ended"), 7, "No run has ended yet");
  }
  banner(state.error ? sentence(state.error)
    : state.draining ? "The server is shutting down: live runs end, new ones are refused." : "");
  const { held, slots, waiting } = state;
  $("held").textContent = held ?? "–";
  $("slots").textContent = slots === null ? "" : `of ${slots}`;
  $("held-meter").max = slots ?? 1;
  $("held-meter").value = held ?? 0;
  if (wantedSlots !== null && wantedSlots === slots) {
    wantedSlots = null;
    toast(slots === 1 ? "There is 1 slot now" : `There are ${slots} slots now`);
  }
  if (document.activeElement !== $("slots-field")) $("slots-field").value = slots ?? "";
  $("waiting").textContent = waiting ?? "–";
  $("queue-max").textContent = state.queue_max === null ? "" : `of at most ${state.queue_max}`;
  $("warm").textContent = state.warm.reduce((sum, { count }) => sum + count, 0);
  const taken = state.pool_hits + state.pool_misses;
  $("hits").textContent = taken ? `${Math.round((state.pool_hits / taken) * 100)} % of runs found one` : "";
  list($("warm-list"), state.warm.map(({ image, tty, count }) => [tty ? `${image} (terminal)` : image, count]));
  $("replicas").textContent = state.replicas ?? "–";
  $("replicas-words").textContent = state.replicas === 1 ? "replica" : "replicas";
  list($("engines"), state.engines.map(({ name, held: used, slots: all }) => [name, all ? `${used} of ${all}` : used]));
  showLive(state.live);
  showKept(state.kept);
  showRooms(state.rooms);
  showWebhooks(state.webhooks, state.webhooks_pending);
  showCharts(state.minutes);
}

function showLive(runs) {
  $("live-count").textContent = runs.length || "";
  keepRows($("live"), runs, ({ run }) => run, liveRow, (row, run) => {
    row.children[2].textContent = STAGES.get(run.stage) ?? run.stage;
    row.children[3].textContent = elapsed(run.age_s * 1000);
  });
  if (!runs.length) none($("live"), 5, "Nothing runs at the moment");
}

/** Runs that outlive their sockets; nothing where there is none. */
function showKept(runs) {
  $("kept-card").hidden = !runs.length;
  $("kept-count").textContent = runs.length || "";
  keepRows($("kept"), runs, ({ run }) => run, ({ run, language }) => entryRow(run, language, { type: "discard", run }), (row, run) => {
    const over = run.left_s !== null;
    row.children[2].textContent = over ? `Over, to be read for ${duration(run.left_s * 1000)}` : "Goes on";
    row.children[3].textContent = String(run.clients);
    row.children[4].textContent = size(run.bytes);
    labelEnd(row, over ? "Forget" : "Cancel", `kept run ${run.run}`);
  });
}

/** The rooms that there are; nothing where there is none. */
function showRooms(rooms) {
  $("rooms-card").hidden = !rooms.length;
  $("rooms-count").textContent = rooms.length || "";
  keepRows($("rooms"), rooms, ({ room }) => room, ({ room, tenant }) => entryRow(room, tenant || "–", { type: "close", room }), (row, room) => {
    row.children[2].textContent = String(room.people);
    row.children[3].textContent = String(room.runs);
    row.children[4].textContent = size(room.bytes);
    labelEnd(row, "Close", `room ${room.room}`);
  });
}

/** A row with a button that ends what it shows, by this command. */
function entryRow(name, whose, command) {
  const button = element("button", "button small");
  button.type = "button";
  button.onclick = () => send(command);
  const cell = element("td", "right");
  cell.append(button);
  return tableRow(
    name, element("td", "run-id", name), element("td", "", whose), element("td"), element("td", "right"), element("td", "right"), cell,
  );
}

function labelEnd(row, verb, what) {
  const button = row.querySelector("button");
  if (button.textContent === verb) return;
  button.textContent = verb;
  button.setAttribute("aria-label", `${verb} ${what}`);
}

/** Rows of a table: those that stay are kept, and with them the focus of whoever is about to press a button. */
function keepRows(body, entries, nameOf, make, fill) {
  const rows = new Map([...body.children].map((row) => [row.dataset.run, row]));
  const wanted = entries.map((entry) => {
    const row = rows.get(nameOf(entry)) ?? make(entry);
    fill(row, entry);
    return row;
  });
  for (const row of rows.values()) if (!wanted.includes(row)) row.remove();
  for (const [index, row] of wanted.entries()) {
    if (body.children[index] !== row) body.insertBefore(row, body.children[index] ?? null);
  }
}

/** The attempts to send a callback, the last one first; nothing where there was none. */
function showWebhooks(attempts, pending) {
  $("webhooks-card").hidden = !attempts.length && !pending;
  $("webhooks-words").textContent = pending ? `${pending} waiting` : "";
  $("webhooks").replaceChildren(...attempts.toReversed().map((attempt) => {
    const result = element("td", "", webhookWords(attempt));
    result.prepend(element("span", `tone ${attempt.outcome === "delivered" ? "good" : "bad"}`));
    return tableRow(
      attempt.run, element("td", "", new Date(attempt.at * 1000).toLocaleTimeString()), element("td", "run-id", attempt.run),
      element("td", "", attempt.host), result, element("td", "right", String(attempt.number)),
      element("td", "right", duration(attempt.took_ms)),
    );
  }));
}

/** @param {{outcome: string, status: number | null, error: string, next_s: number | null}} attempt */
function webhookWords({ outcome, status, error, next_s: nextS }) {
  if (outcome === "delivered") return "Delivered";
  const why = error || `status ${status}`;
  return outcome === "given_up" ? `Given up: ${why}` : `Failed: ${why}; again after ${duration(nextS * 1000)}`;
}

function liveRow({ run, language }) {
  const button = element("button", "button small", "Cancel");
  button.type = "button";
  button.dataset.run = run;
  button.setAttribute("aria-label", `Cancel run ${run}`);
  const cell = element("td", "right");
  cell.append(button);
  return tableRow(run, element("td", "run-id", run), element("td", "", language), element("td"), element("td", "right"), cell);
}

function addEnded(run) {
  if (!$("ended").firstChild?.dataset.run) $("ended").replaceChildren();
  const { tone, title } = outcome({ ...run, cpu_ms: null, memory_kb: null, truncated: false });
  const result = element("td", "", title);
  result.prepend(element("span", `tone ${tone}`));
  $("ended").prepend(tableRow(
    run.run, element("td", "", new Date(run.at * 1000).toLocaleTimeString()), element("td", "run-id", run.run),
    element("td", "", run.language), result, element("td", "right", run.queued_ms < 0.5 ? "–" : duration(run.queued_ms)),
    element("td", "right", run.first_output_ms === null ? "–" : duration(run.first_output_ms)),
    element("td", "right", duration(run.wall_ms)),
  ));
  while ($("ended").children.length > ENDED_SHOWN) $("ended").lastChild.remove();
}

/** A row of a table. Its roles are said, as a layout other than a table's would take them away. */
function tableRow(run, ...cells) {
  const row = element("tr");
  if (run) row.dataset.run = run;
  row.setAttribute("role", "row");
  for (const cell of cells) cell.setAttribute("role", "cell");
  row.append(...cells);
  return row;
}

function showCharts(minutes) {
  const width = 600 / minutes.length;
  const counts = minutes.map(({ runs }) => runs);
  // Even, so that the middle is a number of runs too.
  const most = 2 * Math.ceil(Math.max(1, ...counts) / 2);
  draw("runs", [most, most / 2, 0].map(String), counts.map((runs, index) => {
    const height = BOTTOM - level(runs, most);
    return shape("rect", { class: "bar-rect", x: index * width + 1, y: level(runs, most), width: width - 2, height });
  }));
  const total = counts.reduce((sum, runs) => sum + runs, 0);
  $("runs-words").textContent = `${total.toLocaleString("en")} in the last hour, at most ${Math.max(...counts)} a minute`;
  $("runs-chart").setAttribute("aria-label", `Runs per minute: ${$("runs-words").textContent}`);

  const high = Math.max(1, ...minutes.map((minute) => minute.first_output_ms_p95 ?? 0));
  draw("latency", [duration(high), duration(high / 2), "0"], [
    shape("path", { class: "line-high", d: path(minutes, "first_output_ms_p95", high, width) }),
    shape("path", { class: "line-mid", d: path(minutes, "first_output_ms_p50", high, width) }),
  ]);
  const last = minutes.findLast((minute) => minute.first_output_ms_p50 !== null);
  $("latency-p50").textContent = last ? `half within ${duration(last.first_output_ms_p50)}` : "half within";
  $("latency-p95").textContent = last ? `95 % within ${duration(last.first_output_ms_p95)}` : "95 % within";
  $("latency-chart").setAttribute("aria-label", `Time to the first output: ${
    last ? `${$("latency-p50").textContent}, ${$("latency-p95").textContent}` : "no run yet"}`);

  const waited = minutes.findLast((minute) => minute.queued_ms_p95 !== null)?.queued_ms_p95;
  $("wait-words").textContent = waited >= 0.5 ? `95 % of the last runs waited at most ${duration(waited)}` : "";
}

/** Where a value lies in a chart. */
function level(value, high) {
  return BOTTOM - (value / high) * (BOTTOM - TOP);
}

/** A line through the minutes that have a value; one that stands alone shows as a short dash. */
function path(minutes, key, high, width) {
  let d = "";
  let pen = false;
  for (const [index, minute] of minutes.entries()) {
    if (minute[key] === null) {
      pen = false;
      continue;
    }
    const x = (index + 0.5) * width;
    const y = level(minute[key], high);
    d += pen ? `L${x} ${y}` : `M${x - 3} ${y}L${x + 3} ${y}`;
    pen = true;
  }
  return d;
}

function draw(name, labels, shapes) {
  $(`${name}-y`).replaceChildren(...labels.map((label) => element("span", "", label)));
  const grid = [TOP, (TOP + BOTTOM) / 2, BOTTOM].map((y) => shape("path", { class: "grid-line", d: `M0 ${y}H600` }));
  $(`${name}-chart`).replaceChildren(...grid, ...shapes);
}

function shape(name, attributes) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

function list(target, pairs) {
  target.replaceChildren(...pairs.map(([name, value]) => {
    const item = element("li");
    item.append(element("span", "", name), element("span", "", String(value)));
    return item;
  }));
}

function none(body, columns, text) {
  const cell = element("td", "none", text);
  cell.colSpan = columns;
  body.replaceChildren(tableRow("", cell));
}

function status(text, live = false) {
  $("state").textContent = text;
  $("state").classList.toggle("live", live);
}
