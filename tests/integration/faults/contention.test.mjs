// Many clients, two workers, one document: contention is no error, and every call counts once.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import { eventually, post, query } from "../http/api.mjs";
import { startSuite } from "../js/suite.mjs";

const CLIENTS = 32;
const CALLS = 25; // of each client

const functions = {
  "counters.ts": `
    import { mutation, query } from "bitbend/server";
    import { v } from "bitbend/values";
    export const add = mutation({
      args: { name: v.string() },
      handler: async (ctx, { name }) => {
        const value = ((await ctx.db.getByKey("counters", name))?.value ?? 0) + 1;
        await ctx.db.put("counters", name, { value });
        return value;
      },
    });
    export const get = query({
      args: { name: v.string() },
      handler: async (ctx, { name }) => (await ctx.db.getByKey("counters", name))?.value ?? 0,
    });
  `,
  "schema.ts": `
    import { defineSchema, defineTable } from "bitbend/server";
    import { v } from "bitbend/values";
    export default defineSchema({ counters: defineTable({ value: v.number() }) });
  `,
};

async function retriesOf(suite) {
  const status = await (await fetch(`${suite.url}/api/admin/status`, { headers: { authorization: `BitBend ${suite.adminKey}` } })).json();
  return status.workers.map(({ calls, retries }) => ({ calls, retries }));
}

describe("contention across workers", () => {
  let suite;
  before(async () => {
    suite = await startSuite({ mode: "processes", functions, workers: 2 });
  });
  after(() => suite?.stop());

  test("b14_hot_key, k15_several_writers: two workers add to one counter; no error, no lost update, few runs are repeated", async (t) => {
    const before = await retriesOf(suite);
    const txs = [];
    await Promise.all(
      Array.from({ length: CLIENTS }, async () => {
        for (let i = 0; i < CALLS; i++) {
          const answer = await post(suite.url, "/api/mutation", { path: "counters:add", args: { name: "hot" }, format: "json" });
          assert.equal(answer.status, 200, answer.text);
          assert.equal(answer.body.status, "success", answer.text);
          txs.push(answer.body.tx);
        }
      }),
    );
    assert.equal(new Set(txs).size, CLIENTS * CALLS, "each call is a transaction of its own");
    assert.equal(await query(suite.url, "counters:get", { name: "hot" }), CLIENTS * CALLS);
    // What the workers say of themselves is a moment old: until it tells of all that was asked.
    const callsOf = (workers) => workers.reduce((sum, { calls }) => sum + calls, 0);
    const after = await eventually(async () => {
      const found = await retriesOf(suite);
      return callsOf(found) >= callsOf(before) + CLIENTS * CALLS && found;
    });
    assert.ok(after.every(({ calls }, i) => calls > before[i].calls), "both workers took part");
    const repeated = after.reduce((sum, { retries }, i) => sum + retries - before[i].retries, 0);
    t.diagnostic(`${repeated} of ${CLIENTS * CALLS} calls ran again`);
    assert.ok(repeated < (CLIENTS * CALLS) / 2, `${repeated} runs were repeated`);
  });

  test("b14_dead_holder: a worker that dies while it holds the range costs the other one little", async (t) => {
    let stopped = false;
    let done = 0;
    let gapMs = 0;
    let last = performance.now();
    const clients = Array.from({ length: 16 }, async () => {
      while (!stopped) {
        const answer = await post(suite.url, "/api/mutation", { path: "counters:add", args: { name: "dead" }, format: "json" }).catch(() => null);
        if (answer?.status !== 200) {
          await new Promise((resolve) => setTimeout(resolve, 20));
          continue;
        }
        done++;
        gapMs = Math.max(gapMs, performance.now() - last);
        last = performance.now();
      }
    });
    const more = async (count) => {
      for (const from = done; done < from + count; ) await new Promise((resolve) => setTimeout(resolve, 5));
    };
    await more(100);
    gapMs = 0;
    await suite.kill("worker2");
    await more(100);
    t.diagnostic(`nothing was acknowledged for ${Math.round(gapMs)} ms`);
    await suite.start("worker2");
    stopped = true;
    await Promise.all(clients);
    assert.ok((await query(suite.url, "counters:get", { name: "dead" })) >= done, "what was acknowledged is there");
  });
});
