import assert from "node:assert/strict";
import { createServer } from "node:http";
import { test } from "node:test";

import { Client, RequestError } from "../index.js";
import { startServer } from "./server-double.mjs";

const CLUSTER = "00112233445566778899aabbccddeeff";
const record = (tx, more = {}) => ({ tx, prev: tx - 1, time: 1, fn: "m:f", identity: null, requestId: "00", changes: [], ...more });
/** Timers that do not wait. */
const timers = { setTimeout: (run, ms) => setTimeout(run, ms < 30_000 ? 0 : ms), clearTimeout };

/** `script[n]` gets the n-th connection of the feed: `(stream, request)`, or an array [json, status]. */
async function start(t, script, options = {}) {
  let connection = 0;
  const server = await startServer((request, answer) => {
    if (request.path !== "/api/tx") return options.other(request, answer);
    const step = script[Math.min(connection++, script.length - 1)];
    if (Array.isArray(step)) return answer.json(...step);
    const events = answer.events();
    step({
      tx: (one) => events.raw(`id: ${one.tx}\ndata: ${JSON.stringify(one)}\n\n`),
      progress: (closed) => events.raw(`event: progress\nid: ${closed}\ndata: ${JSON.stringify({ closed, cluster: CLUSTER })}\n\n`),
      send: events.send, raw: events.raw, cut: events.cut, end: events.end, closed: events.closed,
    }, request);
  });
  const client = new Client(server.url, { adminKey: "key", timers, ...options.client });
  t.after(() => {
    client.close();
    return server.stop();
  });
  const feeds = () => server.requests.filter(({ path }) => path === "/api/tx");
  return { server, client, feeds };
}

async function take(iterator, count) {
  const taken = [];
  for await (const one of iterator) {
    taken.push(one);
    if (taken.length === count) break;
  }
  return taken;
}

test("p2_txs: records come in order, with decoded documents, and the loop's end closes the connection", async (t) => {
  let closed;
  const { client, feeds } = await start(t, [(stream) => {
    closed = stream.closed;
    stream.progress(1);
    stream.tx(record(2, { changes: [{ table: "t", id: "x", op: "update", before: { n: { $integer: "AQAAAAAAAAA=" } }, after: null, fields: { n: { $integer: "AgAAAAAAAAA=" } } }] }));
    stream.tx(record(3));
  }]);
  const [first, second] = await take(client.txs({ from: "now", tables: ["t", "u"], include: "both" }), 2);
  assert.deepEqual(first.changes[0], { table: "t", id: "x", op: "update", before: { n: 1n }, after: null, fields: { n: 2n } });
  assert.equal(second.tx, 3);
  await closed;
  const [{ search, headers }] = feeds();
  assert.deepEqual(Object.fromEntries(search), { format: "convex_encoded_json", tables: "t,u", include: "both", from: "now" });
  assert.equal(headers.authorization, "BitBend key");
});

test("p3_txs: a lost connection is taken up behind the last record, or the last progress", async (t) => {
  const { client, feeds } = await start(t, [
    (stream) => (stream.tx(record(2)), stream.tx(record(3)), setTimeout(() => stream.cut(), 20)),
    [{ code: "Unavailable", message: "later" }, 503],
    (stream) => (stream.progress(9), setTimeout(() => stream.end(), 20)),
    (stream) => (stream.send("bye", {}), stream.end()),
    (stream) => stream.tx(record(10)),
  ]);
  const taken = await take(client.txs({ from: 1 }), 3);
  assert.deepEqual(taken.map(({ tx }) => tx), [2, 3, 10]);
  assert.deepEqual(feeds().map(({ headers }) => headers["last-event-id"]), [undefined, "3", "3", "9", "9"]);
  assert.equal(feeds()[0].search.get("from"), "1", "where it begins is not where it was");
  assert.equal(feeds()[4].search.get("cluster"), CLUSTER);
});

test("p3_txs: a position that cannot be served ends the loop with the server's error", async (t) => {
  const { client } = await start(t, [[{ code: "TxTruncated", message: "too old", earliest: 7 }, 410]]);
  await assert.rejects(take(client.txs({ from: 1 }), 1), (error) => error instanceof RequestError && error.code === "TxTruncated" && error.status === 410);
  const other = await start(t, [(stream) => stream.send("failed", { code: "TxTruncated", message: "too old", earliest: 7 })]);
  await assert.rejects(take(other.client.txs({ from: new Date(5) }), 1), { code: "TxTruncated" });
  assert.equal(other.feeds()[0].search.get("from"), "5000");
  assert.throws(() => client.txs({ from: "yesterday" }), TypeError);
  assert.throws(() => client.txs({ from: -1 }), TypeError);
});

test("p7_txs: a loop that waits reads nothing more", async (t) => {
  const fn = "x".repeat(100_000);
  let sent = 0;
  const server = createServer((request, response) => {
    response.writeHead(200, { "Content-Type": "text/event-stream" });
    const more = () => {
      for (; sent < 1000; ) if (!response.write(`data: ${JSON.stringify(record(++sent + 1, { fn }))}\n\n`)) return;
    };
    response.on("drain", more);
    more();
  });
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  const client = new Client(`http://127.0.0.1:${server.address().port}`);
  t.after(() => (client.close(), server.closeAllConnections(), server.close()));
  const records = client.txs({ from: 1 });
  assert.equal((await records.next()).value.tx, 2);
  // What the sockets hold goes out; then the server can send no more, as nobody reads.
  for (let before = 0; before !== sent && sent < 1000; ) {
    before = sent;
    await new Promise((done) => setTimeout(done, 200));
  }
  assert.ok(sent < 1000, "all records were taken for one");
  assert.equal((await records.next()).value.tx, 3);
  await records.return();
});

test("return, the signal and close end a loop that waits", async (t) => {
  const { client } = await start(t, [(stream) => stream.progress(1)]);
  const waiting = client.txs();
  const next = waiting.next();
  await waiting.return();
  assert.equal((await next).done, true);
  const abort = new AbortController();
  const aborted = take(client.txs({ signal: abort.signal }), 1);
  abort.abort();
  assert.deepEqual(await aborted, []);
  const closed = take(client.txs(), 1);
  client.close();
  assert.deepEqual(await closed, []);
});

test("a consumer acknowledges the newest record, once for several, again when it fails", async (t) => {
  const acks = [];
  const { client, feeds } = await start(t, [(stream) => [2, 3, 4].forEach((tx) => stream.tx(record(tx)))], {
    other(request, answer) {
      acks.push([request.path, request.body.tx]);
      if (acks.length === 1) return answer.json({ code: "Unavailable", message: "later" }, 503);
      return answer.json({ state: "moved", tx: request.body.tx });
    },
  });
  const records = await take(client.consumer("my.mailer", { from: "earliest" }), 3);
  await Promise.all(records.map((one) => one.ack()));
  await records[0].ack();
  assert.equal(feeds()[0].search.get("consumer"), "my.mailer");
  assert.equal(feeds()[0].search.get("from"), "earliest");
  assert.deepEqual(acks, [["/api/tx/consumers/my.mailer/ack", 2], ["/api/tx/consumers/my.mailer/ack", 4]]);
});
