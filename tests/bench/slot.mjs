// What a call costs in the slot itself, without the suite around it: the slot program as the supervisor
// starts it, and the time that its own thread uses (the one that asks is no part of it). Beside it a plain
// call of the same work in the same V8, as the floor.
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

import { record, root } from "./common.mjs";
import { pssMb } from "./processes.mjs";

let Slot, noticed, NODE_FLAGS; // of the harness, which needs packages that may be missing
export const hasSlot = existsSync(join(root, "tests/node_modules/protobufjs"));

/** CPU microseconds of the slot's thread that runs functions, and of V8's helper for the collector. */
function cpuUs(pid) {
  let sum = 0;
  for (const task of readdirSync(`/proc/${pid}/task`)) {
    sum += Number(readFileSync(`/proc/${pid}/task/${task}/schedstat`, "utf8").split(" ")[0]) / 1000;
  }
  return sum;
}

async function measure(slot, run, name, path, args, count) {
  for (let i = 0; i < count / 4; i++) await slot.query(path, args);
  const before = cpuUs(slot.pid);
  for (let i = 0; i < count; i++) {
    const answer = await slot.query(path, args);
    if (answer.status !== 0) throw new Error(answer.error);
  }
  record({ workload: `slot_${name}`, system: "bitbend", run, server_cpu_us_per_op: Math.round(((cpuUs(slot.pid) - before) / count) * 10) / 10 });
}

/** A function that its slot has never run: at once, and when the slot had a moment to make the code ready. */
async function firstCalls(slot, run) {
  for (const isReady of [false, true]) {
    const other = new Slot({ store: slot.store });
    await other.ready;
    other.deploy();
    if (isReady) await noticed(other, "modules are ready");
    const before = cpuUs(other.pid);
    const first = performance.now();
    await other.query("tiny:threeReads");
    const ms = Math.round((performance.now() - first) * 100) / 100;
    record({ workload: `slot_first_call${isReady ? "" : "_at_once"}`, system: "bitbend", run, p50_ms: ms, server_cpu_us_per_op: Math.round(cpuUs(other.pid) - before) });
    await other.stop();
  }
}

/** What the slot's start costs without us: Node.js with the same options and nothing to do. */
function bareNode(run) {
  const started = performance.now();
  spawnSync(process.execPath, [...NODE_FLAGS, "-e", "0"], { env: { TZ: "UTC", LANG: "C" } });
  record({ workload: "slot_start", system: "bare_node", run, ready_ms: Math.round((performance.now() - started) * 10) / 10 });
}

function plain(run) {
  const counters = new Map(Array.from({ length: 2000 }, (_, key) => [`counter/${key}`, { key, value: 0 }]));
  const read = async (n) => counters.get(`counter/${n}`);
  const work = async () => (await read(1)).value + (await read(2)).value + (await read(3)).value;
  return (async () => {
    const count = 300000;
    for (let i = 0; i < count / 4; i++) await work();
    const before = process.cpuUsage();
    for (let i = 0; i < count; i++) await work();
    const used = process.cpuUsage(before);
    record({ workload: "slot_three_reads", system: "plain_call", run, server_cpu_us_per_op: Math.round(((used.user + used.system) / count) * 100) / 100 });
  })();
}

export async function benchSlot(run) {
  ({ Slot, noticed, NODE_FLAGS } = await import(join(root, "tests/integration/slot/harness.js")));
  const { createBundler } = await import(join(root, "libs/js/bitbend/cli/bundle.js"));
  const app = join(root, "tests/bench/app");
  const bundler = createBundler({ appDir: app, functionsDir: join(app, "bitbend") });
  const { modules } = await bundler.build();
  await bundler.dispose();
  bareNode(run);
  const started = performance.now();
  const slot = new Slot();
  await slot.ready;
  const startMs = Math.round((performance.now() - started) * 10) / 10;
  const deployed = await slot.mutation("_system:deploy", { modules: modules.map(({ path, source, sourceMap }) => ({ path, source, sourceMap: sourceMap ?? null })) });
  if (deployed.status !== 0) throw new Error(deployed.error);
  slot.deploy();
  for (let from = 0; from < 1000; from += 500) await slot.mutation("bench:seed", { from, count: 500 });
  record({ workload: "slot_start", system: "bitbend", run, ready_ms: startMs, pss_mb: pssMb(slot.pid) });
  await firstCalls(slot, run);
  await measure(slot, run, "nothing", "tiny:nothing", {}, 4000);
  await measure(slot, run, "three_reads", "tiny:threeReads", {}, 2000);
  await measure(slot, run, "scan_1000", "tiny:scanThousand", {}, 200);
  await plain(run);
  await slot.stop();
}
