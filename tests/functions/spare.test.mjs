// Calls that never end hold the slots for five seconds each; those of other functions go on beside them.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import { eventually, startSuite } from "../integration/js/suite.mjs";

const NAMES = ["a", "b", "c", "d", "e"];
const functions = {
  "schema.ts": `
    import { defineSchema, defineTable } from "bitbend/server";
    export default defineSchema({ notes: defineTable({}) });`,
  "quick.ts": `
    import { mutation, query } from "./_generated/server";
    export const count = query({ handler: async (ctx) => (await ctx.db.query("notes").collect()).length });
    export const add = mutation({ handler: async (ctx) => { await ctx.db.insert("notes", {}); } });
    ${NAMES.map((name) => `export const ${name} = query({ handler: async () => "${name}" });`).join("\n")}`,
  "endless.ts": `
    import { mutation, query } from "./_generated/server";
    const loop = () => { for (;;); };
    ${NAMES.map((name, i) => `export const ${name} = ${i % 2 ? "mutation" : "query"}({ handler: async () => loop() });`).join("\n")}
    export const live = query({ handler: async () => loop() });`,
};
const kindOf = (name) => (NAMES.indexOf(name) % 2 ? "mutation" : "query");

for (const [mode, options, floods] of [
  ["solo", { solo: { slots: 2, "results-bytes": 0 } }, [["a", "a"], ["a", "b", "c", "d"], Array.from({ length: 20 }, () => "b")]],
  ["processes", { worker: { slots: 2, "results-bytes": 0, "queue-max": 24 } }, [Array.from({ length: 20 }, (_, i) => NAMES[i % 5])]],
]) {
  describe(`calls beside endless ones, ${mode}`, () => {
    let suite;
    const ask = async (kind, path) => (await suite.http(`/api/${kind}`, { body: { path, args: {} } })).json;
    before(async () => {
      suite = await startSuite({ mode, memory: true, functions, options });
    });
    after(() => suite?.stop());

    /** Keeps so many endless calls under way until `during` has come to its end; what they were told. */
    async function flood(names, during) {
      const told = [];
      let isOver = false;
      let timeouts = 0;
      const callers = names.map(async (name) => {
        while (!isOver) {
          const answer = await ask(kindOf(name), `endless:${name}`);
          told.push(answer.code);
          timeouts += answer.code === "FunctionTimeout";
        }
      });
      try {
        await during(() => timeouts);
      } finally {
        isOver = true;
        await Promise.all(callers);
      }
      return told;
    }

    /** Ten rounds of `work`, one after the other, while every endless call that runs is the same: nobody made room. */
    async function rounds(timeouts, work) {
      let done = 0;
      let before = timeouts();
      await eventually(async () => {
        const isAnswered = await work();
        done = isAnswered && timeouts() === before ? done + 1 : 0;
        before = timeouts();
        return done >= 10;
      }, { what: "ten rounds of calls while the same endless ones run" });
    }

    for (const [i, names] of floods.entries()) {
      test(`b16_limits: queries, mutations and live queries are answered beside ${names.length} endless calls of ${new Set(names).size} functions`, async () => {
        const client = suite.client();
        let seen = -1;
        client.onUpdate("quick:count", {}, (count) => (seen = count));
        const told = await flood(names, async (timeouts) => {
          await rounds(timeouts, async () => {
            const [count, add] = await Promise.all([ask("query", "quick:count"), ask("mutation", "quick:add")]);
            return count.status === "success" && add.status === "success";
          });
          const { value } = await ask("query", "quick:count");
          await eventually(() => seen >= value, { what: "the live query's result" });
          await eventually(async () => (await ask("query", `quick:${NAMES[i]}`)).value === NAMES[i], { what: "the first call of a function that is new" });
        });
        for (const code of told) assert.ok(code === "FunctionTimeout" || code === "Overloaded", code);
        assert.ok(told.includes("FunctionTimeout"));
      });
    }

    test("b16_limits: a live query is answered beside twenty that never end", async () => {
      const [others, client] = [suite.client(), suite.client()]; // all that one of them sees is of one moment
      let errors = 0;
      for (let n = 0; n < 20; n++) others.onUpdate("endless:live", { n }, () => assert.fail("it has no result"), () => errors++);
      let seen = -1;
      client.onUpdate("quick:count", {}, (count) => (seen = count));
      await rounds(() => errors, async () => {
        const want = (await ask("mutation", "quick:add")).status === "success" && (await ask("query", "quick:count")).value;
        await eventually(() => seen >= want, { what: "the live query's result" });
        return true;
      });
      others.close();
      client.close();
    });

    test("afterwards the slots are as they were", async () => {
      const [worker] = await eventually(async () => {
        const { workers } = await suite.admin.status();
        return workers[0].slotsBusy === 0 && workers;
      }, { what: "slots that are free" });
      assert.equal(worker.slots, 2);
      assert.ok(worker.spareSlots <= 2);
      const answers = await Promise.all(Array.from({ length: 20 }, () => ask("query", "quick:count")));
      for (const answer of answers) assert.equal(answer.status, "success");
    });
  });
}
