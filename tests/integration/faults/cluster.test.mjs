// Three storage nodes as processes of their own: kills of any of them under load lose nothing that was
// acknowledged, nodes come and go, and who does not belong is not let in.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { cpSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";

import { eventually as wait, freePorts, ROOT, startSuite } from "../js/suite.mjs";
import { post, query, subscribe } from "../http/api.mjs";
import { app } from "../http/modes.mjs";
import { verify, writers } from "./ledger.mjs";

const CTL = join(ROOT, process.env.BB_TEST_BUILD ?? "build/release", "bin/bb-ctl");
const NODES = ["storage", "storage2", "storage3"];
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const eventually = (probe, what) => wait(probe, { what });

function ctl(...args) {
  return new Promise((resolve) => {
    execFile(CTL, args, { encoding: "utf8" }, (error, stdout, stderr) => resolve({ code: error === null ? 0 : error.code, stdout, stderr }));
  });
}

function urlsOf(suite, names = NODES) {
  return names.map((name) => suite.settings(name).listen).join(",");
}

async function members(suite, ...words) {
  const { code, stdout, stderr } = await ctl("members", ...words, "--storage", urlsOf(suite), "--json");
  return { code, stderr, list: code === 0 ? JSON.parse(stdout) : [] };
}

/** The part that leads, by its name. */
async function leaderOf(suite) {
  return await eventually(async () => {
    const { stdout } = await ctl("status", "--storage", urlsOf(suite), "--json");
    const leaders = JSON.parse(stdout).filter(({ isLeader }) => isLeader);
    if (leaders.length === 0) return undefined;
    const newest = leaders.reduce((a, b) => (b.term > a.term ? b : a));
    return suite.names.concat(["storage4"]).find((name) => name.startsWith("storage") && suite.settings(name)?.listen === newest.url);
  }, "a leader");
}

async function moreAcknowledged(load, count = 30) {
  const before = load.acknowledged.size;
  await eventually(() => load.acknowledged.size > before + count, "writes that go on");
}

/** All that run have applied the same transactions. */
async function untilEqual(suite, names = NODES) {
  await eventually(async () => {
    const { code, stdout } = await ctl("status", "--storage", urlsOf(suite, names), "--json");
    const states = code === 0 ? JSON.parse(stdout) : [];
    return states.length === names.length && states.every(({ lastTx, appliedIndex }) => lastTx === states[0].lastTx && appliedIndex === states[0].appliedIndex);
  }, "equal replicas");
}

describe("three storage nodes under load", () => {
  let suite;
  before(async () => {
    suite = await startSuite({ mode: "cluster", appDir: app, sequencers: 1, workers: 1, gateways: 1 });
  });
  after(() => suite?.stop());

  test("b22_kill_leader, b22_kill_follower: nothing acknowledged is lost, the load goes on", async (t) => {
    const load = writers(suite.url, "leader", 8);
    await moreAcknowledged(load);
    for (const kind of ["leader", "follower", "leader"]) {
      const leader = await leaderOf(suite);
      const victim = kind === "leader" ? leader : NODES.find((name) => name !== leader);
      load.takeGapMs();
      await suite.kill(victim);
      await moreAcknowledged(load);
      t.diagnostic(`kill -9 of a ${kind}: ${load.takeGapMs()} ms without an acknowledgement`);
      await suite.start(victim);
      await moreAcknowledged(load);
    }
    await load.stop();
    await verify(suite.url, "leader", load);
    await untilEqual(suite);
  });

  test("b22_hung_node: each of the three hangs for a while; writes, reads from storage and subscriptions go on", async (t) => {
    const load = writers(suite.url, "hung", 8);
    const stream = await subscribe(suite.url, "items:numbers", { group: "seen", above: -1, take: 60 });
    t.after(() => (load.stop(), stream.close()));
    for (const [round, name] of NODES.entries()) {
      await moreAcknowledged(load);
      const child = suite.child(name);
      child.kill("SIGSTOP");
      try {
        await moreAcknowledged(load);
        const add = { path: "items:add", args: { group: "seen", n: round } };
        await eventually(async () => (await post(suite.url, "/api/mutation", add, { "idempotency-key": `seen-${round}` })).status === 200, "a write");
        await eventually(() => stream.events.some(({ data }) => data?.value?.length === round + 1), "news on the stream");
        await eventually(async () => (await query(suite.url, "items:numbers", { group: `none ${round}`, above: -1, take: 60 })).length === 0, "a range that nobody has read");
      } finally {
        child.kill("SIGCONT");
      }
    }
    await load.stop();
    await verify(suite.url, "hung", load);
    await untilEqual(suite);
  });

  test("b22_kill_all_storage: all three at once", async () => {
    const load = writers(suite.url, "all", 8);
    await moreAcknowledged(load);
    await Promise.all(NODES.map((name) => suite.kill(name)));
    await suite.start();
    await moreAcknowledged(load);
    await load.stop();
    await verify(suite.url, "all", load);
    await untilEqual(suite);
  });

  test("b28_planned_stop_of_the_leader: it hands over first", async (t) => {
    const load = writers(suite.url, "stop", 8);
    await moreAcknowledged(load);
    const leader = await leaderOf(suite);
    load.takeGapMs();
    await suite.kill(leader, "SIGTERM");
    await moreAcknowledged(load);
    t.diagnostic(`stop of the leader: ${load.takeGapMs()} ms without an acknowledgement`);
    assert.match(readFileSync(join(suite.dir, `${leader}.log`), "utf8"), /replog\.transferred .*status=Ok/);
    await suite.start(leader);
    await load.stop();
    await verify(suite.url, "stop", load);
  });

  test("b28_members: a node is added, promoted and takes part; one is removed for ever", async () => {
    const load = writers(suite.url, "members", 4);
    await moreAcknowledged(load);
    const [port, raftPort] = await freePorts(2);
    const url = `tcp://127.0.0.1:${port}`;
    const address = `127.0.0.1:${raftPort}`;
    const { peers: _, ...settings } = suite.settings("storage");
    await suite.add("storage4", "storage", { ...settings, listen: url, "raft-id": 4, "raft-listen": address, join: true, data: join(suite.dir, "data4") });
    suite.startWith("storage4", {});

    const added = await members(suite, "add", "4", url, address);
    assert.equal(added.code, 0, added.stderr);
    assert.equal(added.list.find(({ id }) => id === 4).role, "standby");
    assert.equal((await members(suite, "add", "4", url, address)).code, 0, "asked again by who did not hear that it was done");
    const other = await members(suite, "add", "4", url, `127.0.0.1:${(await freePorts(1))[0]}`);
    assert.equal(other.code, 1);
    assert.match(other.stderr, /there is a node 4 already/);
    const promoted = await members(suite, "promote", "4");
    assert.equal(promoted.code, 0, promoted.stderr);
    assert.deepEqual(promoted.list.map(({ id, role }) => `${id} ${role}`), ["1 voter", "2 voter", "3 voter", "4 voter"]);
    assert.equal((await members(suite, "promote", "4")).code, 0, "asked again by who did not hear that it was done");
    for (const slip of ["4.5", "4x", "0", "", "99999999999999999999"]) {
      const slipped = await members(suite, "remove", slip);
      assert.equal(slipped.code, 2, slip);
      assert.match(slipped.stderr, /is no number of a storage node/);
    }

    const follower = NODES.find((name) => name !== undefined && promoted.list.find(({ id, isLeader }) => id === suite.settings(name)["raft-id"] && !isLeader));
    const number = suite.settings(follower)["raft-id"];
    const removed = await members(suite, "remove", String(number));
    assert.equal(removed.code, 0, removed.stderr);
    assert.equal(removed.list.find(({ id }) => id === number).role, "removed");
    assert.equal((await members(suite, "remove", String(number))).code, 0, "asked again by who did not hear that it was done");
    // It runs on and was not told; who asks it first hears of it all the same.
    const told = await ctl("members", "--storage", urlsOf(suite, [follower, ...NODES]), "--json");
    assert.equal(JSON.parse(told.stdout).find(({ id }) => id === number).role, "removed");
    const alone = await ctl("members", "--storage", suite.settings(follower).listen);
    assert.match(alone.stdout + alone.stderr, /removed|no storage node leads: this is what .* knows, it may be old/);
    await suite.kill(follower);
    const back = await members(suite, "add", String(number), suite.settings(follower).listen, suite.settings(follower)["raft-listen"]);
    assert.equal(back.code, 1);
    assert.match(back.stderr, /was removed; a number is not used again/);
    assert.match((await members(suite, "remove", "9")).stderr, /there is no node 9/);
    assert.match((await members(suite, "promote", "9")).stderr, /there is no node 9/);
    const self = (await members(suite)).list.find(({ isLeader }) => isLeader).id;
    assert.match((await members(suite, "remove", String(self))).stderr, /leads: stop it/);

    await moreAcknowledged(load);
    await load.stop();
    const left = [...NODES.filter((name) => name !== follower), "storage4"];
    await untilEqual(suite, left);
    await verify(suite.url, "members", load);
  });
});

describe("who is let in among storage nodes", () => {
  let suite;
  before(async () => {
    suite = await startSuite({ mode: "cluster", appDir: app, sequencers: 1, workers: 1, gateways: 1 });
  });
  after(() => suite?.stop());

  test("a node with another secret hears nothing and is not listened to", async () => {
    await suite.kill("storage3");
    const secret = join(suite.dir, "another-secret");
    writeFileSync(secret, "what somebody may have guessed\n");
    suite.startWith("storage3", { "secret-file": secret });
    const load = writers(suite.url, "secret", 4);
    await moreAcknowledged(load);
    await load.stop();
    const log = () => readFileSync(join(suite.dir, "storage3.log"), "utf8");
    await eventually(() => /replog\.peer_refused .*does not know the cluster's secret|hung up/.test(log()), "a refusal in the log");
    const { stdout } = await ctl("status", "--storage", suite.settings("storage3").listen, "--json");
    assert.equal(JSON.parse(stdout)[0].isLeader ?? false, false);
    await suite.kill("storage3");
    await suite.start("storage3");
    await untilEqual(suite);
    await verify(suite.url, "secret", load);
  });

  test("b22_damaged_follower: a log that lost what it had acknowledged is refused, though others have it", async () => {
    const load = writers(suite.url, "damaged", 4);
    await moreAcknowledged(load, 150);
    await load.stop();
    await untilEqual(suite);
    const leader = await leaderOf(suite);
    const victim = NODES.find((name) => name !== leader);
    const isKept = async () => JSON.parse((await ctl("status", "--storage", suite.settings(victim).listen, "--json")).stdout).every(({ flushedTx, lastTx }) => flushedTx === lastTx);
    await eventually(isKept, "the data in its file");
    await suite.kill(victim);
    const raft = join(suite.settings(victim).data, "raft");
    cpSync(raft, `${raft}.whole`, { recursive: true });
    for (const name of readdirSync(raft).filter((name) => name.startsWith("open-"))) {
      const bytes = readFileSync(join(raft, name));
      const end = bytes.findLastIndex((byte) => byte !== 0);
      bytes[Math.floor(end * 0.3)] ^= 1; // whole entries come after it
      writeFileSync(join(raft, name), bytes);
    }
    for (let times = 0; times < 2; times++) assert.equal(await suite.startWith(victim, {}).exited, "exit code 1", suite.logs());
    assert.match(readFileSync(join(suite.dir, `${victim}.log`), "utf8"), /it ends at entry \d+, and had all up to entry \d+/);
    rmSync(raft, { recursive: true });
    renameSync(`${raft}.whole`, raft);
    await suite.start(victim);
    await untilEqual(suite);
    await verify(suite.url, "damaged", load);
  });

  test("b22_older_copy: a node on an older copy of its whole folder ends and says that it forgot, or is brought forward", async () => {
    const leader = await leaderOf(suite);
    const victim = NODES.find((name) => name !== leader);
    const folder = suite.settings(victim).data;
    const load = writers(suite.url, "older", 8);
    await moreAcknowledged(load);
    await suite.kill(victim);
    cpSync(folder, `${folder}.older`, { recursive: true });
    await suite.start(victim);
    await moreAcknowledged(load, 1500);
    await load.stop();
    await untilEqual(suite);
    await suite.kill(victim);
    renameSync(folder, `${folder}.newest`);
    renameSync(`${folder}.older`, folder);
    // A leader whose log does not reach back so far any more sends its state, and nothing is missing.
    const older = suite.startWith(victim, {});
    const end = await Promise.race([older.exited, untilEqual(suite).then(() => "brought forward")]);
    if (end !== "brought forward") {
      assert.equal(end, "exit code 73", suite.logs());
      assert.match(readFileSync(join(suite.dir, `${victim}.log`), "utf8"), /this node had all up to entry \d+, and its log ends at entry \d+: the folder is an older copy/);
      rmSync(folder, { recursive: true });
      renameSync(`${folder}.newest`, folder);
      suite.startWith(victim, {});
      await suite.restart(leader); // it would send the node what it has for as long as its term lasts
    }
    await untilEqual(suite);
    await verify(suite.url, "older", load);
  });

  test("b22_older_start: of nodes that were all stopped the one with the newest entries leads, though another one has an older copy", async () => {
    const newest = await leaderOf(suite);
    const [older, behind] = NODES.filter((name) => name !== newest);
    const folders = NODES.map((name) => suite.settings(name).data);
    const sequencers = suite.names.filter((name) => name.startsWith("sequencer"));
    const load = writers(suite.url, "start", 8);
    await moreAcknowledged(load);
    await suite.kill(older);
    cpSync(suite.settings(older).data, `${suite.settings(older).data}.older`, { recursive: true });
    await suite.start(older);
    await moreAcknowledged(load, 300);
    await suite.kill(behind);
    await moreAcknowledged(load, 300);
    await load.stop();
    for (const name of [...sequencers, older]) await suite.kill(name);
    await suite.kill(newest, "SIGTERM");
    rmSync(suite.settings(older).data, { recursive: true });
    renameSync(`${suite.settings(older).data}.older`, suite.settings(older).data);
    // The other two could elect the one that is behind: by chance, so they are all started some times.
    for (const folder of folders) cpSync(folder, `${folder}.stopped`, { recursive: true });
    for (let times = 0; times < 4; times++) {
      for (const name of NODES) suite.startWith(name, {});
      assert.equal(await leaderOf(suite), newest, suite.logs());
      for (const name of NODES) await suite.kill(name);
      for (const folder of folders) {
        rmSync(folder, { recursive: true });
        cpSync(`${folder}.stopped`, folder, { recursive: true });
      }
    }
    await suite.start(...NODES);
    await suite.start(...sequencers);
    await untilEqual(suite);
    await verify(suite.url, "start", load);
    for (const folder of folders) rmSync(`${folder}.stopped`, { recursive: true });
  });

  test("b22_lost_disk: a node without its disk is not let in under its old number, and is under a new one", async () => {
    const load = writers(suite.url, "disk", 4);
    await moreAcknowledged(load);
    const leader = await leaderOf(suite);
    const lost = NODES.find((name) => name !== leader);
    // A folder can be told from another one when its node has announced it.
    const isKnown = async () => (await ctl("members", "--storage", urlsOf(suite, [leader]))).stdout.includes(suite.settings(lost).listen);
    await eventually(isKnown, "the announcement");
    await suite.kill(lost);
    rmSync(suite.settings(lost).data, { recursive: true });
    suite.startWith(lost, {});
    const log = () => readFileSync(join(suite.dir, `${lost}.log`), "utf8");
    await eventually(() => /storage\.refused_by_peer .*had another data folder/.test(log()), "the refusal");
    await moreAcknowledged(load);
    await suite.kill(lost);
    rmSync(suite.settings(lost).data, { recursive: true });

    const [port, raftPort] = await freePorts(2);
    const { peers: _, ...settings } = suite.settings(lost);
    await suite.add("storage5", "storage", { ...settings, listen: `tcp://127.0.0.1:${port}`, "raft-id": 5, "raft-listen": `127.0.0.1:${raftPort}`, join: true });
    suite.startWith("storage5", {});
    const list = NODES.filter((name) => name !== lost);
    const added = await ctl("members", "add", "5", `tcp://127.0.0.1:${port}`, `127.0.0.1:${raftPort}`, "--storage", urlsOf(suite, list));
    assert.equal(added.code, 0, added.stderr);
    const promoted = await ctl("members", "promote", "5", "--storage", urlsOf(suite, list));
    assert.equal(promoted.code, 0, promoted.stderr);
    await moreAcknowledged(load);
    await load.stop();
    await untilEqual(suite, [...list, "storage5"]);
    await verify(suite.url, "disk", load);
    await pause(10);
  });
});

describe("all storage nodes are replaced while the others run", () => {
  const NEW = ["storage4", "storage5"];
  const ALL = [...NODES, ...NEW];
  let suite;
  before(async () => {
    suite = await startSuite({ mode: "cluster", appDir: app, sequencers: 1, workers: 1, gateways: 1, schedulers: 1 });
  });
  after(() => suite?.stop());

  const log = (name) => readFileSync(join(suite.dir, `${name}.log`), "utf8");
  async function change(...words) {
    await eventually(async () => {
      const { code, stderr } = await ctl("members", ...words, "--storage", urlsOf(suite, ALL));
      return code === 0 || / already/.test(stderr);
    }, `members ${words.join(" ")}`);
  }
  async function startNew(name, id) {
    const [port, raftPort] = await freePorts(2);
    const own = { listen: `tcp://127.0.0.1:${port}`, "raft-id": id, "raft-listen": `127.0.0.1:${raftPort}`, data: join(suite.dir, `data${id}`) };
    const { peers: _, ...settings } = suite.settings("storage");
    await suite.add(name, "storage", { ...settings, ...own, join: true });
    suite.startWith(name, {});
  }

  test("b28_members_replaced: storage goes from 1, 2, 3 to 3, 4, 5, then 3 dies; workers, gateways and schedulers go on", async (t) => {
    const load = writers(suite.url, "replaced", 4);
    const stream = await subscribe(suite.url, "items:numbers", { group: "seen", above: -1, take: 60 });
    t.after(() => (load.stop(), stream.close()));
    await moreAcknowledged(load);
    await startNew("storage4", 4);
    await startNew("storage5", 5);
    for (const name of NEW) {
      const { listen, "raft-id": id, "raft-listen": address } = suite.settings(name);
      await change("add", String(id), listen, address);
      await change("promote", String(id));
    }
    for (const name of ["storage", "storage2"]) {
      await suite.kill(name, "SIGTERM");
      await change("remove", String(suite.settings(name)["raft-id"]));
    }
    for (const role of ["worker", "gateway", "scheduler"])
      await eventually(() => NEW.every((name) => log(role).includes(`url=${suite.settings(name).listen}`)), `news at the ${role}`);

    await suite.kill("storage3");
    load.takeGapMs();
    await moreAcknowledged(load);
    t.diagnostic(`kill -9 of the last one that was named: ${load.takeGapMs()} ms without an acknowledgement`);
    const add = { path: "items:add", args: { group: "seen", n: 1 } };
    await eventually(async () => (await post(suite.url, "/api/mutation", add, { "idempotency-key": "seen" })).status === 200, "a write");
    await eventually(() => stream.events.some(({ data }) => data?.value?.length === 1), "news on the stream");
    await eventually(async () => (await query(suite.url, "items:numbers", { group: "none", above: -1, take: 60 })).length === 0, "a range that nobody has read");
    for (const role of ["worker", "gateway", "scheduler"])
      await eventually(async () => (await fetch(`http://${suite.settings(role)["admin-listen"]}/readyz`)).status === 200, `a ${role} that is ready`);
    await load.stop();
    await untilEqual(suite, NEW);
    await verify(suite.url, "replaced", load);
  });
});
