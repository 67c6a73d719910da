// Actions as jobs: progress, cancel, what an action schedules, and the fence of the attempt.
import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";

import { actionsMissing, endChild, eventually, startStand } from "./stand.mjs";

const FILES = {
  "schema.ts": `
    import { defineSchema, defineTable } from "bitbend/server";
    import { v } from "bitbend/values";
    export default defineSchema({ marks: defineTable({ key: v.string() }) });
  `,
  "j.ts": `
    import { action, mutation, internalMutation, query } from "bitbend/server";
    import { BitBendError } from "bitbend/values";
    import { api, internal } from "./_generated/api";
    import { existsSync, appendFileSync } from "node:fs";
    const sleep = (ms: number) => new Promise((done) => setTimeout(done, ms));

    export const mark = mutation(async ({ db }, { key }) => { console.log("marks", key); await db.insert("marks", { key }); });
    export const hidden = internalMutation(async ({ db }, { key }) => { await db.insert("marks", { key }); });
    export const marks = query(async ({ db }) => (await db.query("marks").collect()).map(({ key }) => key));
    export const start = mutation(async ({ scheduler }, { path, args }) => scheduler.runAfter(0, path as any, args));
    export const stop = mutation(async ({ scheduler }, { id }) => { await scheduler.cancel(id as any); });
    export const job = query(async ({ db }, { id }) => db.get(id as any));

    export const works = action(async (ctx, { begun, go }) => {
      appendFileSync(begun, "x");
      for (let i = 1; !existsSync(go); i++) { ctx.progress({ step: i }); await sleep(30); }
      await ctx.runMutation(api.j.mark, { key: "worked" });
      return { done: true };
    });
    export const again = action({ retry: { attempts: 2, backoff: 50 }, handler: async (ctx, { begun, go }) => {
      appendFileSync(begun, "x");
      while (!existsSync(go)) await sleep(30);
      return "again";
    } } as any);
    export const listens = action(async (ctx, { begun }) => {
      appendFileSync(begun, "x");
      await new Promise<void>((done) => ctx.signal.addEventListener("abort", () => { appendFileSync(begun, "told"); done(); }));
      throw ctx.signal.reason;
    });
    export const leaks = action(async () => {
      throw new BitBendError({ key: process.env.JOB_KEY, said: ["refused " + process.env.JOB_KEY] });
    });
    export const plans = action(async (ctx) => {
      const id = await ctx.scheduler.runAfter(0, internal.j.hidden, { key: "planned" });
      const late = await ctx.scheduler.runAt(Date.now() + 3_600_000, api.j.mark, { key: "never" });
      await ctx.scheduler.cancel(late);
      return [id, late];
    });
  `,
};

describe("actions as jobs", { skip: actionsMissing() }, () => {
  let stand;
  let dir;
  let files = 0;
  const fresh = () => join(dir, `file${++files}`);
  before(async () => {
    dir = mkdtempSync(join(tmpdir(), "bitbend-actions-"));
    stand = await startStand({ functions: FILES });
  });
  after(async () => {
    await stand?.stop();
    rmSync(dir, { recursive: true, force: true });
  });
  const start = (path, args = {}) => stand.call("j:start", { path, args });
  const row = (id) => stand.call("j:job", { id });
  const inState = (id, state, timeoutMs = 20_000) => eventually(async () => ((await row(id)).state === state ? row(id) : null), { what: `the state ${state}`, timeoutMs });

  test("a job shows its progress while it runs, and its result", async () => {
    const [begun, go] = [fresh(), fresh()];
    const id = await start("j:works", { begun, go });
    await eventually(async () => ((await row(id)).progress?.step ?? 0) > 1, { what: "progress" });
    assert.equal((await row(id)).state, "running");
    writeFileSync(go, "");
    const { result, error } = await inState(id, "done");
    assert.deepEqual(result, { done: true });
    assert.equal(error, null);
    assert.ok((await stand.call("j:marks")).includes("worked"));
    const { entries } = await stand.admin.logs({ cursor: "0" });
    assert.deepEqual(entries.filter(({ lines }) => lines.some(({ text }) => text === "marks worked")).map(({ path }) => path), ["j:mark"]);
  });

  test("a job that is cancelled is told, and ends", async () => {
    const begun = fresh();
    const id = await start("j:listens", { begun });
    await eventually(() => existsSync(begun), { what: "the start" });
    await stand.call("j:stop", { id });
    await eventually(() => readFileSync(begun, "utf8") === "xtold", { what: "the cancel" });
    assert.equal((await row(id)).state, "cancelled");
  });

  test("the error of a job shows no value of the environment, not in its data either", async () => {
    await stand.call("_system:changeEnvironment", { changes: [{ name: "JOB_KEY", value: "sk-abcdef0123456789" }] });
    const { error } = await inState(await start("j:leaks"), "failed");
    assert.match(error, /\{"key":"\[JOB_KEY\]","said":\["refused \[JOB_KEY\]"\]\}/);
    assert.ok(!error.includes("sk-abc"));
  });

  test("an action schedules and cancels", async () => {
    const client = stand.client();
    const [id, late] = await client.action("j:plans", {});
    await inState(id, "done");
    assert.ok((await stand.call("j:marks")).includes("planned"));
    assert.equal((await row(late)).state, "cancelled");
  });

  test("a mutation of an attempt that is over does not run", async () => {
    const [begun, go] = [fresh(), fresh()];
    const id = await start("j:works", { begun, go });
    await eventually(async () => (await row(id)).state === "running", { what: "the start" });
    // What the runner gives to the action of this attempt, and to one of an attempt that is not.
    const token = (attempt) => {
      const hmac = (key, text) => createHmac("sha256", key).update(text).digest();
      const text = `bbact1.${Buffer.from(JSON.stringify({ id: "x", job: id, attempt, exp: Date.now() + 60_000 })).toString("base64url")}`;
      return `BitBend-Action ${text}.${hmac(hmac(stand.adminKey, "bitbend action token"), text).toString("hex")}`;
    };
    const mark = (attempt, key) => stand.http("/api/mutation", { body: { path: "j:hidden", args: { key } }, headers: { Authorization: token(attempt) } });
    assert.equal((await mark(1, "of this attempt")).json.status, "success");
    const refused = await mark(2, "of another");
    assert.match(refused.json.errorMessage, /j:hidden did not run: the job that called it has ended/);
    writeFileSync(go, "");
    await inState(id, "done");
    assert.equal((await mark(1, "late")).json.status, "error");
    const marks = await stand.call("j:marks");
    assert.ok(marks.includes("of this attempt") && !marks.includes("of another") && !marks.includes("late"));
  });

  test("tokens are checked: signature, time", async () => {
    const wrong = await stand.http("/api/query", { body: { path: "j:marks", args: {} }, headers: { Authorization: "BitBend-Action bbact1.e30.00" } });
    assert.equal(wrong.status, 401);
    const text = `bbact1.${Buffer.from(JSON.stringify({ id: "x", exp: Date.now() - 1 })).toString("base64url")}`;
    const key = createHmac("sha256", stand.adminKey).update("bitbend action token").digest();
    const late = await stand.http("/api/query", { body: { path: "j:marks", args: {} }, headers: { Authorization: `BitBend-Action ${text}.${createHmac("sha256", key).update(text).digest("hex")}` } });
    assert.equal(late.status, 401);
    assert.match(late.json.message, /expired/);
  });

  test("kill -9 of the runner: at most once fails, at least once runs again", { timeout: 170_000, skip: process.env.BB_DEEP ? false : "a minute long: make deep" }, async () => {
    const [once, twice, go] = [fresh(), fresh(), fresh()];
    const first = await start("j:works", { begun: once, go });
    const second = await start("j:again", { begun: twice, go });
    await eventually(() => existsSync(once) && existsSync(twice), { what: "the start" });
    await endChild(stand.runners.pop());
    await stand.startRunner();
    writeFileSync(go, "");
    assert.match((await inState(first, "failed", 150_000)).error, /the runner .* ended, or was not heard of/);
    assert.equal((await inState(second, "done", 150_000)).result, "again");
    assert.equal(readFileSync(once, "utf8"), "x");
    assert.equal(readFileSync(twice, "utf8"), "xx");
  });
});
