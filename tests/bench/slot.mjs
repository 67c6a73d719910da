// What a call costs in the slot itself, without the suite around it: the slot program as the supervisor
// starts it, and the time that its own thread uses (the one that asks is no part of it). Beside it a plain
// call of the same work in the same V8, as the floor.
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import vm from "node:vm";

import { record, root, sleep } from "./common.mjs";
import { pssMb } from "./processes.mjs";

const NEW_SLOTS = 5;
const BATCHES = 11;
let Slot, noticed, start, NODE_FLAGS; // of the harness, which needs packages that may be missing
export const hasSlot = existsSync(join(root, "tests/node_modules/protobufjs"));

/** CPU microseconds of the slot's thread that runs functions, and of V8's helper for the collector. */
function cpuUs(pid) {
  let sum = 0;
  for (const task of readdirSync(`/proc/${pid}/task`)) {
    sum += Number(readFileSync(`/proc/${pid}/task/${task}/schedstat`, "utf8").split(" ")[0]) / 1000;
  }
  return sum;
}

const rounded = (n) => Math.round(n * 100) / 100;
const median = (values) => rounded(values.sort((a, b) => a - b)[values.length >> 1]);

/** The median of what a call costs in batches, when V8 has compiled what it will compile. */
async function measure(slot, run, name, path, args, count) {
  const callAll = async (calls) => {
    for (let i = 0; i < calls; i++) {
      const answer = await slot.query(path, args);
      if (answer.status !== 0) throw new Error(answer.error);
    }
  };
  await callAll(2 * count);
  const batches = [];
  for (let batch = 0; batch < BATCHES; batch++) {
    const before = cpuUs(slot.pid);
    await callAll(count / 4);
    batches.push((cpuUs(slot.pid) - before) / (count / 4));
  }
  record({ workload: `slot_${name}`, system: "bitbend", run, server_cpu_us_per_op: median(batches) });
}

/**
 * The first call of new slots: at once, with code that came in the same moment, and when the slot
 * had a moment to make the code ready.
 */
async function newSlots(slot, run) {
  const seen = { atOnce: [], atOnceUs: [], ready: [], readyUs: [] };
  for (let i = 0; i < 2 * NEW_SLOTS; i++) {
    const isReady = i % 2 === 1;
    const other = new Slot({ store: slot.store });
    await other.ready;
    const beforeCode = cpuUs(other.pid);
    other.deploy();
    if (isReady) await noticed(other, "modules are ready");
    const before = isReady ? cpuUs(other.pid) : beforeCode;
    const first = performance.now();
    await other.query("tiny:threeReads");
    seen[isReady ? "ready" : "atOnce"].push(performance.now() - first);
    seen[isReady ? "readyUs" : "atOnceUs"].push(cpuUs(other.pid) - before);
    await other.stop();
  }
  record({ workload: "slot_first_call_at_once", system: "bitbend", run, p50_ms: median(seen.atOnce), server_cpu_us_per_op: Math.round(median(seen.atOnceUs)) });
  record({ workload: "slot_first_call", system: "bitbend", run, p50_ms: median(seen.ready), server_cpu_us_per_op: Math.round(median(seen.readyUs)) });
}

/**
 * Slots as a worker starts them in the place of others, by its own log: copies of its zygote, and (exec) a Node.js for
 * each. Memory of the last ones, without code, in the kernel's count by share.
 */
async function startsInWorker(run) {
  const { eventually, startSuite } = await import(join(root, "tests/integration/js/suite.mjs"));
  const functions = { "a.ts": 'import { query } from "bitbend/server";\nexport const one = query(() => 1);\n' };
  for (const [mode, system] of [["fork", "bitbend"], ["exec", "bitbend_exec"]]) {
    const suite = await startSuite({ memory: true, functions, options: { solo: { slots: 2, "slot-start": mode } } });
    const starts = () => [...suite.logs().matchAll(/worker\.slot_ready .* ms=(\d+)/g)].map(([, ms]) => Number(ms));
    await eventually(() => starts().length === 2, { what: "two slots" });
    for (let n = 2; n < 2 + 2 * NEW_SLOTS; n++) {
      await sleep(1100); // one that lived shorter is not replaced at once
      process.kill(suite.slotPids()[n % 2], "SIGKILL");
      await eventually(() => starts().length > n && suite.slotPids().length === 2, { what: "another slot" });
    }
    record({ workload: "slot_start", system, run, ready_ms: median(starts().slice(2)), pss_mb: median(suite.slotPids().map(pssMb)) });
    for (const pid of suite.zygotePids()) record({ workload: "slot_zygote", system, run, pss_mb: rounded(pssMb(pid)), ready_ms: Number(/zygote_ready .*ms=(\d+)/.exec(suite.logs())[1]) });
    await suite.stop();
  }
}

/** What the slot's start costs without us: Node.js with the same options and nothing to do. */
function bareNode(run) {
  const times = Array.from({ length: NEW_SLOTS }, () => {
    const started = performance.now();
    spawnSync(process.execPath, [...NODE_FLAGS, "-e", "0"], { env: { TZ: "UTC", LANG: "C" } });
    return performance.now() - started;
  });
  record({ workload: "slot_start", system: "bare_node", run, ready_ms: median(times) });
}

/** The modules as they come, compiled and run in a plain V8 that has not seen them. */
function plainFirstCall(run, modules) {
  const times = Array.from({ length: NEW_SLOTS }, (_, n) => {
    const started = process.cpuUsage();
    const instances = new Map();
    const load = (name) => {
      const path = name.startsWith("bitbend/") ? `_${name}.js` : name.startsWith("./") ? `_bitbend/${name.slice(2)}` : name;
      if (instances.has(path)) return instances.get(path).exports;
      const module = { exports: {} };
      instances.set(path, module);
      const { source } = modules.find((one) => one.path === path);
      vm.compileFunction(`${source}\n// ${run} ${n}`, ["exports", "require", "module"])(module.exports, load, module);
      return module.exports;
    };
    load("tiny.js");
    const { user, system } = process.cpuUsage(started);
    return user + system;
  });
  record({ workload: "slot_first_call", system: "plain_call", run, server_cpu_us_per_op: Math.round(median(times)) });
}

/** A module that changes built-in objects: one call after the other, and with the time to make a context ahead. */
async function contexts(run) {
  const slot = await start({ "patched.js": 'Object.defineProperty(Array.prototype, "last", { value: 1 }); exports.last = query(() => [].last);' });
  await noticed(slot, "modules are ready");
  for (const [name, gapMs, count] of [["slot_context_at_once", 0, 400], ["slot_context", 20, 50]]) {
    for (let i = 0; i < 20; i++) await slot.query("patched:last");
    const times = [];
    const before = cpuUs(slot.pid);
    for (let i = 0; i < count; i++) {
      if (gapMs > 0) await sleep(gapMs);
      const started = performance.now();
      const { value } = await slot.query("patched:last");
      times.push(performance.now() - started);
      if (value !== 1) throw new Error("the call did not see its own built-in objects");
    }
    record({ workload: name, system: "bitbend", run, p50_ms: median(times), server_cpu_us_per_op: Math.round((cpuUs(slot.pid) - before) / count) });
  }
  await slot.stop();
}

/** CPU microseconds of one of `count` runs. */
async function plainUs(count, work) {
  for (let i = 0; i < count / 4; i++) await work();
  const before = process.cpuUsage();
  for (let i = 0; i < count; i++) await work();
  const { user, system } = process.cpuUsage(before);
  return rounded((user + system) / count);
}

async function plain(run) {
  const counters = new Map(Array.from({ length: 2000 }, (_, key) => [`counter/${key}`, { key, value: 0 }]));
  const texts = [...counters.values()].slice(0, 1000).map((counter) => JSON.stringify({ ...counter, _id: "0123456789abcdef0123456789abcdef", _creationTime: 1.7e12 }));
  const read = async (n) => counters.get(`counter/${n}`);
  const work = {
    nothing: [300000, async () => null],
    three_reads: [300000, async () => (await read(1)).value + (await read(2)).value + (await read(3)).value],
    scan_1000: [300, async () => texts.map((text) => JSON.parse(text)).length],
    context: [100, async () => vm.runInContext("1", vm.createContext(vm.constants.DONT_CONTEXTIFY))],
  };
  for (const [name, [count, one]] of Object.entries(work)) {
    record({ workload: `slot_${name}`, system: "plain_call", run, server_cpu_us_per_op: await plainUs(count, one) });
  }
}

export async function benchSlot(run) {
  ({ Slot, noticed, start, NODE_FLAGS } = await import(join(root, "tests/integration/slot/harness.js")));
  const { createBundler } = await import(join(root, "libs/js/bitbend/cli/bundle.js"));
  const app = join(root, "tests/bench/app");
  const bundler = createBundler({ appDir: app, functionsDir: join(app, "bitbend") });
  const { modules } = await bundler.build();
  await bundler.dispose();
  bareNode(run);
  await startsInWorker(run);
  const slot = new Slot();
  await slot.ready;
  const deployed = await slot.mutation("_system:deploy", { modules: modules.map(({ path, source, sourceMap }) => ({ path, source, sourceMap: sourceMap ?? null })) });
  if (deployed.status !== 0) throw new Error(deployed.error);
  slot.deploy();
  for (let from = 0; from < 1000; from += 500) await slot.mutation("bench:seed", { from, count: 500 });
  await newSlots(slot, run);
  plainFirstCall(run, modules);
  await measure(slot, run, "nothing", "tiny:nothing", {}, 2000);
  await measure(slot, run, "three_reads", "tiny:threeReads", {}, 2000);
  await measure(slot, run, "scan_1000", "tiny:scanThousand", {}, 200);
  await slot.stop();
  await contexts(run);
  await plain(run);
}
