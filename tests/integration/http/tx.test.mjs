// The transaction feed over HTTP: server-sent events and long-poll, positions, filters, refusals.
import assert from "node:assert/strict";
import { test } from "node:test";

import { eventually, get, mutation, post } from "./api.mjs";
import { inEachMode } from "./modes.mjs";
import { openFeed, pull } from "./tx-feed.mjs";

inEachMode("transaction feed", (suite) => {
  const add = async (group, n) => (await post(suite.url, "/api/mutation", { path: "items:add", args: { group, n } })).body;
  const poll = (query) => get(suite.url, `/api/tx?${query}`, suite.admin);

  test("p2_feed_shape: a record has what the transaction was, and what it changed", async () => {
    const start = (await poll("from=now&limit=1")).body;
    assert.deepEqual(start.txs, []);
    assert.equal(start.next, start.closed);
    const before = Date.now();
    const inserted = await add("shape", 1);
    const { body, text, status } = await poll(`from=${start.next}&wait=10`);
    assert.equal(status, 200, text);
    const [record] = body.txs;
    assert.equal(record.tx, inserted.tx);
    assert.equal(record.prev, start.next);
    assert.equal(record.fn, "items:add");
    assert.equal(record.identity, null);
    assert.match(record.requestId, /^[0-9a-f]{32}$/);
    assert.ok(record.time >= before - 1000 && record.time <= Date.now() + 1000);
    assert.equal(record.time, Math.floor(record.tx / 1000));
    const [change] = record.changes;
    assert.deepEqual([record.changes.length, change.table, change.id, change.op], [1, "items", inserted.value, "insert"]);
    assert.deepEqual([change.after.group, change.after.n, change.after._id], ["shape", 1, inserted.value]);
    assert.equal(body.next, record.tx);
    assert.ok(body.closed >= record.tx);
    assert.match(body.cluster, /^[0-9a-f]{32}$/);
  });

  test("p6_feed_include: keys, after, diff and both", async () => {
    const { next } = (await poll("from=now&limit=1")).body;
    const id = await mutation(suite.url, "items:add", { group: "include", n: 1, body: "old" });
    await mutation(suite.url, "items:replace", { id, doc: { group: "include", n: 2 } });
    await mutation(suite.url, "items:remove", { id });
    const changes = async (include) => {
      const { txs } = await pull(suite, `from=${next}&include=${include}`, 3);
      return txs.map(({ changes: [change] }) => change);
    };
    const keys = await changes("keys");
    assert.deepEqual(keys, ["insert", "update", "delete"].map((op) => ({ table: "items", id, op })));
    const both = await changes("both");
    assert.equal(both[0].before, null);
    assert.deepEqual([both[0].after.n, both[1].before.n, both[1].after.n, both[2].before.n], [1, 1, 2, 2]);
    assert.equal(both[2].after, null);
    const after = await changes("after");
    assert.deepEqual(after.map((change) => change.after?.n ?? null), [1, 2, null]);
    assert.ok(!("before" in after[1]));
    const diff = await changes("diff");
    assert.equal(diff[0].after.n, 1);
    assert.deepEqual(diff[1], { table: "items", id, op: "update", fields: { n: 2 }, removed: ["body"] });
    assert.deepEqual(diff[2], { table: "items", id, op: "delete" });
    assert.equal((await poll("include=all&limit=1")).status, 400);
  });

  test("p6_feed_basis: the database before and after a transaction can be queried", async () => {
    const { next } = (await poll("from=now&limit=1")).body;
    await add("basis", 1);
    await add("basis", 2);
    const { txs } = await pull(suite, `from=${next}`, 2);
    const at = async (tx) => {
      const ts = Buffer.alloc(8);
      ts.writeBigUInt64LE(BigInt(tx));
      const answer = await post(suite.url, "/api/query_at_ts", { path: "items:numbers", args: { group: "basis" }, ts: ts.toString("base64") });
      assert.equal(answer.status, 200, answer.text);
      return answer.body.value;
    };
    assert.equal(txs[1].prev, txs[0].tx);
    assert.deepEqual([await at(txs[1].prev), await at(txs[1].tx)], [[1], [1, 2]]);
  });

  test("a stream brings each transaction once, says where it is while idle, and resumes by Last-Event-ID", async () => {
    const stream = await openFeed(suite, "from=now&tables=items");
    const first = await stream.next((e) => e.event === "progress");
    assert.equal(stream.headers.get("content-type"), "text/event-stream; charset=utf-8");
    assert.equal(first.id, first.data.closed);
    const written = [];
    for (let n = 0; n < 5; n++) written.push((await add("stream", n)).tx);
    await stream.next((e) => e.data.tx === written[4]);
    assert.deepEqual(stream.records().map(({ tx }) => tx), written);
    assert.deepEqual(stream.events.filter((e) => e.data.tx).map((e) => e.id), written);
    // What is not shown still moves the position.
    const other = await post(suite.url, "/api/mutation", { path: "accounts:open", args: { name: "feed", balance: 1 } });
    await stream.next((e) => e.event === "progress" && e.data.closed >= other.body.tx);
    stream.close();
    const again = await openFeed(suite, "tables=items", { "last-event-id": String(written[1]) });
    await again.next((e) => e.data.tx === written[4]);
    assert.deepEqual(again.records().map(({ tx }) => tx), written.slice(2));
    again.close();
  });

  test("filters: only the named tables, only changes in them; a name that no table has is refused", async () => {
    const { next } = (await poll("from=now&limit=1")).body;
    await post(suite.url, "/api/mutation", { path: "accounts:open", args: { name: "filter", balance: 5 } });
    const kept = await add("filter", 1);
    const { txs } = await pull(suite, `from=${next}&tables=items,registers`, 1);
    assert.deepEqual(txs.map(({ tx }) => tx), [kept.tx]);
    const refused = await poll("tables=items,nothing&limit=1");
    assert.equal(refused.status, 400);
    assert.match(refused.body.message, /no table "nothing"/);
    const system = await poll(`from=earliest&tables=_deployment&limit=10`);
    assert.equal(system.body.txs[0].fn, "_system:deploy");
    assert.ok(system.body.txs[0].changes.every(({ table }) => table === "_deployment"));
  });

  test("p3_feed_positions: from the earliest, from any tx; what does not exist is an error", async () => {
    const whole = await pull(suite, "from=earliest&include=keys");
    assert.ok(whole.txs.length > 10);
    whole.txs.forEach((record, i) => i === 0 || assert.equal(record.prev, whole.txs[i - 1].tx));
    for (const at of [0, 3, whole.txs.length - 2]) {
      const rest = await pull(suite, `from=${whole.txs[at].tx}&include=keys&limit=3`, whole.txs.length - at - 1);
      assert.deepEqual(rest.txs.slice(0, whole.txs.length - at - 1).map(({ tx }) => tx), whole.txs.slice(at + 1).map(({ tx }) => tx));
    }
    const future = await poll(`from=${(Date.now() + 3_600_000) * 1000}&limit=1`);
    assert.deepEqual([future.status, future.body.code], [400, "TxInFuture"]);
    for (const query of ["from=x&limit=1", "limit=0", "limit=x", "wait=x", "wait=61", "wait=60.000001"]) assert.equal((await poll(query)).status, 400, query);
    const elsewhere = await poll("from=now&limit=1&cluster=00112233445566778899aabbccddeeff");
    assert.equal(elsewhere.status, 400);
    assert.match(elsewhere.body.message, /another deployment/);
    // Not beyond the clock, yet nothing that was ever committed here.
    await eventually(async () => (await poll("from=now&limit=1")).body.closed < (Date.now() - 1000) * 1000);
    const beyond = await poll(`from=${(Date.now() - 500) * 1000}&limit=1`);
    assert.deepEqual([beyond.status, beyond.body.code], [400, "TxInFuture"], beyond.text);
  });

  test("the feed needs the admin key", async () => {
    for (const query of ["limit=1", "from=earliest", "consumer=x"]) {
      const anonymous = await get(suite.url, `/api/tx?${query}`);
      assert.deepEqual([anonymous.status, anonymous.body.code], [403, "Forbidden"]);
      assert.match(anonymous.body.message, /admin key/);
    }
    assert.equal((await get(suite.url, "/api/tx?limit=1", { authorization: "BitBend wrong" })).status, 401);
    assert.equal((await get(suite.url, "/api/tx/consumers")).status, 401);
  });

  test("p7_feed_slow_consumer: a reader that does not read lags, gets everything later, and costs nothing", async () => {
    const { next } = (await poll("from=now&limit=1")).body;
    const stuck = await openFeed(suite, `from=${next}&tables=items`, {}, { isPaused: true });
    const body = "x".repeat(100_000);
    const metric = async () => (await get(suite.url, "/api/admin/status", suite.admin)).body.gateway.feedQueuedBytes;
    let written = 0;
    for (let round = 0; round < 20; round++) {
      await Promise.all(Array.from({ length: 8 }, () => mutation(suite.url, "items:add", { group: "slow", n: written++, body })));
    }
    // More than the kernel holds for it: the reader is behind, and what the gateway keeps is bounded.
    const queued = await metric();
    assert.ok(queued > 0 && queued < 700_000, `${queued} bytes wait`);
    stuck.resume();
    await stuck.next(() => stuck.records().length === written);
    const numbers = stuck.records().map(({ changes: [{ after }] }) => after.n);
    assert.deepEqual([...numbers].sort((a, b) => a - b), Array.from({ length: written }, (_, n) => n));
    stuck.records().forEach((record, i) => i === 0 || assert.equal(record.prev, stuck.records()[i - 1].tx));
    stuck.close();
  });
});
