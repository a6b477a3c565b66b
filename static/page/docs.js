/** The API's page: what the OpenAPI document says, and a form to try each request. */

import { element } from "./picker.js";
import { recallToken, remember } from "./store.js";

const $ = (id) => document.getElementById(id);
const BASE = new URL(".", document.baseURI);
const TOKEN = "token";
const SHOWN_MAX = 200_000;
const PLAIN_EXAMPLE = 'print("hello")\n';
/** The messages that a reader looks for first. */
const FIRST = ["PostedRun", "File", "Limits", "Result", "Exit", "RunState", "Error"];

const token = /** @type {HTMLInputElement} */ ($("token"));

token.value = recallToken(TOKEN);
token.addEventListener("change", () => remember(TOKEN, token.value, "session"));
show();

async function show() {
  let api;
  try {
    api = await (await fetch(new URL("v1/openapi.json", BASE))).json();
  } catch {
    $("loading").textContent = "The server can't be reached. Reload the page to try again.";
    return;
  }
  $("about").textContent = `${api.info.description} Version ${api.info.version}.`;
  const operations = Object.entries(api.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => section(path, method, operation)));
  $("operations").replaceChildren(...operations);
  const schemas = api.components.schemas;
  const names = [...new Set([...FIRST, ...Object.keys(schemas)])].filter((name) => schemas[name]?.properties);
  $("types").replaceChildren(...names.map((name) => type(name, schemas[name])));
}

function section(path, method, operation) {
  const panel = element("section", "panel");
  const title = element("h2");
  title.append(element("span", "method", method.toUpperCase()), element("code", "", path));
  panel.append(title, element("p", "", prose(operation.summary)));
  if (operation.description) panel.append(element("p", "soft", prose(operation.description)));
  panel.append(form(path, method, operation));
  const answers = element("details");
  answers.append(element("summary", "", "Answers"));
  answers.append(table(Object.entries(operation.responses).map(([status, { description, content }]) =>
    [status, prose(description), Object.keys(content ?? {}).join(", ")])));
  panel.append(answers);
  return panel;
}

/** What to fill in, and what comes of it. */
function form(path, method, operation) {
  const made = element("form", "try");
  const fields = (operation.parameters ?? []).map((parameter) => [parameter, field(parameter)]);
  const row = element("div", "row");
  row.append(...fields.map(([, { label }]) => label));
  const content = operation.requestBody?.content ?? {};
  const [kind] = Object.keys(content);
  const body = kind && element("textarea");
  if (body) {
    const example = content[kind].example;
    body.value = example ? JSON.stringify(example, null, 2) : PLAIN_EXAMPLE;
    body.spellcheck = false;
    made.append(labelled("Body", body));
  }
  const kinds = Object.keys(operation.responses["200"]?.content ?? {});
  const accept = kinds.length > 1 && element("select");
  if (accept) {
    accept.append(...kinds.map((name) => new Option(name)));
    row.append(labelled("Accept", accept));
  }
  const send = element("button", "button run", "Send");
  row.append(send);
  const command = element("pre", "shown");
  const status = element("p", "status");
  status.setAttribute("role", "status");
  const shown = element("pre", "shown");
  shown.hidden = true;
  shown.tabIndex = 0;
  made.append(row, command, status, shown);

  const request = () => ({
    url: address(path, fields),
    method: method.toUpperCase(),
    headers: { ...inHeaders(fields), ...(kind && { "Content-Type": kind }), ...(accept && { Accept: accept.value }) },
    body: body ? body.value : undefined,
  });
  const refresh = () => { command.textContent = curl(request()); };
  made.addEventListener("input", refresh);
  refresh();
  made.addEventListener("submit", (event) => {
    event.preventDefault();
    ask(request(), send, status, shown);
  });
  return made;
}

function field(parameter) {
  const { name, description, schema } = parameter;
  const choices = schema.enum && ["", ...schema.enum];
  const input = element(choices ? "select" : "input");
  if (choices) input.append(...choices.map((choice) => new Option(choice)));
  if (parameter.required) {
    input.required = true;
    if (name === "language") input.value = "python";
  }
  if (description) input.title = description;
  return { input, label: labelled(name, input) };
}

function labelled(text, input) {
  const label = element("label", "field");
  label.append(element("span", "", text), input);
  return label;
}

function address(path, fields) {
  let filled = path;
  const query = new URLSearchParams();
  for (const [{ name, in: where }, { input }] of fields) {
    if (where === "path") filled = filled.replace(`{${name}}`, encodeURIComponent(input.value));
    else if (where === "query" && input.value) query.append(name, input.value);
  }
  const url = new URL(filled.slice(1), BASE);
  url.search = query.toString();
  return url;
}

function inHeaders(fields) {
  const named = fields.filter(([{ in: where }]) => where === "header");
  return Object.fromEntries(named.map(([{ name }, { input }]) => [name, input.value]));
}

/** Send a request and show its answer as it comes. */
async function ask({ url, method, headers, body }, send, status, shown) {
  send.disabled = true;
  status.textContent = "Sent";
  shown.hidden = false;
  shown.textContent = "";
  if (token.value) headers["X-Access-Token"] = token.value;
  try {
    const response = await fetch(url, { method, headers, body });
    status.textContent = `${response.status} ${response.statusText}`;
    const decoder = new TextDecoder();
    for (const reader = response.body.getReader(); ;) {
      const { value, done } = await reader.read();
      if (done) break;
      shown.textContent = (shown.textContent + decoder.decode(value, { stream: true })).slice(0, SHOWN_MAX);
    }
  } catch (error) {
    status.textContent = `No answer: ${error.message}`;
  } finally {
    send.disabled = false;
  }
}

function curl({ url, method, headers, body }) {
  const parts = [`curl -N${method === "POST" ? "" : ` -X ${method}`} '${url}'`];
  for (const [name, value] of Object.entries(headers)) parts.push(`-H '${name}: ${value}'`);
  if (body !== undefined) parts.push(`--data-binary '${body.replaceAll("'", "'\\''")}'`);
  return parts.join(" \\\n  ");
}

function type(name, schema) {
  const made = element("section");
  made.id = name;
  made.append(element("h3", "", name));
  if (schema.description) made.append(element("p", "soft", prose(schema.description.split("\n")[0])));
  const required = new Set(schema.required);
  made.append(table(Object.entries(schema.properties).map(([field, part]) =>
    [field, shape(part), required.has(field) ? "needed" : ""])));
  return made;
}

/** The document's Markdown has no other marks. */
function prose(text) {
  return text.replaceAll("`", "");
}

/** A schema in a few words: `list of File`, `text or none`. */
function shape(part) {
  if (part.$ref) return part.$ref.split("/").at(-1);
  if (part.enum) return part.enum.map((value) => JSON.stringify(value)).join(", ");
  if (part.anyOf) return part.anyOf.map(shape).join(" or ");
  if (part.type === "array") return `list of ${shape(part.items)}`;
  if (part.type === "object" && part.additionalProperties) return `${shape(part.additionalProperties)} by name`;
  return part.type ?? "any";
}

function table(rows) {
  const made = element("table", "facts");
  for (const [head, ...cells] of rows) {
    const row = element("tr");
    const first = element("th", "", head);
    first.scope = "row";
    row.append(first, ...cells.map((text) => element("td", "", text)));
    made.append(row);
  }
  return made;
}
