import { Client } from "bitbend/client";

import { api } from "../bitbend/_generated/api";

const name = location.hash.slice(1) || "draft";
const client = new Client(location.origin);
const element = (id) => document.getElementById(id);
const rows = new Map(); // id of a line -> its row on the page
let wanted = null; // id of the new line that gets the cursor as soon as it is there

client.onConnectionState(showConnection);
client.onUpdate(api.lines.all, { document: name }, showLines, showTrouble);
element("add").addEventListener("click", () => insertAfter(lines().at(-1)));

/** What the page shows: the server's lines with our own edits laid over them. */
function lines() {
  return client.currentResult(api.lines.all, { document: name })?.value ?? [];
}

function insertAfter(line) {
  client.mutation(api.lines.insert, { document: name, after: line?.place ?? null }).then((id) => {
    wanted = id;
    focusWanted();
  }, showTrouble);
}

/** The answer of the mutation may come before its line, or after. */
function focusWanted() {
  if (!rows.has(wanted)) return;
  rows.get(wanted).firstChild.focus();
  wanted = null;
}

function write(line, text) {
  const optimisticUpdate = (store) => {
    const now = store.getQuery(api.lines.all, { document: name });
    if (now) store.setQuery(api.lines.all, { document: name }, now.map((one) => (one._id === line ? { ...one, text } : one)));
  };
  client.mutation(api.lines.write, { line, text }, { optimisticUpdate }).catch(showTrouble);
}

function remove(line) {
  const optimisticUpdate = (store) => {
    const now = store.getQuery(api.lines.all, { document: name });
    if (now) store.setQuery(api.lines.all, { document: name }, now.filter(({ _id }) => _id !== line));
  };
  client.mutation(api.lines.remove, { line }, { optimisticUpdate }).catch(showTrouble);
}

function rowOf(id) {
  const row = document.createElement("li");
  const input = document.createElement("input");
  input.setAttribute("aria-label", "Line");
  input.addEventListener("input", () => write(id, input.value));
  input.addEventListener("keydown", (event) => {
    const line = lines().find(({ _id }) => _id === id);
    if (event.key === "Enter") insertAfter(line);
    if (event.key === "Backspace" && input.value === "") remove(id);
  });
  row.append(input);
  return row;
}

function showLines(now) {
  const ids = new Set(now.map(({ _id }) => _id));
  for (const [id, row] of rows) {
    if (ids.has(id)) continue;
    row.remove();
    rows.delete(id);
  }
  now.forEach(({ _id, text }, at) => {
    if (!rows.has(_id)) rows.set(_id, rowOf(_id));
    const row = rows.get(_id);
    // A row that is where it belongs is left alone: it may have the cursor.
    if (element("lines").children[at] !== row) element("lines").insertBefore(row, element("lines").children[at] ?? null);
    if (row.firstChild.value !== text) row.firstChild.value = text;
  });
  focusWanted();
}

function showConnection(state) {
  element("connection").dataset.state = state;
  element("connection").textContent = state;
}

function showTrouble(error) {
  element("trouble").textContent = error.message;
  element("trouble").hidden = false;
}
