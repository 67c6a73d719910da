// Mutation jobs: rows that are written with their transaction and run exactly once.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import { eventually, mutation, post, query } from "../http/api.mjs";
import { testModes } from "../http/modes.mjs";
import { startSuite, suiteMissing } from "../js/suite.mjs";
import { functions } from "./app.mjs";

const MANY = Number(process.env.JOBS_MANY ?? 2000); // make deep: 100,000

for (const mode of testModes(["solo"])) {
  describe(`mutation jobs (${mode})`, { skip: suiteMissing() }, () => {
    let suite;
    let url;
    before(async () => {
      suite = await startSuite({ mode, functions });
      url = suite.url;
    });
    after(() => suite?.stop());

    const job = (id) => query(url, "work:job", { id });
    const runs = (key) => query(url, "work:runs", { key });
    const schedule = async (path, args, more = {}) => (await mutation(url, "work:schedule", { path, args, ...more }))[0];
    const inState = (id, state) => eventually(async () => (await job(id)).state === state && job(id));

    test("a job runs once, and its row tells when and with what result", async () => {
      const id = await schedule("work:mark", { key: "one" });
      const row = await inState(id, "done");
      assert.deepEqual(row.result, { key: "one" });
      assert.equal(row.attempt, "1");
      assert.equal(row.error, null);
      assert.ok(row.created <= row.due && row.due <= row.started && row.started <= row.ended);
      assert.equal(row.lane, undefined);
      assert.deepEqual(await runs("one"), [null]);
    });

    /** `look(id)` at a job before it is due; where the machine was too slow for that, at one that is due later. */
    async function beforeItRuns(key, look, delay = 300) {
      const id = await schedule("work:mark", { key }, { delay });
      const seen = await look(id);
      const { state } = await job(id);
      if (state === "pending" || state === "cancelled") return { id, seen };
      assert.equal(state, "done");
      assert.ok(delay < 60_000, "a job never waited");
      return await beforeItRuns(`${key}, later`, look, 4 * delay);
    }

    test("a job waits until it is due", async () => {
      const { id } = await beforeItRuns("late", () => {});
      const row = await inState(id, "done");
      assert.ok(row.started >= row.due, `${row.started} >= ${row.due}`);
    });

    test("a job that is due earlier runs earlier, whatever was scheduled first", async () => {
      // When both were due at once, since the machine stood still, nothing is promised: further apart then.
      for (let apart = 600; ; apart *= 4) {
        const key = `order ${apart}`;
        const late = await schedule("work:mark", { key, n: 2 }, { delay: 300 + apart });
        const early = await schedule("work:mark", { key, n: 1 }, { delay: 300 });
        await eventually(async () => (await runs(key)).length === 2, 15_000 + apart);
        const [first, second] = await Promise.all([early, late].map(job));
        if (first.ended >= second.due && apart < 20_000) continue;
        assert.deepEqual(await runs(key), [1, 2]);
        break;
      }
    });

    test("a transaction that is rolled back has scheduled nothing", async () => {
      const answer = await post(url, "/api/mutation", { path: "work:scheduleAndThrow", args: { key: "undone" } });
      assert.equal(answer.body.status, "error");
      const id = await schedule("work:mark", { key: "after" });
      await inState(id, "done");
      assert.deepEqual(await runs("undone"), []);
    });

    test("a sub-transaction that throws takes only its own jobs with it", async () => {
      await mutation(url, "work:inner", { key: "inner" });
      await eventually(async () => (await runs("inner")).length === 1);
      assert.deepEqual(await runs("inner"), [1]);
      assert.deepEqual(await runs("inner undone"), []);
    });

    test("a job that throws is failed with the error, and nothing else of it stays", async () => {
      const id = await schedule("work:fail", { key: "bad" });
      const row = await inState(id, "failed");
      assert.equal(row.error, "no way: bad");
      assert.equal(row.attempt, "1");
      assert.deepEqual(await runs("bad"), []);
    });

    test("a job without an end is ended and failed; those behind it run", async () => {
      const id = await schedule("work:loop", {});
      const next = await schedule("work:mark", { key: "behind" });
      await inState(next, "done");
      const row = await inState(id, "failed");
      assert.match(row.error, /work:loop did not end/);
    });

    test("a job schedules the next one", async () => {
      await schedule("work:chain", { key: "chain", left: 5 });
      await eventually(async () => (await runs("chain")).length === 6);
      assert.deepEqual(await runs("chain"), [5, 4, 3, 2, 1, 0]);
    });

    test("a cancelled job never runs", async () => {
      const { id } = await beforeItRuns("cancelled", (one) => mutation(url, "work:cancel", { id: one }));
      const { state, due, args } = await job(id);
      assert.equal(state, "cancelled");
      await eventually(() => Date.now() > due, 90_000);
      const witness = await schedule("work:mark", { key: "witness" }, { delay: 200 });
      await inState(witness, "done");
      assert.deepEqual(await runs(args.key), []);
      await mutation(url, "work:cancel", { id });
      assert.equal((await job(id)).state, "cancelled");
    });

    test("_scheduled_functions shows jobs in the other spelling", async () => {
      const { id, seen: before } = await beforeItRuns("view", (one) => query(url, "work:scheduled", { id: one }));
      assert.deepEqual(before.state, { kind: "pending" });
      assert.equal(before.name, "work.js:mark");
      assert.match(before.args[0].key, /^view/);
      await inState(id, "done");
      const done = await query(url, "work:scheduled", { id });
      assert.deepEqual(done.state, { kind: "success" });
      assert.equal(done._id, id);
      assert.equal(done.scheduledTime, before.scheduledTime);
      assert.ok(done.completedTime >= done.scheduledTime);
      const all = await query(url, "work:allScheduled", {});
      assert.ok(all.some((one) => one._id === id && one.state.kind === "success"));
      assert.ok(all.some((one) => one.state.kind === "failed" && /no way/.test(one.state.error)));
      assert.ok(all.some((one) => one.state.kind === "canceled"));
    });

    test("functions read _jobs and cannot write it", async () => {
      const id = await schedule("work:mark", { key: "readonly" });
      for (const [path, args] of [["work:write", { id }], ["work:insert", {}]]) {
        const { body } = await post(url, "/api/mutation", { path, args });
        assert.equal(body.code, "ReadOnly", JSON.stringify(body));
      }
    });

    test("a job can be watched like any document", async () => {
      const client = suite.client();
      let states;
      let stop;
      await beforeItRuns("watched", async (id) => {
        const own = (states = []);
        stop?.();
        stop = client.onUpdate("work:job", { id }, (row) => own.push(row.state));
        await eventually(() => own.length > 0);
      });
      await eventually(() => states.at(-1) === "done", 90_000);
      stop();
      assert.deepEqual(states, ["pending", "done"]);
    });

    test("what cannot be scheduled is refused with the reason", async () => {
      const refused = async (args) => (await post(url, "/api/mutation", { path: "work:schedule", args })).body;
      assert.match((await refused({ path: "work:nothing", args: {} })).errorMessage, /Could not find function work:nothing/);
      assert.match((await refused({ path: "work:runs", args: { key: "" } })).errorMessage, /takes a mutation or an action/);
      assert.match((await refused({ path: "_system:deploy", args: {} })).errorMessage, /Could not find function/);
      assert.match((await refused({ path: "work:mark", args: { key: "a" }, delay: -1 })).errorMessage, /no delay/);
      assert.match((await refused({ path: "work:mark", args: { key: "a" }, count: 1001 })).errorMessage, /more than 1000 functions/);
      assert.match((await refused({ path: "work:mark", args: { key: "x".repeat(5_000_000) } })).errorMessage, /arguments/);
    });

    test("arguments are checked when the job runs", async () => {
      const row = await inState(await schedule("work:mark", { wrong: 1 }), "failed");
      assert.match(row.error, /key/);
    });

    test(`${MANY} jobs due at once all run, each once`, async () => {
      const due = Date.now() + 1000;
      for (let n = 0; n < MANY / 1000; n++) await mutation(url, "work:scheduleAt", { due: due + (n % 5) * 100, count: 1000, n });
      await eventually(async () => (await query(url, "work:countRuns", {})) >= MANY, MANY * 5 + 30_000);
      await eventually(async () => (await query(url, "work:nextPending", {})) === null);
      assert.equal(await query(url, "work:countRuns", {}), MANY);
    });
  });
}
