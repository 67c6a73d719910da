import { Client } from "bitbend/client";

import { api } from "../bitbend/_generated/api";

const client = new Client(location.origin);
const element = (id) => document.getElementById(id);

client.onConnectionState((state) => {
  element("connection").dataset.state = state;
  element("connection").textContent = state;
});
client.onUpdate(api.parcels.all, {}, (parcels) => showList("parcels", parcels.map(({ code, place }) => `${code}: ${place}`)), showTrouble);
client.onUpdate(api.imports.count, {}, (count) => (element("count").textContent = count), showTrouble);
client.onUpdate(api.reminders.all, {}, showReminders, showTrouble);
client.onUpdate(api.weather.all, {}, (towns) => showList("towns", towns.map(({ town, text }) => `${town}: ${text}`)), showTrouble);

element("import").addEventListener("click", async () => {
  const job = await client.mutation(api.imports.start, { csv: element("csv").value }).catch(showTrouble);
  if (job !== undefined) watchJob(job);
});

element("reminder").addEventListener("submit", (event) => {
  event.preventDefault();
  client.mutation(api.reminders.add, { text: element("text").value, inMs: Number(element("seconds").value) * 1000 }).catch(showTrouble);
  element("text").value = "";
});

element("weather").addEventListener("submit", (event) => {
  event.preventDefault();
  client.action(api.weather.ask, { town: element("town").value }).catch(showTrouble);
});

/** A job is a row: its state and its progress are a live query. */
function watchJob(job) {
  const stop = client.onUpdate(api.imports.state, { job }, (row) => {
    if (row === null) return;
    const { done = 0, total = 1 } = row.progress ?? {};
    element("progress").max = total;
    element("progress").value = row.state === "done" ? total : done;
    element("job").textContent = row.error ?? row.state;
    element("job").dataset.seen = Number(element("job").dataset.seen ?? 0) + (done > 0 && done < total ? 1 : 0);
    if (!["pending", "running"].includes(row.state)) stop();
  }, showTrouble);
}

function showReminders(reminders) {
  showList("reminders", reminders.map(({ text, isDue }) => (isDue ? `now: ${text}` : text)));
  reminders.forEach(({ isDue }, at) => isDue && (element("reminders").children[at].dataset.due = ""));
}

function showList(id, texts) {
  element(id).replaceChildren(...texts.map((text) => Object.assign(document.createElement("li"), { textContent: text })));
}

function showTrouble(error) {
  element("trouble").textContent = error.data?.text ?? error.message;
  element("trouble").hidden = false;
}
