// Processes die while jobs run; then the checkers judge what is there.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";

import { actionsMissing, startStand } from "../actions/stand.mjs";
import { Ways } from "../faults/ways.mjs";
import { eventually, mutation, post, query } from "../http/api.mjs";
import { ROOT, startSuite, suiteMissing } from "../js/suite.mjs";
import { functions } from "./app.mjs";
import { takeHand } from "./hand.mjs";

const CHECK = join(ROOT, process.env.BB_TEST_BUILD ?? "build/release", "test/check");

/** Schedules until it is told to stop; every job has a key of its own that its run leaves behind. */
function keepScheduling(url, path, told) {
  let isOver = false;
  const done = (async () => {
    for (let n = 0; !isOver; n++) {
      const key = `job ${n}`;
      const answer = await post(url, "/api/mutation", { path: "work:schedule", args: { path, args: { key }, delay: (n % 5) * 40 } }).catch(() => null);
      const outcome = answer?.body?.status === "success" ? "ok" : "unknown";
      told.push({ type: "scheduled", id: outcome === "ok" ? answer.body.value[0] : key, outcome, key });
      await new Promise((resolve) => setTimeout(resolve, 15));
    }
  })();
  return async () => {
    isOver = true;
    await done;
  };
}

/** The rows and what they left behind as lines for the checkers; fails when those find something. */
function judge(suite, lines) {
  const file = join(suite.dir, "jobs.jsonl");
  writeFileSync(file, lines.map((line) => `${JSON.stringify(line)}\n`).join(""));
  const { status, stdout } = spawnSync(CHECK, [file], { encoding: "utf8" });
  assert.equal(status, 0, stdout);
  return stdout;
}

const rowLines = (rows) =>
  rows.map(({ _id, kind, state, due, maxAttempts }) => ({ type: "job", id: _id, kind, state, due: Math.floor(due * 1000), max: Number(maxAttempts) }));

test("mutation jobs run exactly once though scheduler, worker, sequencer and storage are killed", { skip: suiteMissing() }, async (t) => {
  const suite = await startSuite({ mode: "processes", functions, schedulers: 2 });
  t.after(() => suite.stop());
  const told = [];
  const stop = keepScheduling(suite.url, "work:mark", told);
  for (const name of ["scheduler", "worker", "storage", "scheduler2", "sequencer", "scheduler", "worker"]) {
    await new Promise((resolve) => setTimeout(resolve, 500));
    await suite.restart(name);
  }
  await eventually(() => told.filter(({ outcome }) => outcome === "ok").length > 60, 60_000);
  await stop();
  await eventually(async () => (await query(suite.url, "work:inState", { state: "pending" })) === 0, 60_000);
  const rows = await query(suite.url, "work:allJobs", {});
  const runs = await query(suite.url, "work:allRuns", {});
  const byKey = new Map(rows.map((row) => [row.args.key, row._id]));
  const said = judge(suite, [
    ...told.filter(({ outcome }) => outcome === "ok").map(({ key, ...line }) => line),
    ...rowLines(rows),
    ...runs.map(({ key, _creationTime }) => ({ type: "run", job: byKey.get(key) ?? key, attempt: 1, start: Math.floor(_creationTime * 1000) + 1000 })),
  ]);
  assert.ok(rows.length > 50, said);
  assert.ok(rows.every(({ state }) => state === "done"));
});

test("a standby goes on when the active scheduler is killed and does not come back", { skip: suiteMissing() }, async (t) => {
  const suite = await startSuite({ mode: "processes", functions, schedulers: 2 });
  t.after(() => suite.stop());
  const runs = () => query(suite.url, "work:runs", { key: "k" });
  await mutation(suite.url, "work:schedule", { path: "work:mark", args: { key: "k" } });
  await eventually(async () => (await runs()).length === 1);
  const { holder } = (await suite.call("_system:tableData", { table: "_leases" })).page[0];
  await suite.kill(holder);
  await mutation(suite.url, "work:schedule", { path: "work:mark", args: { key: "k" } });
  await eventually(async () => (await runs()).length === 2);
  const after = (await suite.call("_system:tableData", { table: "_leases" })).page[0];
  assert.notEqual(after.holder, holder);
});

test("jobs go to the worker that reaches the sequencer when another one does not", { skip: suiteMissing() }, async (t) => {
  const ways = new Ways();
  const suite = await startSuite({ mode: "processes", functions, ways, workers: 2 });
  t.after(() => suite.stop());
  const calls = async () => Number((await suite.http("/api/admin/status", { method: "GET", headers: { authorization: `BitBend ${suite.adminKey}` } })).json.workers[1].calls);
  /** Forty jobs, one after the other; how many calls the second worker had meanwhile. */
  async function round(key) {
    const begun = await calls();
    for (let n = 0; n < 40; n++) await mutation(suite.url, "work:schedule", { path: "work:mark", args: { key }, delay: n });
    await eventually(async () => (await query(suite.url, "work:runs", { key })).length === 40);
    await new Promise((resolve) => setTimeout(resolve, 2500)); // what it is asked by gateways is up to a second old
    return (await calls()) - begun;
  }
  assert.ok((await round("before")) > 0);
  ways.set("worker2", "sequencer", "cut");
  let rounds = 0;
  await eventually(async () => (await round(`cut ${rounds++}`)) === 0);
  ways.heal();
  await eventually(async () => (await round(`after ${rounds++}`)) > 0);
});

test("actions run at most as often as promised though NATS, scheduler and runners are killed", { skip: actionsMissing() }, async (t) => {
  const stand = await startStand({ mode: "processes", functions, runners: 0, options: { scheduler: { "requeue-ms": 1000, "runner-ms": 1500 } } });
  t.after(() => stand.stop());
  const ran = [];
  let isOver = false;
  // A runner that "dies" with every seventh job, and comes back under another name.
  const work = async (number) => {
    let hand = null;
    for (let n = 0, life = 0; !isOver; n++) {
      try {
        hand ??= await takeHand({ nats: stand.nats, suite: stand, name: `hand ${number}.${life++}` });
        const message = await hand.next(1000);
        if (message === null) continue;
        const started = await hand.start(message).catch((error) => {
          message.nak(); // else it comes again when the time for its acknowledgement is over
          throw error;
        });
        message.ack();
        if (started === null) continue;
        ran.push({ type: "run", job: message.jobId, attempt: message.attempt, start: Date.now() * 1000 + 1000 });
        if (n % 7 === 6) throw new Error("the runner died");
        await hand.finish(message, n % 5 === 4 ? { status: "error", error: "no luck" } : { status: "success", value: null });
      } catch {
        await hand?.close().catch(() => {});
        hand = null;
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
    }
    await hand?.close();
  };
  const workers = [work(1), work(2)];
  const told = [];
  const stops = [keepScheduling(stand.url, "acts:once", told), keepScheduling(stand.url, "acts:again", told)];
  for (const kill of [() => stand.restart("scheduler"), () => stand.natsServer.kill("SIGKILL"), () => stand.restart("scheduler"), () => stand.restart("gateway")]) {
    await new Promise((resolve) => setTimeout(resolve, 700));
    await kill();
    if (stand.natsServer.exitCode !== null || stand.natsServer.signalCode !== null || stand.natsServer.killed) await stand.natsServer.exited.then(() => stand.startNats());
  }
  await eventually(() => told.filter(({ outcome }) => outcome === "ok").length > 60, 60_000);
  await Promise.all(stops.map((stop) => stop()));
  const open = async () => (await query(stand.url, "work:inState", { state: "pending" })) + (await query(stand.url, "work:inState", { state: "running" }));
  await eventually(async () => (await open()) === 0, 60_000);
  isOver = true;
  await Promise.all(workers);
  const rows = await query(stand.url, "work:allJobs", {});
  const said = judge(stand, [...told.filter(({ outcome }) => outcome === "ok").map(({ key, ...line }) => line), ...rowLines(rows), ...ran]);
  assert.ok(rows.length > 50, said);
  assert.ok(rows.some(({ state }) => state === "done") && rows.some(({ attempt }) => Number(attempt) > 1));
});
