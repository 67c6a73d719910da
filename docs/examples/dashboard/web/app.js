import { Client } from "bitbend/client";

import { api } from "../bitbend/_generated/api";

const PRODUCTS = { tea: 4, coffee: 3, cake: 5 };
const seconds = Number(new URLSearchParams(location.search).get("seconds") ?? 60);
const stepMs = Math.max(500, (seconds * 1000) / 20);

const client = new Client(location.origin);
const element = (id) => document.getElementById(id);
let stops = [];

element("seconds").textContent = seconds;
element("buttons").append(
  ...Object.entries(PRODUCTS).map(([product, amount]) => {
    const button = document.createElement("button");
    button.textContent = `Order ${product}`;
    button.dataset.product = product;
    button.addEventListener("click", () => client.mutation(api.orders.place, { product, amount }).catch(showTrouble));
    return button;
  }),
);
client.onConnectionState(showConnection);
move();
setInterval(move, stepMs);

/** The window begins a step later: the new queries are asked for before the old ones end, so nothing blinks. */
function move() {
  const since = Math.floor((Date.now() - seconds * 1000) / stepMs) * stepMs;
  const old = stops;
  stops = [client.onUpdate(api.orders.totals, { since }, showTotals, showTrouble), client.onUpdate(api.orders.sum, { since }, showSum, showTrouble)];
  for (const stop of old) stop();
}

function showTotals(totals) {
  element("totals").replaceChildren(
    ...totals.map(({ product, count, amount }) => {
      const row = document.createElement("tr");
      for (const text of [product, count, amount]) row.append(Object.assign(document.createElement("td"), { textContent: text }));
      return row;
    }),
  );
}

function showSum(sum) {
  element("sum").textContent = sum;
}

function showConnection(state) {
  element("connection").dataset.state = state;
  element("connection").textContent = state;
}

function showTrouble(error) {
  element("trouble").textContent = error.message;
  element("trouble").hidden = false;
}
