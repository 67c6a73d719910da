// Each role killed many times under load (make deep): nothing is lost or doubled, and how long no write was acknowledged.
// FAILOVER_ROUNDS says how often; without it this is left out, since takeover, cluster and kill tests do a round of each.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";

import { app } from "../http/modes.mjs";
import { eventually as wait, ROOT, startSuite } from "../js/suite.mjs";
import { verify, writers } from "./ledger.mjs";

const ROUNDS = Number(process.env.FAILOVER_ROUNDS ?? 0);
// What a write may wait at most on a machine that does nothing else. Others' work adds seconds to single rounds, so the
// middle one of all rounds is held to it; the worst one is told.
const GAP_MS = { storage: 1000, sequencer: 3000, worker: 3000, gateway: 1000, hung: 1700 };
const CTL = join(ROOT, process.env.BB_TEST_BUILD ?? "build/release", "bin/bb-ctl");

const eventually = (probe, what) => wait(probe, { timeoutMs: 60_000, what });

function ctl(...args) {
  return new Promise((resolve) => {
    execFile(CTL, args, { encoding: "utf8" }, (_error, stdout) => {
      try {
        resolve(JSON.parse(stdout));
      } catch {
        resolve([]);
      }
    });
  });
}

const partsOf = (suite, role) => suite.names.filter((name) => name.replace(/\d+$/, "") === role);
const urlsOf = (suite, role) => partsOf(suite, role).map((name) => suite.settings(name).listen).join(",");
const partAt = (suite, role, url) => partsOf(suite, role).find((name) => suite.settings(name).listen === url);

/** The one whose death is felt: the leader of storage, the active sequencer, any worker or gateway in turn. */
async function victimOf(suite, role, round) {
  if (role === "worker" || role === "gateway") return partsOf(suite, role)[round % partsOf(suite, role).length];
  return await eventually(async () => {
    const states = await ctl("status", `--${role}`, urlsOf(suite, role), "--json");
    if (role === "sequencer") return partsOf(suite, role)[states.findIndex(({ isActive }) => isActive)];
    const leaders = states.filter(({ isLeader }) => isLeader).sort((a, b) => b.term - a.term);
    return leaders.length > 0 && partAt(suite, role, leaders[0].url);
  }, `who of ${role} is active`);
}

/** All that run are there and have the same, so that the next kill finds a whole cluster. */
async function untilWhole(suite) {
  await eventually(async () => {
    const states = await ctl("status", "--storage", urlsOf(suite, "storage"), "--json");
    return states.length === partsOf(suite, "storage").length && states.every(({ term, appliedIndex }) => term === states[0].term && Math.abs(appliedIndex - states[0].appliedIndex) < 100);
  }, "a whole cluster");
}

async function goesOn(load, count = 20) {
  const before = load.acknowledged.size;
  await eventually(() => load.acknowledged.size > before + count, "writes that go on");
}

const middle = (list) => [...list].sort((a, b) => a - b)[list.length >> 1];

describe("failover, many times", { skip: ROUNDS === 0 && "FAILOVER_ROUNDS is not set" }, () => {
  let suite;
  before(async () => {
    suite = await startSuite({ mode: "cluster", appDir: app });
  });
  after(() => suite?.stop());

  for (const role of ["storage", "sequencer", "worker", "gateway"]) {
    test(`b28_failover_${role}: nothing is lost or doubled in ${ROUNDS} kills under load`, async (t) => {
      const group = `failover-${role}`;
      const load = writers(suite.urls, group, 8);
      t.after(() => load.stop());
      const gaps = [];
      for (let round = 0; round < ROUNDS; round++) {
        await untilWhole(suite);
        await goesOn(load);
        const victim = await victimOf(suite, role, round);
        load.takeGapMs();
        await suite.kill(victim);
        await goesOn(load);
        gaps.push(load.takeGapMs());
        await suite.start(victim);
      }
      await load.stop();
      await verify(suite.url, group, load);
      t.diagnostic(`${role}: no write was acknowledged for ${middle(gaps)} ms in the middle, ${Math.max(...gaps)} ms at worst of ${ROUNDS} kills; ${load.acknowledged.size} writes`);
      assert.ok(middle(gaps) <= GAP_MS[role], `${role}: ${gaps.join(" ")} ms`);
    });
  }

  // It keeps its connections and answers nothing. The others elect one of them, the sequencer hears of it by RENEW.
  test(`b22_hung_leader: a storage leader that hangs holds writes up until the others have elected, ${ROUNDS} times`, async (t) => {
    const load = writers(suite.urls, "hung-leader", 8);
    t.after(() => load.stop());
    const gaps = [];
    for (let round = 0; round < ROUNDS; round++) {
      await untilWhole(suite);
      await goesOn(load);
      const child = suite.child(await victimOf(suite, "storage", round));
      load.takeGapMs();
      child.kill("SIGSTOP");
      try {
        await goesOn(load);
        gaps.push(load.takeGapMs());
      } finally {
        child.kill("SIGCONT");
      }
    }
    await load.stop();
    await verify(suite.url, "hung-leader", load);
    t.diagnostic(`no write was acknowledged for ${middle(gaps)} ms in the middle, ${Math.max(...gaps)} ms at worst of ${ROUNDS}`);
    assert.ok(middle(gaps) <= GAP_MS.hung, `${gaps.join(" ")} ms`);
  });
});

describe("five storage nodes", { skip: ROUNDS === 0 && "FAILOVER_ROUNDS is not set" }, () => {
  let suite;
  before(async () => {
    suite = await startSuite({ mode: "cluster", appDir: app, storages: 5, sequencers: 1, workers: 1, gateways: 1 });
  });
  after(() => suite?.stop());

  test(`b22_five_voters: the leader and another one die together, ${ROUNDS} times under load`, async (t) => {
    const load = writers(suite.url, "five", 8);
    t.after(() => load.stop());
    const gaps = [];
    for (let round = 0; round < ROUNDS; round++) {
      await untilWhole(suite);
      await goesOn(load);
      const leader = await victimOf(suite, "storage", round);
      const others = partsOf(suite, "storage").filter((name) => name !== leader);
      const victims = [leader, others[round % others.length]];
      load.takeGapMs();
      await Promise.all(victims.map((name) => suite.kill(name)));
      await goesOn(load);
      gaps.push(load.takeGapMs());
      await suite.start(...victims);
    }
    await untilWhole(suite);
    await load.stop();
    await verify(suite.url, "five", load);
    t.diagnostic(`no write was acknowledged for ${middle(gaps)} ms in the middle, ${Math.max(...gaps)} ms at worst of ${ROUNDS} kills of two`);
  });
});
