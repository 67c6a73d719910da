// Actions while runners, NATS and gateways die, and code is replaced.
import assert from "node:assert/strict";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";

import { actionsMissing, endChild, eventually, startStand } from "./stand.mjs";

const app = (version) => ({
  "schema.ts": `
    import { defineSchema, defineTable } from "bitbend/server";
    import { v } from "bitbend/values";
    export default defineSchema({ counts: defineTable({ n: v.number() }) });
  `,
  "work.ts": `
    import { action, mutation, query } from "bitbend/server";
    import { api } from "./_generated/api";
    import { existsSync, appendFileSync } from "node:fs";
    const sleep = (ms: number) => new Promise((done) => setTimeout(done, ms));

    export const count = mutation(async ({ db }) => { await db.insert("counts", { n: 1 }); });
    export const total = query(async ({ db }) => (await db.query("counts").collect()).length);
    export const version = action(async () => ${version});
    export const waits = action(async (_, { begun, go }) => {
      appendFileSync(begun, "x");
      while (!existsSync(go)) await sleep(20);
      return ${version};
    });
    export const counts = action(async (ctx, { times, begun }) => {
      for (let i = 0; i < times; i++) {
        await ctx.runMutation(api.work.count, {});
        if (i === 0) appendFileSync(begun, "x");
      }
      return times;
    });
    export const echo = action(async (_, { bytes, text }) => ({ size: bytes.byteLength, bytes, text }));
  `,
});

describe("actions and faults", { skip: actionsMissing() }, () => {
  let stand;
  let dir;
  let files = 0;
  const fresh = () => join(dir, `file${++files}`);
  before(async () => {
    dir = mkdtempSync(join(tmpdir(), "bitbend-actions-"));
    stand = await startStand({ functions: app(1), runner: { slots: 2, "drain-s": 20 } });
  });
  after(async () => {
    await stand?.stop();
    rmSync(dir, { recursive: true, force: true });
  });
  const ask = (path, args = {}) => stand.http("/api/action", { body: { path, args } });
  const touch = async (file) => (await import("node:fs")).writeFileSync(file, "");

  test("large arguments and results pass by reference", async () => {
    const client = stand.client();
    const bytes = new Uint8Array(3 << 20).fill(7).buffer;
    const { size, bytes: back, text } = await client.action("work:echo", { bytes, text: "é".repeat(100_000) });
    assert.equal(size, 3 << 20);
    assert.deepEqual(new Uint8Array(back), new Uint8Array(bytes));
    assert.equal(text.length, 100_000);
  });

  test("a deploy while actions run: they end in the old code, new ones run in the new, and the old process goes", async () => {
    const [begun, go] = [fresh(), fresh()];
    const old = ask("work:waits", { begun, go });
    await eventually(() => existsSync(begun), { what: "the start" });
    await stand.deploy(app(2));
    assert.equal((await ask("work:version")).json.value, 2);
    await touch(go);
    assert.equal((await old).json.value, 1);
  });

  test("a full runner takes no more; who waits is served when there is room", async () => {
    const go = fresh();
    const begun = [fresh(), fresh(), fresh()];
    const all = begun.map((file) => ask("work:waits", { begun: file, go }));
    await eventually(() => begun.filter((file) => existsSync(file)).length === 2, { what: "two that run" });
    await new Promise((done) => setTimeout(done, 300));
    assert.equal(begun.filter((file) => existsSync(file)).length, 2);
    await touch(go);
    assert.deepEqual((await Promise.all(all)).map(({ json }) => json.value), [2, 2, 2]);
  });

  test("nobody has room for long: 503 with the reason", async () => {
    const go = fresh();
    const begun = [fresh(), fresh()];
    const two = begun.map((file) => ask("work:waits", { begun: file, go }));
    await eventually(() => begun.every((file) => existsSync(file)), { what: "two that run" });
    const { status, json } = await ask("work:version");
    assert.equal(status, 503);
    assert.equal(json.code, "Unavailable");
    assert.match(json.message, /All runners are busy/);
    await touch(go);
    await Promise.all(two);
  });

  test("nats-server dies: 503 with the reason, what runs is answered, and it comes back by itself", async () => {
    const [begun, go] = [fresh(), fresh()];
    const running = ask("work:waits", { begun, go });
    await eventually(() => existsSync(begun), { what: "the start" });
    const { nats, runners } = (await stand.admin.status()).gateway;
    assert.deepEqual(nats, { isConfigured: true, url: stand.nats, isUp: true });
    assert.ok(runners.length > 0 && runners.every(({ isUp, slots, running, free, beatAgeMs }) => isUp && free === Math.max(0, slots - running) && beatAgeMs < 60_000));
    await endChild(stand.natsServer);
    await eventually(async () => !(await stand.admin.status()).gateway.nats.isUp, { what: "the gateway's notice" });
    const { status, json } = await ask("work:version");
    assert.equal(status, 503);
    assert.match(json.message, /NATS server/);
    await touch(go);
    assert.equal((await running).json.value, 2);
    await stand.startNats();
    await eventually(async () => (await ask("work:version")).json.value === 2, { what: "actions again" });
  });

  test("a gateway dies while an action calls it: the action goes on, and each of its mutations happens once", async () => {
    const before = await stand.call("work:total");
    const begun = fresh();
    const lost = ask("work:counts", { times: 60, begun }).catch((error) => error);
    await eventually(() => existsSync(begun), { what: "the start" });
    await stand.restart();
    await lost;
    await eventually(async () => (await stand.call("work:total")) === before + 60, { what: "60 counts" });
    await eventually(async () => (await ask("work:version")).json.value === 2, { what: "actions again" });
  });

  test("the runner is killed: its action is unknown, not run again, and nothing hangs", async () => {
    const [begun, go] = [fresh(), fresh()];
    const running = ask("work:waits", { begun, go });
    await eventually(() => existsSync(begun), { what: "the start" });
    await endChild(stand.runners.pop());
    await stand.startRunner();
    const { status, json } = await running;
    assert.equal(status, 503);
    assert.equal(json.code, "OutcomeUnknown");
    assert.match(json.message, /The runner was lost while it ran the action/);
    assert.equal((await ask("work:version")).json.value, 2);
    assert.equal(readFileSync(begun, "utf8"), "x");
  });

  test("SIGTERM waits for what runs; without a runner there is a clear refusal", async () => {
    const [begun, go] = [fresh(), fresh()];
    const running = ask("work:waits", { begun, go });
    await eventually(() => existsSync(begun), { what: "the start" });
    const runner = stand.runners.pop();
    runner.kill("SIGTERM");
    await eventually(async () => stand.log(runner.name).includes("runner.draining"), { what: "the drain" });
    await touch(go);
    assert.equal((await running).json.value, 2);
    assert.equal(await runner.exited, 0);
    const { status, json } = await ask("work:version");
    assert.equal(status, 503);
    assert.match(json.message, /No runner is connected/);
  });

  test("an action that runs for longer than its runner allows is ended, and told why", async () => {
    await stand.startRunner({ "time-max-s": 1 });
    const { json } = await ask("work:waits", { begun: fresh(), go: fresh() });
    assert.equal(json.code, "FunctionTimeout");
    assert.match(json.errorMessage, /The action ran for more than 1 s\. A runner's --time-max-s gives it more/);
  });
});
