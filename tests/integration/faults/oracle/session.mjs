/**
 * A session of many live queries for the oracle: it comes back after each loss, to any gateway, with what it
 * holds, and changes its set now and then. After each event its whole view is noted at the event's tx: what did
 * not change must hold there, too.
 */
import { post } from "../../http/api.mjs";
import { eventsOf, now, pause } from "./load.mjs";

export function watchSession(state, name, questions) {
  const abort = new AbortController();
  const queries = new Map(); // id -> { id, question, args, value, hash, isShown }
  const from = `session ${name}`;
  const one = { queries, tx: 0, events: 0, connects: 0, close: () => abort.abort() };
  let nextId = 1;
  let session = null;
  let connection = null;
  const broken = (text) => void (state.broken ??= `${from}: ${text}`);
  const make = ([question, args]) => ({ id: nextId++, question, args, value: undefined, hash: undefined, isShown: false });
  for (const question of questions) keep(make(question));

  function keep(query) {
    queries.set(query.id, query);
    return query;
  }
  const wired = ({ id, question, args, hash }) => ({ id, path: `checker:${question}`, args, ...(hash === undefined ? {} : { hash }) });

  function take({ tx, changes, resync }, id) {
    if (tx !== Number(id)) broken(`id ${id}, but tx ${tx}`);
    if (tx < one.tx && resync !== true) broken(`went back from ${one.tx} to ${tx}`);
    one.tx = tx;
    one.events++;
    for (const change of changes) {
      const query = queries.get(change.id);
      if (query === undefined) continue; // removed meanwhile
      if (change.failed !== undefined) broken(`${query.question} failed: ${JSON.stringify(change.failed)}`);
      query.value = change.value;
      query.hash = change.hash;
      query.isShown = true;
    }
    for (const { question, args, value, isShown } of queries.values()) {
      if (isShown) state.history.seen.push({ question, args, value, tx, from, end: now(), isNewest: false });
    }
  }

  async function follow() {
    const url = state.random.pick(state.suite.urls);
    one.connects++;
    connection = new AbortController();
    const signal = AbortSignal.any([abort.signal, connection.signal]);
    const opening = new Set(queries.keys());
    const body = { queries: [...queries.values()].map(wired), ...(one.tx > 0 ? { after: one.tx } : {}) };
    const answer = await fetch(`${url}/api/sync`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body), signal });
    if (answer.status !== 200) {
      if (answer.status !== 503) broken(`${answer.status} ${await answer.text()}`);
      return void (await answer.body?.cancel());
    }
    for await (const { event, id, data } of eventsOf(answer.body)) {
      if (event === "session") {
        // What changed while it opened is in neither set: once more.
        if (opening.size !== queries.size || [...queries.keys()].some((id) => !opening.has(id))) return connection.abort();
        session = JSON.parse(data).session;
      }
      if (event === "changes") take(JSON.parse(data), id);
      else if (event === "refused") broken(data);
    }
  }

  (async () => {
    while (!abort.signal.aborted) {
      await follow().catch(() => {}); // the connection is lost
      session = null;
      await pause(20);
    }
  })();

  /** One query goes and another comes, asked of any gateway; what nobody answers is done by coming back. */
  one.change = async (question) => {
    const [gone] = queries.values();
    const added = make(question);
    const target = session;
    keep(added);
    queries.delete(gone.id);
    if (target === null) return;
    const answer = await post(state.random.pick(state.suite.urls), `/api/sync/${target}`, { add: [wired(added)], remove: [gone.id] }).catch(() => null);
    if (answer?.status === 200) return;
    if (answer !== null && ![404, 503].includes(answer.status)) broken(`a change of the set: ${answer.status} ${answer.text}`);
    if (session === target) connection.abort();
  };
  /** Away for a moment, as a closed lid. */
  one.cut = () => connection?.abort();
  return one;
}
