// Mutations near the limit of what one may write, each one entry of the log, on three storage nodes: small ones beside
// them go on, and nodes that are killed while such an entry is on its way lose nothing and double nothing.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";

import { eventually as wait, ROOT, startSuite } from "../js/suite.mjs";
import { post, query } from "../http/api.mjs";
import { app } from "../http/modes.mjs";
import { verify, writers } from "./ledger.mjs";

const CTL = join(ROOT, process.env.BB_TEST_BUILD ?? "build/release", "bin/bb-ctl");
const NODES = ["storage", "storage2", "storage3"];
const COUNT = 14;
const BODY = "large ".repeat(160_000); // 0.96 MB, of which COUNT go into one mutation
const eventually = (probe, what) => wait(probe, { what });

function statusOf(suite) {
  const urls = NODES.map((name) => suite.settings(name).listen).join(",");
  return new Promise((resolve) => {
    execFile(CTL, ["status", "--storage", urls, "--json"], { encoding: "utf8" }, (_error, stdout) => resolve(JSON.parse(stdout || "[]")));
  });
}

async function leaderOf(suite) {
  return await eventually(async () => {
    const [newest] = (await statusOf(suite)).filter(({ isLeader }) => isLeader).sort((a, b) => b.term - a.term);
    return newest && NODES.find((name) => suite.settings(name).listen === newest.url);
  }, "a leader");
}

/** All have applied the same. */
async function untilEqual(suite) {
  await eventually(async () => {
    const states = await statusOf(suite);
    return states.length === NODES.length && states.every(({ lastTx, appliedIndex }) => appliedIndex !== undefined && lastTx === states[0].lastTx && appliedIndex === states[0].appliedIndex);
  }, "equal replicas");
}

/** One large mutation with a key of its own, until it is acknowledged. */
async function addLarge(suite, group, from) {
  const call = { path: "items:addMany", args: { group, from, count: COUNT, body: BODY } };
  let stopped = 0; // a function that a busy machine left too little time has done nothing: that was the answer to its key
  await eventually(async () => {
    const answer = await post(suite.url, "/api/mutation", call, { "idempotency-key": `${group}-${from}-${stopped}` }).catch(() => undefined);
    if (answer === undefined || answer.status === 503) return false; // nobody knows, or it was not begun
    assert.equal(answer.status, 200, answer.text);
    if (answer.body.code === "FunctionTimeout") stopped++;
    else assert.equal(answer.body.status, "success", answer.text);
    return answer.body.status === "success";
  }, `the large mutation ${group}-${from}`);
}

/** Each document of `rounds` large mutations is there once, whole. */
async function verifyLarge(suite, group, rounds) {
  const numbers = [];
  for (let page = null; page === null || page.length > 0; numbers.push(...page))
    page = await eventually(() => query(suite.url, "items:numbers", { group, above: numbers.at(-1) ?? -1, take: 8 }).catch(() => null), "a page");
  assert.deepEqual(numbers, Array.from({ length: rounds * COUNT }, (_, n) => n));
}

/** Bytes that the process has read or written so far, on whatever. */
function moved(pid, which) {
  return Number(new RegExp(`^${which}: (\\d+)`, "m").exec(readFileSync(`/proc/${pid}/io`, "utf8"))[1]);
}

/** Resolves when this many bytes have come or gone since: the entry is on its way. */
async function untilMoved(pid, which, bytes) {
  const start = moved(pid, which);
  await eventually(() => moved(pid, which) >= start + bytes, "bytes of the entry");
}

describe("large mutations on three storage nodes", () => {
  let suite;
  before(async () => {
    suite = await startSuite({ mode: "cluster", appDir: app, sequencers: 1, workers: 1, gateways: 1 });
  });
  after(() => suite?.stop());

  test("b22_large: two at once beside small ones, several times: all happen, and once", async (t) => {
    const term = async () => Math.max(...(await statusOf(suite)).map((state) => state.term ?? 0));
    const before = await term();
    const load = writers(suite.url, "small", 8);
    t.after(() => load.stop());
    await eventually(() => load.acknowledged.size > 30, "small writes");
    load.takeGapMs();
    for (let round = 0; round < 3; round++) await Promise.all([0, 1].map((k) => addLarge(suite, "large", (2 * round + k) * COUNT)));
    const done = load.acknowledged.size;
    await eventually(() => load.acknowledged.size > done + 30, "small writes that go on");
    await load.stop();
    await verify(suite.url, "small", load);
    await verifyLarge(suite, "large", 6);
    await untilEqual(suite);
    t.diagnostic(`no small write was acknowledged for ${load.takeGapMs()} ms at most; ${(await term()) - before} elections`);
  });

  for (const [kind, which] of [
    ["follower", "rchar"],
    ["leader", "wchar"],
  ]) {
    test(`b22_kill_large_${kind}: kill -9 while a large entry comes to it or goes from it`, async (t) => {
      const [small, large] = [`small ${kind}`, `large ${kind}`];
      const load = writers(suite.url, small, 8);
      t.after(() => load.stop());
      for (let round = 0; round < 2; round++) {
        const leader = await leaderOf(suite);
        const victim = kind === "leader" ? leader : NODES.find((name) => name !== leader);
        const added = addLarge(suite, large, round * COUNT);
        await untilMoved(suite.pid(victim), which, 4_000_000);
        await suite.kill(victim);
        await added;
        const done = load.acknowledged.size;
        await eventually(() => load.acknowledged.size > done + 20, "small writes that go on");
        await suite.start(victim);
      }
      await load.stop();
      await verify(suite.url, small, load);
      await verifyLarge(suite, large, 2);
      await untilEqual(suite);
    });
  }
});
