/**
 * One stream of the server for the streams of many tabs: their queries are its queries, under numbers of the
 * hub's own. Pure routing: it knows no channel and no lock.
 */

import { ConnectionError, RequestError } from "./errors.js";

/** `send(stream, message)` reaches the tab of a stream: `{event}` or, last, `{end: error}`. */
export function createHub(inner, send) {
  const streams = new Map(); // stream -> { ids: Map of its numbers to ours, reach }
  const owners = new Map(); // our number -> { stream, id }
  let upstream = null; // { cancel, session: promise of its name, named, lost }
  let tail = Promise.resolve(); // one change after the other
  let nextId = 1;

  function adopt(stream, { id, ...query }) {
    const ours = nextId++;
    streams.get(stream).ids.set(id, ours);
    owners.set(ours, { stream, id });
    return { id: ours, ...query };
  }
  function release(stream, id) {
    const ids = streams.get(stream)?.ids;
    const ours = ids?.get(id);
    ids?.delete(id);
    owners.delete(ours);
    return ours;
  }
  function end(stream, error) {
    if (streams.delete(stream)) send(stream, { end: error });
  }
  function endAll(error) {
    const { lost, cancel } = upstream ?? {};
    upstream = null;
    owners.clear();
    lost?.(error ?? new ConnectionError("the session", new Error("it is over")));
    cancel?.();
    for (const stream of [...streams.keys()]) end(stream, error);
  }

  function begin(body) {
    const mine = {};
    mine.session = new Promise((named, lost) => Object.assign(mine, { named, lost }));
    mine.session.catch(() => {});
    upstream = mine;
    mine.cancel = inner.session(body, {
      event: (event) => upstream === mine && route(event),
      end: (error) => upstream === mine && endAll(error),
    });
  }
  function route(event) {
    if (event.name === "session") {
      upstream.named(JSON.parse(event.data).session);
      for (const stream of streams.keys()) name(stream);
    } else if (event.name === "changes") {
      routeChanges(event, JSON.parse(event.data));
    } else {
      for (const stream of streams.keys()) send(stream, { event });
    }
  }
  function name(stream) {
    send(stream, { event: { name: "session", data: JSON.stringify({ session: stream }) } });
  }
  /** Each tab gets its part; others hear nothing, unless they wait for a moment or a confirmation. */
  function routeChanges(event, { tx, set, resync, changes }) {
    const parts = new Map();
    for (const { id: ours, ...change } of changes) {
      const { stream, id } = owners.get(ours) ?? {};
      if (stream === undefined) continue;
      if (!parts.has(stream)) parts.set(stream, []);
      parts.get(stream).push({ id, ...change });
    }
    for (const [stream, state] of streams) {
      const mine = parts.get(stream) ?? [];
      const isDue = state.reach > 0 && tx >= state.reach;
      if (mine.length === 0 && !isDue && set === undefined && !resync && changes.length > 0) continue;
      if (isDue) state.reach = 0;
      send(stream, { event: { ...event, data: JSON.stringify({ tx, ...(resync ? { resync } : {}), changes: mine }) } });
    }
  }
  function change(body) {
    const mine = upstream;
    tail = tail.then(async () => inner.change(await mine.session, body)).then(
      () => undefined,
      (error) => error,
    );
    return tail.then((error) => {
      if (error === undefined) return;
      const isRefusal = error instanceof RequestError && error.status < 500 && error.status !== 404 && error.status !== 429;
      if (!isRefusal && upstream === mine) endAll(error);
      throw error;
    });
  }

  return {
    open(stream, { queries, after = 0, ...rest }) {
      if (streams.has(stream)) return; // asked twice, as the leader changed meanwhile
      streams.set(stream, { ids: new Map(), reach: after });
      const adopted = queries.map((query) => adopt(stream, query));
      if (upstream === null) return begin({ queries: adopted, ...rest, ...(after > 0 ? { after } : {}) });
      upstream.session.then(() => name(stream), () => {});
      change({ add: adopted, remove: [], ...(after > 0 ? { reach: after } : {}) }).catch((error) => {
        for (const { id } of queries) release(stream, id);
        end(stream, error);
      });
    },
    async change(stream, { add = [], remove = [], reach = 0, authenticate }) {
      const state = streams.get(stream);
      if (state === undefined || upstream === null) throw new RequestError("NotFound", "This session is over.", 404);
      state.reach = Math.max(state.reach, reach);
      const adopted = add.map((query) => adopt(stream, query));
      const removed = remove.map((id) => release(stream, id)).filter((ours) => ours !== undefined);
      try {
        await change({ add: adopted, remove: removed, ...(reach > 0 ? { reach } : {}), ...(authenticate ? { authenticate } : {}) });
      } catch (error) {
        for (const { id } of add) release(stream, id);
        throw error;
      }
    },
    close(stream) {
      const state = streams.get(stream);
      if (state === undefined) return;
      const removed = [...state.ids.keys()].map((id) => release(stream, id));
      streams.delete(stream);
      if (streams.size === 0) endAll();
      else if (removed.length > 0 && upstream !== null) change({ add: [], remove: removed }).catch(() => {});
    },
    /** A tab is gone, and its streams with it. */
    leave(tab) {
      for (const stream of [...streams.keys()]) if (stream.startsWith(`${tab}/`)) this.close(stream);
    },
    endAll,
  };
}
