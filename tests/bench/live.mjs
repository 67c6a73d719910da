// Live queries: fan-out (w5), selectivity (w6), idle subscribers (w7). One cheap subscriber program in C for all systems.
import { spawn } from "node:child_process";
import { join } from "node:path";

import { load, record, root, runLoader, seconds, sleep, wants, WORK } from "./common.mjs";
import { cpuSeconds, pssMb } from "./processes.mjs";

const program = join(root, "build/release/test/subscriber");
const SUBSCRIBERS = 100;
const PACE_MS = 50;
const IDLE = 9000;
const WRITERS = 4;
const WARM_UP_SECONDS = 1;
const round = (value, digits) => Math.round(value * 10 ** digits) / 10 ** digits;

/** Starts subscribers; resolves when each has its first result. `stop` ends them and gives what they measured. */
export async function subscribe(argv) {
  const child = spawn(program, argv.map(String), { stdio: ["pipe", "pipe", "inherit"] });
  let text = "";
  const ended = new Promise((resolve, reject) => child.once("exit", (code) => (code === 0 ? resolve() : reject(new Error(`the subscriber ended with ${code}`)))));
  ended.catch(() => {});
  let timer;
  const late = new Promise((_, reject) => (timer = setTimeout(() => reject(new Error("the subscribers are not there after 60 s")), 60_000)));
  const ready = new Promise((resolve) => child.stdout.on("data", (chunk) => (text += chunk).includes("ready") && resolve()));
  await Promise.race([ready, ended, late]).finally(() => clearTimeout(timer));
  return async function stop() {
    child.stdin.end();
    await ended;
    return JSON.parse(text.slice(text.indexOf("{")));
  };
}

/**
 * Fan-out: 100 subscribers of the last 50 messages (about 150 bytes each: 9.5 KB as JSON), at 20 writes a second and as fast as
 * four writers go, after a second of warm-up. The writer is the loader, as of all workloads.
 */
async function fanOut({ run, system, pids, argv, writer, writers = WRITERS }) {
  const write = (time, ...more) => runLoader([...writer, "--work", "post", "--warmup", 0, "--seconds", time, ...more]);
  const flood = (time) => write(time, "--connections", writers);
  const watch = () => subscribe([...argv, "--connections", SUBSCRIBERS]);
  const warm = await watch();
  await flood(WARM_UP_SECONDS);
  await warm();
  const paced = await measure(pids, await watch(), () => write(seconds, "--connections", 1, "--pace-ms", PACE_MS));
  record({ workload: "w5_fanout", system, run, ...paced });
  const full = await measure(pids, await watch(), () => flood(seconds));
  record({ workload: "w5_full", system, run, ...full });
}

/** Deliveries, their delay, and what they cost: the CPU of the servers, writes included. */
async function measure(pids, stop, work) {
  const cpu = () => pids.reduce((sum, pid) => sum + cpuSeconds(pid), 0);
  const before = cpu();
  const started = performance.now();
  const written = await work();
  const took = (performance.now() - started) / 1000;
  await sleep(300);
  const used = cpu() - before;
  const { deliveries, ...found } = await stop();
  const pss = pids.reduce((sum, pid) => sum + pssMb(pid), 0);
  return { writes: written.ops, call_p50_ms: written.p50_ms, errors: written.errors, ops: deliveries, ops_s: Math.round(deliveries / took), ...found, pss_mb: round(pss, 1), server_cpu_us_per_op: round((used * 1e6) / Math.max(1, deliveries), 1) };
}

export async function benchLive({ run, port, child, retries }) {
  const pids = [child.pid];
  const argv = ["--port", port, "--mode", "subscribe"];
  if (wants("w5_fanout")) {
    const writer = ["--protocol", "http", "--port", port, "--route", "/api/mutation", "--path", "live:post"];
    await fanOut({ run, system: "bitbend", pids, argv: [...argv, "--path", "live:last"], writer });
  }
  const write = (workload) =>
    load({ run, workload, system: "bitbend", protocol: "http", ports: [port], pids, argv: ["--route", "/api/mutation", "--path", "bench:transfer"], retries });
  if (wants("w6_selectivity")) {
    for (const queries of [1, 100]) {
      // Each connection is a session of `queries` live queries, all different and none of them hit.
      const stop = await subscribe(["--port", port, "--mode", "sync", "--path", "bench:get", "--connections", 100, "--queries", queries]);
      await write(queries === 1 ? "w6_few" : "w6_selectivity");
      await stop();
    }
  }
  if (wants("w7_idle")) {
    await write("w7_before");
    const before = pssMb(child.pid);
    const stop = await subscribe([...argv, "--path", "bench:get", "--connections", IDLE]);
    await sleep(1000);
    const kb = (pssMb(child.pid) - before) * 1024;
    record({ workload: "w7_memory", system: "bitbend", run, ops: IDLE, kb_per_client: round(kb / IDLE, 2), pss_mb: pssMb(child.pid) });
    await write("w7_idle");
    await stop();
  }
}

/** Redis: the list travels inside PUBLISH, made by a script from the last 50. One writer keeps it busy: what four say in one turn of its loop costs it five times as much. */
export async function benchLiveRedis({ run, port, child }) {
  if (!wants("w5_fanout")) return;
  const writer = ["--protocol", "redis", "--port", port];
  await fanOut({ run, system: "redis", pids: [child.pid], argv: ["--port", port, "--mode", "redis", "--path", "news"], writer, writers: 1 });
}

/** PostgreSQL: a row and its NOTIFY are one transaction; each listener asks for the last 50 rows again. */
export async function benchLivePostgres({ run, port, child }) {
  if (!wants("w5_fanout")) return;
  const writer = ["--protocol", "postgres", "--port", port];
  await fanOut({ run, system: "postgres", pids: [child.pid], argv: ["--port", port, "--mode", "postgres"], writer });
}

Object.assign(WORK, Object.fromEntries(["w6_few", "w6_selectivity", "w7_before", "w7_idle"].map((name) => [name, WORK.w2_zipf])));
