import { Client } from "bitbend/client";

import { api } from "../bitbend/_generated/api";

const client = new Client(location.origin);
const element = (id) => document.getElementById(id);

client.onConnectionState(showConnection);
client.onUpdate(api.todos.all, {}, showTodos, showTrouble);
element("form").addEventListener("submit", (event) => {
  event.preventDefault();
  add(element("text").value);
  element("text").value = "";
});

/** Shows what `change` makes of the list until the server's list is there. */
function laidOver(change) {
  return { optimisticUpdate: (store) => store.setQuery(api.todos.all, {}, change(store.getQuery(api.todos.all, {}) ?? [])) };
}

function add(text) {
  const key = crypto.randomUUID();
  const todo = { _id: key, _key: key, text, isDone: false, waits: true };
  client.mutation(api.todos.add, { key, text }, laidOver((todos) => [...todos, todo])).catch(showTrouble);
}

function tick(key, isDone) {
  const change = (todos) => todos.map((todo) => (todo._key === key ? { ...todo, isDone, waits: true } : todo));
  client.mutation(api.todos.tick, { key, isDone }, laidOver(change)).catch(showTrouble);
}

function showTodos(todos) {
  element("todos").replaceChildren(
    ...todos.map(({ _key, text, isDone, waits }) => {
      const row = document.createElement("li");
      const box = Object.assign(document.createElement("input"), { type: "checkbox", checked: isDone });
      const label = document.createElement("label");
      box.addEventListener("change", () => tick(_key, box.checked));
      label.append(box, ` ${text}`);
      row.append(label);
      if (waits) row.dataset.waits = "";
      return row;
    }),
  );
}

function showConnection(state) {
  element("connection").dataset.state = state;
  element("connection").textContent = state === "reconnecting" ? "offline: changes are sent when the server is back" : state;
}

function showTrouble(error) {
  element("trouble").textContent = error.message;
  element("trouble").hidden = false;
}
