// Durable consumers of the transaction feed over HTTP.
import assert from "node:assert/strict";
import { test } from "node:test";

import { eventually, get, mutation, post } from "./api.mjs";
import { inEachMode } from "./modes.mjs";
import { openFeed } from "./tx-feed.mjs";

inEachMode("durable consumers", (suite) => {
  const poll = (query) => get(suite.url, `/api/tx?${query}`, suite.admin);
  const call = async (method, route, body) => {
    const answer = await fetch(suite.url + route, { method, headers: { ...suite.admin, "content-type": "application/json" }, body: body && JSON.stringify(body) });
    return { status: answer.status, body: await answer.json() };
  };
  const list = async () => (await call("GET", "/api/tx/consumers")).body.consumers;
  const add = (group, n) => mutation(suite.url, "items:add", { group, n });

  test("a consumer begins where it acknowledged; positions move forward, and back only when told to", async () => {
    const opened = (await poll("consumer=mailer&tables=items&limit=10")).body;
    assert.deepEqual(opened.txs, []);
    for (let n = 1; n <= 4; n++) await add("acks", n);
    const numbers = async () => (await poll("consumer=mailer&tables=items&limit=10")).body.txs.map(({ tx, changes: [{ after }] }) => [after.n, tx]);
    const all = await eventually(async () => {
      const now = await numbers(); // the gateway hears of the last one a little later
      return now.length >= 4 && now;
    });
    assert.deepEqual(all.map(([n]) => n), [1, 2, 3, 4]);
    const ack = (tx) => call("POST", "/api/tx/consumers/mailer/ack", { tx });
    assert.deepEqual((await ack(all[1][1])).body, { state: "moved", name: "mailer", tx: all[1][1] });
    assert.deepEqual((await numbers()).map(([n]) => n), [3, 4]);
    assert.deepEqual((await ack(all[0][1])).body, { state: "kept", name: "mailer", tx: all[1][1] });
    assert.deepEqual((await numbers()).map(([n]) => n), [3, 4]);
    assert.equal((await call("POST", "/api/tx/consumers/mailer", { tx: all[0][1] })).body.state, "moved");
    assert.deepEqual((await numbers()).map(([n]) => n), [2, 3, 4]);
    const [row] = await list();
    assert.deepEqual([row.name, row.tx], ["mailer", all[0][1]]);
    assert.ok(Math.abs(row.time - Date.now()) < 60_000);
  });

  test("an acknowledgement wakes no consumer, and others see it as a transaction without changes", async () => {
    await poll("consumer=quiet&limit=1");
    // The gateway hears of the consumer's own transaction a little later; before, there is nothing to acknowledge.
    const own = (await list()).find(({ name }) => name === "quiet").tx;
    const tx = await eventually(async () => {
      const { next } = (await poll("from=now&limit=1")).body;
      return next > own && next;
    });
    const stream = await openFeed(suite, "consumer=quiet");
    await stream.next((e) => e.event === "progress");
    await call("POST", "/api/tx/consumers/quiet/ack", { tx });
    const other = await openFeed(suite, `from=${tx}`);
    const { data: seen } = await other.next((e) => e.data.fn === "_system:ackConsumer");
    assert.deepEqual(seen.changes, []);
    other.close();
    await stream.next((e) => e.event === "progress" && e.data.closed >= seen.tx);
    assert.deepEqual(stream.records(), []);
    stream.close();
  });

  test("remove, and what is refused", async () => {
    await poll("consumer=gone&from=earliest&limit=1");
    assert.ok((await list()).some(({ name }) => name === "gone"));
    assert.deepEqual(await call("DELETE", "/api/tx/consumers/gone"), { status: 200, body: { state: "removed" } });
    assert.ok(!(await list()).some(({ name }) => name === "gone"));
    assert.equal((await call("DELETE", "/api/tx/consumers/gone")).status, 404);
    assert.equal((await call("POST", "/api/tx/consumers/gone/ack", { tx: 1 })).status, 404);
    for (const body of [{}, { tx: -1 }, { tx: 1.5 }, { tx: "1" }, [], { tx: (Date.now() + 3_600_000) * 1000 }]) {
      assert.equal((await call("POST", "/api/tx/consumers/mailer/ack", body)).status, 400, JSON.stringify(body));
    }
    assert.equal((await poll("consumer=no%20blanks&limit=1")).status, 400);
    assert.equal((await poll("consumer=&limit=1")).status, 400);
    assert.equal((await call("DELETE", `/api/tx/consumers/${"x".repeat(201)}`)).status, 400);
    assert.equal((await post(suite.url, "/api/tx/consumers/mailer/ack", { tx: 1 })).status, 401);
    assert.equal((await call("PUT", "/api/tx/consumers/mailer")).status, 405);
  });
});
