// What one gateway's queries brought into memory, those of another one find there.
import assert from "node:assert/strict";
import { test } from "node:test";

import { eventually, startSuite, suiteMissing } from "../js/suite.mjs";

const FUNCTIONS = {
  "schema.ts": `
import { defineSchema, defineTable } from "bitbend/server";
import { v } from "bitbend/values";
export default defineSchema({ rows: defineTable({ group: v.number(), n: v.number() }).index("by_group", ["group"]) });`,
  "rows.ts": `
import { mutation, query } from "./_generated/server";
export const fill = mutation(async (ctx, { groups }) => {
  for (let group = 0; group < groups; group++) for (let n = 0; n < 5; n++) await ctx.db.insert("rows", { group, n });
});
export const sum = query(async (ctx, { group }) => (await ctx.db.query("rows").withIndex("by_group", (q) => q.eq("group", group)).collect()).reduce((sum, { n }) => sum + n, 0));`,
};
const GROUPS = 24;

test("b21_shared_cache: a read through one gateway hits what a read through another one brought", { skip: suiteMissing() }, async (t) => {
  const suite = await startSuite({ mode: "processes", gateways: 2, workers: 2, functions: FUNCTIONS });
  t.after(() => suite.stop());
  await suite.call("rows:fill", { groups: GROUPS });
  // Both workers have nothing in memory.
  await Promise.all(["worker", "worker2"].map((name) => suite.kill(name)));
  await suite.start();
  const readAll = async (url) => {
    for (let group = 0; group < GROUPS; group++) {
      const answer = await fetch(`${url}/api/query`, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ path: "rows:sum", args: { group } }) });
      assert.equal((await answer.json()).value, 10);
    }
  };
  const sum = (workers, field) => workers.reduce((total, worker) => total + worker[field], 0);
  // What the workers say of themselves is a moment old: until it tells of all that was asked.
  let asked = 0;
  const misses = () =>
    eventually(async () => {
      const { workers } = await suite.admin.status();
      return sum(workers, "calls") >= asked && workers.every(({ isUp }) => isUp) && { count: sum(workers, "cacheMisses") };
    }, { what: "the counters of both workers" });

  await readAll(suite.urls[0]);
  asked += GROUPS;
  const { count: filled } = await misses();
  assert.ok(filled >= GROUPS, `each group is read from storage once (${filled} reads)`);
  await readAll(suite.urls[1]);
  asked += GROUPS;
  const again = (await misses()).count - filled;
  assert.ok(again < GROUPS / 4, `the other gateway's ${GROUPS} queries asked storage ${again} times`);
});
