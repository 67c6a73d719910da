// Action jobs up to the runner: a real nats-server, and a runner by hand.
import assert from "node:assert/strict";
import { rmSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";

import { actionsMissing, endChild, startStand } from "../actions/stand.mjs";
import { eventually, get, mutation, query } from "../http/api.mjs";
import { functions } from "./app.mjs";
import { takeHand } from "./hand.mjs";

const SILENT_MS = 1200;

describe("action jobs", { skip: actionsMissing() }, () => {
  let stand;
  let hand;
  let url;
  before(async () => {
    stand = await startStand({ mode: "processes", functions, runners: 0, options: { scheduler: { "requeue-ms": 500 } } });
    url = stand.url;
    hand = await eventually(() => takeHand({ nats: stand.nats, suite: stand }));
  });
  after(async () => {
    await hand?.close();
    await stand?.stop();
  });

  const job = (id) => query(url, "work:job", { id });
  const schedule = async (path, args = { key: "k" }, more = {}) => (await mutation(url, "work:schedule", { path, args, ...more }))[0];
  const inState = (id, state) => eventually(async () => (await job(id)).state === state && job(id));
  const messageOf = (id) => eventually(async () => {
    const message = await hand.next(1000);
    message?.ack();
    return message?.jobId === id && message;
  });

  /** How long a runner may be silent from now on; a minute unless a test is about that. */
  const mayBeSilent = async (ms) => {
    stand.settings("scheduler")["runner-ms"] = ms;
    await stand.restart("scheduler");
  };
  /** The next message that comes at all. */
  const nextMessage = (what) => eventually(async () => {
    const message = await hand.next(1000);
    message?.ack();
    return message ?? assert.fail(what());
  }, 60_000);

  test("an action waits in the queue, is started by one runner and ends with its result", async () => {
    const id = await schedule("acts:once", { key: "a" });
    const message = await messageOf(id);
    assert.equal(message.attempt, 1);
    assert.equal((await job(id)).state, "pending");
    const started = await hand.start(message);
    assert.equal(started.path, "acts:once");
    assert.deepEqual(started.args, { key: "a" });
    assert.equal(started.mode, "atMostOnce");
    assert.equal((await job(id)).state, "running");
    assert.equal(await hand.start(message, "another"), null);
    assert.notEqual(await hand.start(message), null, "the same runner did not hear the answer");
    assert.deepEqual(await hand.progress(message, { done: 1 }), { isAccepted: true });
    assert.deepEqual((await job(id)).progress, { done: 1 });
    assert.deepEqual(await hand.finish(message, { status: "success", value: "did a" }), { state: "done", isAccepted: true });
    const row = await job(id);
    assert.equal(row.result, "did a");
    assert.ok(row.due <= row.started && row.started <= row.ended);
    assert.deepEqual(await hand.finish(message, { status: "error", error: "late" }), { state: "done", isAccepted: false });
    assert.equal(await hand.start(message), null);
  });

  test("a message that nobody acts on is published again", async () => {
    const id = await schedule("acts:once");
    const first = await messageOf(id); // acknowledged, and nothing done
    // The server knows the id of the message for two minutes: a stream without it.
    await endChild(stand.natsServer);
    rmSync(join(stand.natsDir, "jetstream"), { recursive: true });
    await stand.startNats();
    hand = await eventually(() => takeHand({ nats: stand.nats, suite: stand }));
    const second = await messageOf(id);
    assert.equal(second.attempt, first.attempt);
    assert.notEqual(await hand.start(second), null);
    await hand.finish(second, { status: "success", value: null });
  });

  test("NATS is away: actions wait, mutations run, the health state says so; wiped, everything still runs", async () => {
    await endChild(stand.natsServer);
    const ready = stand.settings("scheduler")["admin-listen"];
    const state = await eventually(async () => {
      const answer = await get(`http://${ready}`, "/readyz");
      return answer.status === 503 && answer.text;
    });
    assert.match(state, /NATS is away/);
    const ids = [];
    for (let i = 0; i < 5; i++) ids.push(await schedule("acts:once", { key: `away ${i}` }));
    const mutated = await schedule("work:mark", { key: "while away" });
    await inState(mutated, "done");
    for (const id of ids) assert.equal((await job(id)).state, "pending");
    rmSync(join(stand.natsDir, "jetstream"), { recursive: true });
    await stand.startNats();
    hand = await eventually(() => takeHand({ nats: stand.nats, suite: stand }));
    const seen = new Set();
    while (seen.size < ids.length) {
      const message = await nextMessage(() => `${seen.size} of ${ids.length} came`);
      if (!ids.includes(message.jobId) || (await hand.start(message)) === null) continue;
      seen.add(message.jobId);
      await hand.finish(message, { status: "success", value: null });
    }
    await eventually(async () => (await get(`http://${ready}`, "/readyz")).status === 200);
  });

  test("a runner that is lost: at most once means failed, and what it says later is refused", async () => {
    await mayBeSilent(SILENT_MS);
    const id = await schedule("acts:once", { key: "lost" });
    const message = await messageOf(id);
    await hand.start(message);
    const row = await inState(id, "failed");
    assert.match(row.error, /runner hand/);
    assert.deepEqual(await hand.finish(message, { status: "success", value: 1 }), { state: "failed", isAccepted: false });
    assert.equal((await job(id)).state, "failed");
  });

  /** Renews a job for longer than a runner may be silent; false when the machine made it silent for too long. */
  async function keepRenewing(message) {
    let last = performance.now();
    await hand.start(message);
    for (let i = 0; i < 6; i++) {
      await new Promise((resolve) => setTimeout(resolve, SILENT_MS / 3));
      const sent = performance.now();
      const answer = await hand.renew(message);
      if (performance.now() - last >= SILENT_MS) return false;
      assert.deepEqual(answer, [{ jobId: message.jobId, state: "running" }]);
      last = sent;
    }
    return true;
  }

  test("a runner that renews keeps its job", async () => {
    let message;
    let isKept = false;
    for (let left = 10; left > 0 && !isKept; left--) {
      message = await messageOf(await schedule("acts:once", { key: "long" }));
      isKept = await keepRenewing(message);
    }
    assert.ok(isKept, "the machine never let the runner renew in time");
    const id = message.jobId;
    assert.deepEqual(await hand.renew(message, "another"), [{ jobId: id, state: "lost" }]);
    await hand.finish(message, { status: "success", value: null });
  });

  test("with retry a lost attempt is followed by another one, and fenced", async () => {
    const id = await schedule("acts:again", { key: "retry" });
    const first = await messageOf(id);
    const started = await hand.start(first);
    assert.equal(started.mode, "atLeastOnce");
    const second = await messageOf(id);
    assert.equal(second.attempt, 2);
    await mayBeSilent(60_000);
    assert.deepEqual(await hand.finish(first, { status: "success", value: 1 }), { state: "pending", isAccepted: false });
    assert.equal(await hand.start(first), null);
    await hand.start(second);
    assert.deepEqual(await hand.finish(second, { status: "error", error: "not now" }), { state: "pending", isAccepted: true });
    const third = await messageOf(id);
    assert.equal(third.attempt, 3);
    await hand.start(third);
    assert.deepEqual(await hand.finish(third, { status: "error", error: "not at all" }), { state: "failed", isAccepted: true });
    assert.equal((await job(id)).error, "not at all");
  });

  test("a cancelled job: pending it never starts, running its runner hears of it and its end is refused", async () => {
    const never = await schedule("acts:once", { key: "never" });
    const message = await messageOf(never);
    await mutation(url, "work:cancel", { id: never });
    assert.equal(await hand.start(message), null);
    const running = await schedule("acts:once", { key: "stop" });
    const taken = await messageOf(running);
    await hand.start(taken);
    await mutation(url, "work:cancel", { id: running });
    assert.deepEqual(await hand.renew(taken), [{ jobId: running, state: "cancelled" }]);
    assert.deepEqual(await hand.finish(taken, { status: "success", value: 1 }), { state: "cancelled", isAccepted: false });
  });

  test("a scheduler that is killed while actions are on their way loses none", async () => {
    const ids = await mutation(url, "work:schedule", { path: "work:scheduleActions", args: { count: 150 } }).then(() => eventually(async () => {
      const found = await query(url, "work:actionsOf", { key: "many" });
      return found.length === 150 && found;
    }));
    const runs = new Map();
    let taken = 0;
    while (runs.size < ids.length) {
      const message = await nextMessage(() => `${runs.size} of ${ids.length} came`);
      if (++taken === 30 || taken === 90) await stand.restart("scheduler");
      if (!ids.includes(message.jobId) || (await hand.start(message)) === null) continue;
      runs.set(message.jobId, (runs.get(message.jobId) ?? 0) + 1);
      await hand.finish(message, { status: "success", value: null });
    }
    assert.ok([...runs.values()].every((count) => count === 1));
  });
});
