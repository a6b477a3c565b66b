/** The monitor page, fed by `WS /v1/monitor`. It holds no code and no output, as the feed has none. */

import { element } from "./picker.js";
import { recall } from "./store.js";
import { duration, outcome } from "./words.js";

const $ = (id) => document.getElementById(id);
const BASE = new URL(".", document.baseURI);
const ENDED_SHOWN = 200;
const SVG = "http://www.w3.org/2000/svg";

let socket = null;
let failures = 0;
let token = sessionStorage.getItem("wsrunner.token") ?? recall("token") ?? "";

open();

function open() {
  const url = new URL("v1/monitor", BASE);
  url.protocol = url.protocol.replace("http", "ws");
  const protocols = ["wsrunner.v1"];
  if (token) protocols.push(`wsrunner.token.${token}`);
  let opened = false;
  socket = new WebSocket(url, protocols);
  socket.onopen = () => {
    opened = true;
    failures = 0;
    words("");
    status("Live", true);
  };
  socket.onmessage = ({ data }) => take(JSON.parse(data));
  socket.onclose = async ({ reason }) => {
    status("Not connected");
    $("live").replaceChildren();
    if (!opened && (await refused())) return;
    const wait = Math.min(10, 2 ** failures++);
    words(`${reason || "The server can't be reached"}. Trying again in ${wait} s.`);
    setTimeout(open, wait * 1000);
  };
}

/** Whether a token is what is missing: a failed handshake does not tell. */
async function refused() {
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  const response = await fetch(new URL("v1/languages", BASE), { headers }).catch(() => null);
  if (response?.status !== 401) return false;
  words("The server wants an access token.");
  if (!$("token-dialog").open) $("token-dialog").showModal();
  return true;
}

$("token-form").addEventListener("submit", () => {
  token = $("token").value.trim();
  sessionStorage.setItem("wsrunner.token", token);
  open();
});
$("token-later").addEventListener("click", () => $("token-dialog").close());
$("slots-form").addEventListener("submit", (event) => {
  event.preventDefault();
  send({ type: "slots", slots: Number($("slots-field").value) });
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
  // A run that has just ended can't be cancelled any more; the next state says so.
  else if (message.type === "error" && message.code !== "no_such_run") words(message.message);
}

function showState(state) {
  if (state.recent) {
    $("ended").replaceChildren();
    for (const run of state.recent) addEnded(run);
    if (!state.recent.length) none($("ended"), 7, "No run has ended yet");
  }
  words(state.error ?? (state.draining ? "The server is shutting down: live runs end, new ones are refused." : ""));
  const { held, slots, waiting } = state;
  $("held").textContent = held ?? "–";
  $("slots").textContent = slots === null ? "" : `of ${slots}`;
  $("held-meter").max = slots ?? 1;
  $("held-meter").value = held ?? 0;
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
  showCharts(state.minutes);
}

function showLive(runs) {
  $("live-count").textContent = runs.length || "";
  // Kept rows keep the focus of whoever is about to press Cancel.
  const rows = new Map([...$("live").children].map((row) => [row.dataset.run, row]));
  const wanted = runs.map((run) => {
    const row = rows.get(run.run) ?? liveRow(run);
    row.children[2].textContent = { queue: "waits", build: "builds", run: "runs" }[run.stage] ?? run.stage;
    row.children[3].textContent = duration(run.age_s * 1000).replace(/\.\d+ s/, " s");
    return row;
  });
  for (const row of rows.values()) if (!wanted.includes(row)) row.remove();
  for (const [index, row] of wanted.entries()) {
    if ($("live").children[index] !== row) $("live").insertBefore(row, $("live").children[index] ?? null);
  }
  if (!wanted.length) none($("live"), 5, "Nothing runs at the moment");
}

function liveRow({ run, language }) {
  const row = element("tr");
  row.dataset.run = run;
  const button = element("button", "button small quiet", "Cancel");
  button.type = "button";
  button.dataset.run = run;
  button.setAttribute("aria-label", `Cancel run ${run}`);
  const cell = element("td", "right");
  cell.append(button);
  row.append(element("td", "run-id", run), element("td", "", language), element("td"), element("td", "right"), cell);
  return row;
}

function addEnded(run) {
  if (!$("ended").firstChild?.dataset.run) $("ended").replaceChildren();
  const row = element("tr");
  row.dataset.run = run.run;
  const { tone, title } = outcome({ ...run, cpu_ms: null, memory_kb: null, truncated: false });
  const result = element("td", "", title.replace("Stopped by you", "Cancelled"));
  result.prepend(element("span", `tone ${tone}`));
  row.append(
    element("td", "", new Date(run.at * 1000).toLocaleTimeString()), element("td", "run-id", run.run),
    element("td", "", run.language), result, element("td", "right", duration(run.queued_ms)),
    element("td", "right", run.first_output_ms === null ? "–" : duration(run.first_output_ms)),
    element("td", "right", duration(run.wall_ms)),
  );
  $("ended").prepend(row);
  while ($("ended").children.length > ENDED_SHOWN) $("ended").lastChild.remove();
}

function showCharts(minutes) {
  const most = Math.max(1, ...minutes.map(({ runs }) => runs));
  const width = 600 / minutes.length;
  draw($("runs-chart"), minutes.map(({ runs }, index) => {
    const height = (runs / most) * 140;
    return shape("rect", { class: "bar-rect", x: index * width + 1, y: 150 - height, width: width - 2, height });
  }));
  const total = minutes.reduce((sum, { runs }) => sum + runs, 0);
  $("runs-words").textContent = `${total.toLocaleString("en")} in the last hour, at most ${Math.max(...minutes.map(({ runs }) => runs))} a minute`;
  $("runs-chart").setAttribute("aria-label", `Runs per minute: ${$("runs-words").textContent}`);

  const high = Math.max(1, ...minutes.map((minute) => minute.first_output_ms_p95 ?? 0));
  draw($("latency-chart"), [
    shape("path", { class: "line-high", d: path(minutes, "first_output_ms_p95", high, width) }),
    shape("path", { class: "line-mid", d: path(minutes, "first_output_ms_p50", high, width) }),
  ]);
  const last = minutes.findLast((minute) => minute.first_output_ms_p50 !== null);
  $("latency-words").textContent = last
    ? `half within ${duration(last.first_output_ms_p50)}, 95 % within ${duration(last.first_output_ms_p95)} (dashed)` : "no run yet";
  $("latency-chart").setAttribute("aria-label", `Time to the first output: ${$("latency-words").textContent}`);
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
    const y = 146 - (minute[key] / high) * 138;
    d += pen ? `L${x} ${y}` : `M${x - 3} ${y}L${x + 3} ${y}`;
    pen = true;
  }
  return d;
}

function draw(svg, shapes) {
  const grid = [1, 50, 99, 149].map((y) => shape("path", { class: "grid-line", d: `M0 ${y}H600` }));
  svg.replaceChildren(...grid, ...shapes);
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
  const row = element("tr");
  row.append(cell);
  body.replaceChildren(row);
}

function status(text, live = false) {
  $("state").textContent = text;
  $("state").classList.toggle("live", live);
}

function words(text) {
  $("banner").textContent = text;
  $("banner").hidden = !text;
}
