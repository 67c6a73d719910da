// A storage node that gathers all that it flushes in runs is killed while it writes them and while they go into the data:
// what was acknowledged is there once, scans and gets agree, and a node that gathers no more goes on with the folder.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";

import { eventually, mutation, query } from "../http/api.mjs";
import { ROOT, startSuite } from "../js/suite.mjs";

const KEPT = 40; // steps of a client whose rows are there; every other one goes when the next two have come
const isThere = (n, steps) => n >= steps - KEPT && (n % 2 === 0 || n >= steps - 2);
const gathers = { gather: "always", "gather-runs": 2, "flush-ms": 30 };
const functions = {
  "schema.ts": `
    import { defineSchema, defineTable } from "bitbend/server";
    import { v } from "bitbend/values";
    export default defineSchema({
      rows: defineTable({ client: v.number(), n: v.number(), slot: v.number() }).index("by_client_n", ["client", "n"]).index("by_slot", ["slot"]),
      counters: defineTable({ client: v.number(), steps: v.number() }).index("by_client", ["client"]),
    });`,
  "runs.ts": `
    import { mutation, query } from "bitbend/server";
    export const step = mutation(async (ctx, { client, n }) => {
      const counter = await ctx.db.query("counters").withIndex("by_client", (q) => q.eq("client", client)).unique();
      if (counter === null) await ctx.db.insert("counters", { client, steps: 1 });
      else await ctx.db.patch(counter._id, { steps: counter.steps + 1 });
      for (const gone of n % 2 === 0 ? [n - ${KEPT}] : [n - 2]) {
        const old = await ctx.db.query("rows").withIndex("by_client_n", (q) => q.eq("client", client).eq("n", gone)).unique();
        if (old !== null) await ctx.db.delete(old._id);
      }
      return await ctx.db.insert("rows", { client, n, slot: (n * 7919 + client * 131) % 1009 });
    });
    export const steps = query(async (ctx, { client }) => (await ctx.db.query("counters").withIndex("by_client", (q) => q.eq("client", client)).unique())?.steps ?? 0);
    export const rows = query(async (ctx, { client, order }) => await ctx.db.query("rows").withIndex("by_client_n", (q) => q.eq("client", client)).order(order).collect());
    export const gets = query(async (ctx, { ids }) => await Promise.all(ids.map((id) => ctx.db.get(id))));
    export const slots = query(async (ctx) => (await ctx.db.query("rows").withIndex("by_slot", (q) => q.gte("slot", 0)).collect()).map((row) => row._id));
    export const all = query(async (ctx) => (await ctx.db.query("rows").collect()).map((row) => row._id));`,
};

function ctl(...args) {
  const done = spawnSync(join(ROOT, process.env.BB_TEST_BUILD ?? "build/release", "bin/bb-ctl"), [...args, "--json"], { encoding: "utf8", timeout: 120_000 });
  return done.status === 0 ? JSON.parse(done.stdout) : assert.fail(`${args}: ${done.stderr}${done.stdout}`);
}

/** Clients that repeat each step with its key until it is answered. `ids[client][n]`: the row of that step. */
function load(url, ids) {
  const state = { isStopped: false, done: 0 };
  const clients = ids.map(async (rows, client) => {
    while (!state.isStopped) {
      const n = rows.length;
      const step = () => mutation(url, "runs:step", { client, n }, { "idempotency-key": `step-${client}-${n}` });
      rows.push(await eventually(step));
      state.done++;
    }
  });
  state.more = async (count) => {
    const least = state.done + count;
    await Promise.race([eventually(() => state.done >= least), Promise.all(clients)]);
  };
  state.stop = async () => {
    state.isStopped = true;
    await Promise.all(clients);
  };
  return state;
}

/** What scans and gets find is what the steps left, and nothing else. */
async function check(suite, ids) {
  await suite.restart("worker"); // its cache would answer instead of the storage node
  const ask = (path, args = {}) => eventually(() => query(suite.url, path, args));
  const kept = ids.flatMap((rows) => rows.filter((_, n) => isThere(n, rows.length)));
  for (const [client, rows] of ids.entries()) {
    assert.equal(await ask("runs:steps", { client }), rows.length);
    const found = await ask("runs:rows", { client, order: "asc" });
    const there = rows.map((id, n) => ({ id, n })).filter(({ n }) => isThere(n, rows.length));
    assert.deepEqual(found.map((row) => ({ id: row._id, n: row.n })), there);
    assert.deepEqual(await ask("runs:rows", { client, order: "desc" }), found.toReversed());
    assert.deepEqual(await ask("runs:gets", { ids: there.map(({ id }) => id) }), found);
    const gone = rows.filter((_, n) => n >= rows.length - 4 * KEPT && !isThere(n, rows.length));
    assert.deepEqual(await ask("runs:gets", { ids: gone }), gone.map(() => null));
  }
  assert.deepEqual((await ask("runs:slots")).toSorted(), kept.toSorted());
  assert.deepEqual((await ask("runs:all")).toSorted(), kept.toSorted());
}

describe("a storage node that gathers is killed (processes)", () => {
  const ids = Array.from({ length: 6 }, () => []);
  let suite;
  before(async () => {
    suite = await startSuite({ mode: "processes", functions, schedulers: 0, options: { storage: { ...gathers } } });
  });
  after(() => suite?.stop());

  test("b22_runs_failpoints: in each step of a flush, and of the parts of a pass that go with it", async () => {
    for (const point of ["store.flush.before", "store.commit.before", "store.commit.after"]) {
      for (const times of [2, 3, 6]) {
        const clients = load(suite.url, ids);
        await suite.kill("storage", "SIGTERM");
        const child = suite.startWith("storage", { failpoint: `${point}:${times}` });
        assert.equal(await child.exited, "SIGKILL", `${point} was not reached`);
        await suite.start("storage");
        await clients.more(10);
        await clients.stop();
      }
      await check(suite, ids);
    }
  });

  test("b28_runs_kill: at any moment; a node that gathers no more, and one that does again, go on with what is there", async () => {
    const settings = suite.settings("storage");
    for (const gather of ["always", "never", "auto", "always"]) {
      settings.gather = gather;
      const clients = load(suite.url, ids);
      await suite.restart("storage");
      await clients.more(60);
      await suite.restart("storage");
      await clients.more(20);
      await clients.stop();
      await check(suite, ids);
    }
  });

  test("what is at rest is looked at, in runs and out of them", async () => {
    await suite.kill(undefined, "SIGTERM");
    const rows = ids.flatMap((own) => own.filter((_, n) => isThere(n, own.length))).length;
    const { data } = ctl("inspect", join(suite.dir, "data"));
    assert.equal(data.damage, undefined);
    // By id, by time of creation and both of the schema.
    assert.ok(data.indexes.filter(({ entries }) => entries === rows).length >= 4, `${rows} rows: ${JSON.stringify(data.indexes)}`);
    suite.settings("storage").gather = "never";
    await suite.start();
    await check(suite, ids);
  });
});

describe("storage nodes that gather are killed in turn (three)", () => {
  const ids = Array.from({ length: 6 }, () => []);
  let suite;
  before(async () => {
    const options = { storage: { ...gathers }, storage2: { ...gathers, "gather-runs": 3 }, storage3: { ...gathers, gather: "never" } };
    suite = await startSuite({ mode: "processes", functions, storages: 3, schedulers: 0, options });
  });
  after(() => suite?.stop());

  test("b28_runs_nodes: all hold the same, in runs or not", async () => {
    const clients = load(suite.url, ids);
    for (const name of ["storage", "storage2", "storage3", "storage2", "storage"]) {
      await clients.more(30);
      await suite.restart(name);
    }
    await clients.more(30);
    await clients.stop();
    await check(suite, ids);
    const urls = ["storage", "storage2", "storage3"].map((name) => suite.settings(name).listen);
    await eventually(() => {
      const seen = urls.map((url) => ctl("hash", "--storage", url));
      assert.equal(new Set(seen.map(({ tx }) => tx)).size, 1);
      assert.equal(new Set(seen.map(({ hash }) => hash)).size, 1, JSON.stringify(seen));
      return true;
    });
  });
});
