// BitBend with one storage node or three, each role a process of its own; beside it etcd with three members. And what a killed
// process costs: the longest time without an acknowledged write.
import { execFile } from "node:child_process";
import { rmSync } from "node:fs";
import { join } from "node:path";

import { startSuite } from "../integration/js/suite.mjs";
import { verify, writers } from "../integration/faults/ledger.mjs";
import { keys, load, record, root, sleep, start, stop, until, wants } from "./common.mjs";
import { hasEtcd, startMembers } from "./etcd.mjs";

const CTL = join(root, "build/release/bin/bb-ctl");
const KILLS = 3; // of each role in a round
const WRITERS = 16;

const pidsOf = (suite) => suite.names.map((name) => suite.pid(name));
const partsOf = (suite, role) => suite.names.filter((name) => name.replace(/\d+$/, "") === role);
const urlOf = (suite, name) => suite.settings(name).listen;

function status(role, urls) {
  return new Promise((resolve) => {
    execFile(CTL, ["status", `--${role}`, urls.join(","), "--json"], { encoding: "utf8" }, (_error, stdout) => {
      try {
        resolve(JSON.parse(stdout));
      } catch {
        resolve([]);
      }
    });
  });
}

/** A suite on the disk that the others use. */
function startOnDisk(options) {
  process.env.TMPDIR = "/var/tmp";
  return startSuite({ mode: "cluster", showErrors: false, ...options });
}

/** The same processes with `storages` storage nodes. */
export async function benchProcesses(run, storages, system) {
  if (!wants("w1_counter") && !wants("w1_single")) return;
  const suite = await startOnDisk({ appDir: join(root, "tests/bench/app"), storages, sequencers: 1, workers: 1, gateways: 1, schedulers: 1 });
  try {
    for (let from = 0; from < keys; from += 1000) await suite.call("bench:seed", { from, count: 1000 });
    for (const workload of ["w1_counter", "w1_single"]) {
      await load({ run, workload, system, protocol: "http", ports: [new URL(suite.url).port], pids: pidsOf(suite),
        argv: ["--route", "/api/mutation", "--path", "bench:increment"] });
    }
  } finally {
    await suite.stop();
  }
}

// ---- failover ----

/** The one whose death is felt. */
async function victimOf(suite, role, round) {
  const names = partsOf(suite, role);
  if (role === "worker" || role === "gateway") return names[round % names.length];
  for (;;) {
    const states = await status(role, names.map((name) => urlOf(suite, name)));
    const found = role === "sequencer" ? names[states.findIndex(({ isActive }) => isActive)]
      : names.find((name) => urlOf(suite, name) === states.filter(({ isLeader }) => isLeader).sort((a, b) => b.term - a.term)[0]?.url);
    if (found !== undefined) return found;
    await sleep(20);
  }
}

async function goesOn(writes) {
  const before = writes.acknowledged.size;
  await until("writes that go on", () => writes.acknowledged.size > before + 50, 60_000);
}

function gapRecord(run, system, gaps, writes, lost) {
  const sorted = [...gaps].sort((a, b) => a - b);
  record({ workload: "w13_failover", system, run, kills: gaps.length, gap_ms: sorted[sorted.length >> 1], gap_ms_max: sorted.at(-1), ops: writes, errors: lost });
}

async function benchRole(run, suite, role) {
  const group = `w13-${role}-${run}`;
  const writes = writers(suite.urls, group, WRITERS);
  const gaps = [];
  for (let round = 0; round < KILLS; round++) {
    await goesOn(writes);
    const victim = await victimOf(suite, role, round);
    writes.takeGapMs();
    await suite.kill(victim);
    await goesOn(writes);
    gaps.push(writes.takeGapMs());
    await suite.start(victim);
    await sleep(500);
  }
  await writes.stop();
  const lost = await verify(suite.url, group, writes).then(() => 0, (error) => (console.log(error.message), 1));
  gapRecord(run, `bitbend-${role}`, gaps, writes.acknowledged.size, lost);
}

export async function benchFailover(run) {
  if (!wants("w13_failover")) return;
  const suite = await startOnDisk({ appDir: join(root, "tests/integration/app") });
  try {
    for (const role of ["storage", "sequencer", "worker", "gateway"]) await benchRole(run, suite, role);
  } finally {
    await suite.stop();
  }
  if (hasEtcd) {
    await benchEtcdLeader(run, "etcd3", []);
    await benchEtcdLeader(run, "etcd3-tuned", ["--heartbeat-interval", "10", "--election-timeout", "100"]);
  }
}

// ---- the same of etcd ----

const base64 = (text) => Buffer.from(String(text)).toString("base64");

/** Like `writers`, of etcd's HTTP gateway. */
function etcdWriters(ports) {
  const state = { acknowledged: new Set(), stopped: false, lastAt: performance.now(), gapMs: 0 };
  state.takeGapMs = () => {
    const gap = Math.round(state.gapMs);
    state.gapMs = 0;
    return gap;
  };
  const clients = Array.from({ length: WRITERS }, async (_, client) => {
    for (let i = 0, attempt = client; !state.stopped; ) {
      const body = JSON.stringify({ key: base64(`${client}/${i}`), value: base64(i) });
      const done = await fetch(`http://127.0.0.1:${ports[attempt % ports.length]}/v3/kv/put`, { method: "POST", body, signal: AbortSignal.timeout(1000) }).then(({ ok }) => ok, () => false);
      if (!done) {
        attempt++;
        await sleep(30);
        continue;
      }
      const now = performance.now();
      state.gapMs = Math.max(state.gapMs, now - state.lastAt);
      state.lastAt = now;
      state.acknowledged.add(`${client}/${i++}`);
    }
  });
  state.stop = async () => {
    state.stopped = true;
    await Promise.all(clients);
  };
  return state;
}

async function etcdLeader(members) {
  for (;; await sleep(20)) {
    for (const { client } of members) {
      const answer = await fetch(`http://127.0.0.1:${client}/v3/maintenance/status`, { method: "POST", body: "{}" }).then((reply) => reply.json(), () => null);
      if (answer?.leader !== undefined && answer.leader === answer.header.member_id) return members.find((member) => member.client === client);
    }
  }
}

async function benchEtcdLeader(run, system, more) {
  const members = await startMembers(3, more);
  try {
    const writes = etcdWriters(members.map(({ client }) => client));
    const gaps = [];
    for (let round = 0; round < KILLS; round++) {
      await goesOn(writes);
      const leader = await etcdLeader(members);
      writes.takeGapMs();
      leader.child.kill("SIGKILL");
      await goesOn(writes);
      gaps.push(writes.takeGapMs());
      leader.child = start(leader.argv[0], leader.argv.slice(1));
      await sleep(1500);
    }
    await writes.stop();
    gapRecord(run, system, gaps, writes.acknowledged.size, 0);
  } finally {
    for (const { child, dir } of members) {
      await stop(child);
      rmSync(dir, { recursive: true, force: true });
    }
  }
}
