/** The npm package against real processes: live queries, exactly once, restarts. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { testModes } from "../http/modes.mjs";
import { eventually, startSuite, suiteMissing } from "./suite.mjs";

const skip = suiteMissing();
const FUNCTIONS = {
  "schema.ts": `
import { defineSchema, defineTable } from "bitbend/server";
import { v } from "bitbend/values";
export default defineSchema({
  counters: defineTable({ name: v.string(), n: v.number() }).index("by_name", ["name"]),
  marks: defineTable({ mark: v.string() }).index("by_mark", ["mark"]),
});
`,
  "counter.ts": `
import { v } from "bitbend/values";
import { mutation, query } from "./_generated/server";

export const read = query({
  args: { name: v.string() },
  handler: async (ctx, { name }) => (await ctx.db.query("counters").withIndex("by_name", (q) => q.eq("name", name)).unique())?.n ?? 0,
});
export const add = mutation({
  args: { name: v.string() },
  handler: async (ctx, { name }) => {
    const counter = await ctx.db.query("counters").withIndex("by_name", (q) => q.eq("name", name)).unique();
    if (counter === null) await ctx.db.insert("counters", { name, n: 1 });
    else await ctx.db.patch(counter._id, { n: counter.n + 1 });
    return (counter?.n ?? 0) + 1;
  },
});
export const mark = mutation({ args: { mark: v.string() }, handler: (ctx, { mark }) => ctx.db.insert("marks", { mark }) });
export const marks = query({ args: {}, handler: async (ctx) => (await ctx.db.query("marks").withIndex("by_mark").collect()).map(({ mark }) => mark) });
`,
};

for (const mode of testModes()) {
  test(`${mode}: a write of one client reaches the live query of another`, { skip }, async (t) => {
    const suite = await startSuite({ mode, functions: FUNCTIONS });
    t.after(() => suite.stop());
    const [reader, writer] = [suite.client(), suite.client()];
    const heard = [];
    reader.onUpdate("counter:read", { name: "a" }, (n) => heard.push(n), (error) => heard.push(error));
    await eventually(() => heard.length > 0, { what: "the first value" });
    for (let n = 1; n <= 20; n++) assert.equal(await writer.mutation("counter:add", { name: "a" }), n);
    await eventually(() => heard.at(-1) === 20, { what: "the last value" });
    assert.equal(heard[0], 0);
    assert.deepEqual(heard, [...heard].sort((x, y) => x - y), "time never goes back");
    const before = heard.length;
    await writer.mutation("counter:add", { name: "other" });
    await new Promise((done) => setTimeout(done, 200));
    assert.equal(heard.length, before, "a write elsewhere tells nothing");
  });

  test(`${mode}: kill -9 of everything loses no acknowledged write, and clients go on by themselves`, { skip }, async (t) => {
    const suite = await startSuite({ mode, functions: FUNCTIONS });
    t.after(() => suite.stop());
    const client = suite.client({ logger: { warn() {}, error() {} } });
    let seen = [];
    client.onUpdate("counter:marks", {}, (marks) => (seen = marks), () => {});
    const acknowledged = [];
    let isRunning = true;
    const load = (async () => {
      for (let n = 0; isRunning; n++) {
        const mark = String(n).padStart(6, "0");
        await client.mutation("counter:mark", { mark });
        acknowledged.push(mark);
      }
    })();
    for (const victim of mode === "solo" ? ["solo"] : [...suite.names, undefined]) {
      const before = acknowledged.length;
      await eventually(() => acknowledged.length > before + 20, { what: `writes before the kill of ${victim ?? "all"}` });
      await suite.restart(victim);
    }
    const before = acknowledged.length;
    await eventually(() => acknowledged.length > before + 20, { what: "writes after the last restart" });
    isRunning = false;
    await load;
    assert.deepEqual(await client.query("counter:marks"), acknowledged, "each exactly once, in order");
    await eventually(() => seen.length === acknowledged.length, { what: "the live query" });
    assert.deepEqual(seen, acknowledged);
  });
}

test("a slot that is killed fails no call", { skip }, async (t) => {
  const suite = await startSuite({ functions: FUNCTIONS });
  t.after(() => suite.stop());
  const client = suite.client();
  for (let round = 0; round < 3; round++) {
    const slots = await eventually(() => {
      const found = suite.slotPids();
      return found.length >= 2 && found;
    }, { what: "two slots" });
    const calls = Array.from({ length: 20 }, () => client.query("counter:read", { name: "x" }));
    process.kill(slots[0], "SIGKILL");
    await Promise.all(calls);
    await client.mutation("counter:add", { name: "killed" });
  }
  assert.equal(await client.query("counter:read", { name: "killed" }), 3);
});
