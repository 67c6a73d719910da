// Results of queries that workers keep: a read is never older than a write that was answered before it, by whatever
// gateway and worker, and what depends on more than what is stored is run each time.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import { eventually, startSuite, suiteMissing } from "../js/suite.mjs";

const FUNCTIONS = {
  "schema.ts": `
import { defineSchema, defineTable } from "bitbend/server";
import { v } from "bitbend/values";
export default defineSchema({ rows: defineTable({ group: v.number(), n: v.number() }).index("by_group", ["group"]) });`,
  "rows.ts": `
import { mutation, query } from "./_generated/server";
export const add = mutation(async (ctx, { group, n }) => { await ctx.db.insert("rows", { group, n }); });
export const put = mutation(async (ctx, { key, n }) => { await ctx.db.put("rows", key, { group: -1, n }); });
export const bump = mutation(async (ctx, { group }) => {
  for await (const row of ctx.db.query("rows").withIndex("by_group", (q) => q.eq("group", group))) await ctx.db.patch(row._id, { n: row.n + 1 });
});
export const sum = query(async (ctx, { group }) => (await ctx.db.query("rows").withIndex("by_group", (q) => q.eq("group", group)).collect()).reduce((sum, { n }) => sum + n, 0));
export const get = query(async (ctx, { key }) => (await ctx.db.getByKey("rows", key))?.n ?? null);
export const who = query(async (ctx) => (await ctx.auth.getUserIdentity())?.subject ?? null);
export const now = query(() => Date.now());
export const snapshot = query(async (ctx) => Number(await ctx.meta.getSnapshotTs()));
export const say = query(() => { console.log("said"); return 1; });
export const odd = query(async (ctx) => [
  ...Array.from({ length: 60 }, (_, i) => ({ name: ["row", i, String.fromCharCode(34, 92, 10, 1, 127, 0x2028, 0xd83d, 0xde00)].join(" "), n: i / 7, whole: i * 1e15,
    big: BigInt(i) * 123456789012345678n, bytes: new Uint8Array([i, 255]).buffer, nested: [{ ["k" + i]: null }, [], {}] })),
  -0, NaN, Infinity, 1e21, 5e-324, "", (await ctx.db.getByKey("rows", "odd"))?.n ?? null,
]);
export const version = query(() => 1);`,
};

describe("results that are kept", { skip: suiteMissing() }, () => {
  let suite;
  before(async () => {
    suite = await startSuite({ mode: "processes", gateways: 2, workers: 2, functions: FUNCTIONS });
  });
  after(() => suite?.stop());

  const post = async (url, route, path, args, more = {}) => {
    const answer = await fetch(`${url}/api/${route}`, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ path, args, format: "json", ...more }) });
    return await answer.json();
  };
  const send = async (url, route, path, args) => {
    const body = await post(url, route, path, args);
    assert.equal(body.status, "success", JSON.stringify(body));
    return body;
  };
  const ask = async (url, path, args = {}) => (await send(url, "query", path, args)).value;
  const change = (url, path, args) => send(url, "mutation", path, args);
  /** Of all gateways: answers whose value was there already. */
  const jsonHits = async () => {
    let sum = 0;
    for (const name of suite.names.filter((name) => name.startsWith("gateway"))) {
      const text = await (await fetch(`http://${suite.settings(name)["admin-listen"]}/metrics`)).text();
      sum += Number(/^bb_gateway_json_hits_total(?:\{.*\})? (\d+)$/m.exec(text)[1]);
    }
    return sum;
  };
  const hits = async () => (await suite.admin.status()).workers.reduce((sum, { resultHits }) => sum + resultHits, 0);

  test("b21_kept_results: what one gateway wrote, the other one reads at once, however often it was asked before", async () => {
    const [first, second] = suite.urls;
    let sum = 0;
    for (let round = 0; round < 30; round++) {
      const [writer, reader] = round % 2 === 0 ? [first, second] : [second, first];
      for (let i = 0; i < 3; i++) {
        assert.equal(await ask(reader, "rows:sum", { group: 1 }), sum);
        assert.equal(await ask(writer, "rows:get", { key: "k" }), round === 0 ? null : round - 1);
      }
      await Promise.all([change(writer, "rows:add", { group: 1, n: round }), change(reader, "rows:put", { key: "k", n: round })]);
      sum += round;
      assert.equal(await ask(reader, "rows:sum", { group: 1 }), sum);
      assert.equal(await ask(writer, "rows:get", { key: "k" }), round);
      if (round % 10 === 9) {
        // The rows change, and their places in the index do not.
        await change(writer, "rows:bump", { group: 1 });
        sum += round + 1;
        assert.equal(await ask(reader, "rows:sum", { group: 1 }), sum);
      }
    }
    await eventually(async () => (await hits()) > 20);
  });

  test("b21_kept_results: readers and writers at once: nobody reads less than what was acknowledged before it asked", async () => {
    const group = 2;
    let acknowledged = 0;
    let isOver = false;
    const before = await hits();
    const write = async (url) => {
      for (let i = 0; i < 40; i++) {
        await change(url, "rows:add", { group, n: 1 });
        acknowledged++;
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
    };
    const read = async (url) => {
      let last = 0;
      while (!isOver) {
        const least = acknowledged;
        const found = await ask(url, "rows:sum", { group });
        assert.ok(found >= least && found >= last, `${found} after ${least} and ${last}`);
        last = found;
      }
    };
    const readers = suite.urls.flatMap((url) => [read(url), read(url)]);
    await Promise.all(suite.urls.map(write));
    isOver = true;
    await Promise.all(readers);
    assert.equal(await ask(suite.url, "rows:sum", { group }), 80);
    await eventually(async () => (await hits()) > before);
  });

  test("b21_kept_results: the JSON of a value is the same bytes, however it came to the gateway", async () => {
    const texts = async (format) => {
      const seen = new Set();
      for (let i = 0; i < 5; i++) {
        for (const url of suite.urls) {
          const response = await fetch(`${url}/api/query`, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ path: "rows:odd", args: {}, format }) });
          const text = await response.text();
          assert.equal(Number(response.headers.get("content-length")), Buffer.byteLength(text));
          seen.add(text.replace(/,"tx":\d+,/, ","));
        }
      }
      return [...seen];
    };
    const had = await jsonHits();
    const [clean, ...others] = await texts("json");
    assert.deepEqual(others, []);
    assert.match(clean, /^\{"status":"success","value":\[.*\],"logLines":\[\]\}$/s);
    const [encoded, ...more] = await texts("convex_encoded_json");
    assert.deepEqual(more, []);
    assert.notEqual(encoded, clean);
    assert.ok((await jsonHits()) >= had + 4, "most values were there already");
    // A write ends it; the next one is of its own.
    await change(suite.url, "rows:put", { key: "odd", n: 7 });
    for (let i = 0; i < 4; i++) for (const url of suite.urls) assert.equal((await ask(url, "rows:odd")).at(-1), 7);
  });

  test("the clock, the moment and what was said are of each call", async () => {
    for (const path of ["rows:now", "rows:snapshot"]) {
      const seen = new Set();
      for (let i = 0; i < 4; i++) {
        await change(suite.url, "rows:put", { key: "tick", n: i });
        seen.add(await ask(suite.url, path));
        await new Promise((resolve) => setTimeout(resolve, 3));
      }
      assert.equal(seen.size, 4, path);
    }
    for (let i = 0; i < 4; i++) assert.equal((await send(suite.url, "query", "rows:say", {})).logLines?.length, 1);
  });

  test("a moment of before is answered with what was there then", async () => {
    const { tx } = await change(suite.url, "rows:put", { key: "then", n: 1 });
    await change(suite.url, "rows:put", { key: "then", n: 2 });
    for (let i = 0; i < 4; i++) assert.equal(await ask(suite.url, "rows:get", { key: "then" }), 2);
    const ts = Buffer.alloc(8);
    ts.writeBigUInt64LE(BigInt(tx));
    const { value, code } = await post(suite.url, "query_at_ts", "rows:get", { key: "then" }, { ts: ts.toString("base64") });
    if (code !== "TxTruncated") assert.equal(value, 1); // a machine that stands still for seconds
  });

  test("a deploy ends what the code before it gave", async () => {
    for (let i = 0; i < 4; i++) assert.equal(await ask(suite.url, "rows:version"), 1);
    await suite.deploy({ ...FUNCTIONS, "rows.ts": FUNCTIONS["rows.ts"].replace("query(() => 1)", "query(() => 2)") });
    for (const url of suite.urls) assert.equal(await ask(url, "rows:version"), 2);
  });
});
