// What all systems of the benchmarks share: where things are, the loader, records, free ports.
import { spawn } from "node:child_process";
import { appendFileSync, chownSync, mkdtempSync } from "node:fs";
import { createServer } from "node:net";
import { execFileSync } from "node:child_process";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

import { cpuSeconds, pssMb } from "./processes.mjs";

export const root = join(dirname(fileURLToPath(import.meta.url)), "../..");
export const bench = join(root, "build/bench");
const loader = join(root, "build/release/test/loader");
const results = join(bench, "results.jsonl");

const WORKLOADS = "w1_counter,w1_single,w2_hot,w2_zipf,w3_get,w3_single,w4_scan,w5_fanout,w6_selectivity,w7_idle,w11_start,w11_first_call,w13_failover,w14_action,w15_jobs,growth,slot";
export const { values: options } = parseArgs({
  options: {
    rounds: { type: "string", default: "3" },
    seconds: { type: "string", default: "5" },
    only: { type: "string", default: WORKLOADS },
    systems: { type: "string", default: "bitbend,postgres,redis,etcd,bitbend1,bitbend3,etcd3" },
    growth: { type: "string", default: "200000" },
  },
});
export const seconds = Number(options.seconds);
export const wants = (workload) => options.only.split(",").includes(workload);
export const keys = 10000;
export const accounts = 100000;
export const groups = 100; // of 100 documents
export const zipf = 1.5;
export const title = (group, n) => `document ${n} of group ${group}, with a text of some length so that it is not all key`;

/** workload: connections, work of the loader, and its keys. */
export const WORK = {
  w1_counter: { connections: 64, work: "increment" },
  w1_single: { connections: 1, work: "increment" },
  w2_hot: { connections: 64, work: "increment", more: ["--keys", 1] },
  w2_zipf: { connections: 64, work: "transfer", more: ["--keys", accounts, "--zipf", zipf] },
  w3_get: { connections: 64, work: "get" },
  w3_single: { connections: 1, work: "get" },
  growth_counter: { connections: 64, work: "increment", more: [] },
  growth_get: { connections: 64, work: "get", more: [] },
  growth_get_kept: { connections: 64, work: "get", more: [] },
  w4_scan: { connections: 64, work: "scan", more: ["--keys", groups] },
};

export const records = [];

export function record(entry) {
  const line = { ...entry, time: new Date().toISOString() };
  records.push(line);
  appendFileSync(results, `${JSON.stringify(line)}\n`);
  console.log(
    `${entry.run}  ${entry.workload.padEnd(13)} ${entry.system.padEnd(9)} ${String(entry.ops_s ?? "").padStart(8)} op/s  ` +
      `p50 ${entry.p50_ms ?? "-"} ms  p99 ${entry.p99_ms ?? "-"} ms  server ${entry.server_cpu_us_per_op ?? "-"} us/op  ` +
      `${entry.pss_mb ?? "-"} MB  errors ${entry.errors ?? "-"}  retries ${entry.retries ?? "-"}${entry.ready_ms === undefined ? "" : `  ready ${entry.ready_ms} ms`}` +
      (entry.gap_ms === undefined ? "" : `  gap ${entry.gap_ms} ms, worst ${entry.gap_ms_max} ms of ${entry.kills} kills`),
  );
}

export async function freePort() {
  for (let port = 20000 + Math.floor(Math.random() * 8000); ; port++) {
    const isFree = await new Promise((resolve) => {
      const server = createServer();
      server.once("error", () => resolve(false));
      server.listen(port, "127.0.0.1", () => server.close(() => resolve(true)));
    });
    if (isFree) return port;
  }
}

/** A folder on a disk (not the memory file system that /tmp may be), owned by `user` when we are root. */
export function folderFor(name, user) {
  const dir = mkdtempSync(`/var/tmp/bitbend-bench-${name}-`);
  if (user !== undefined && process.getuid() === 0) {
    const [uid, gid] = execFileSync("sh", ["-c", `id -u ${user}; id -g ${user}`], { encoding: "utf8" }).split("\n").map(Number);
    chownSync(dir, uid, gid);
  }
  return dir;
}

/** Starts a program; its output goes nowhere. */
export const start = (command, argv) => spawn(command, argv.map(String), { stdio: "ignore" });

export async function stop(child) {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = new Promise((resolve) => child.once("exit", resolve));
  child.kill("SIGTERM");
  await ended;
}

export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

export async function until(what, isThere, ms = 20000) {
  for (const end = performance.now() + ms; ; await sleep(10)) {
    if (await isThere()) return;
    if (performance.now() > end) throw new Error(`${what} is not there`);
  }
}

/** Runs one workload against the servers whose process trees begin at `pids`, and records it. */
export async function load({ run, workload, system, ports, pids, argv = [], protocol, retries = null, threads = null }) {
  const isPart = /^(w[67]|growth)_/.test(workload); // of a workload that was asked for
  if (!wants(workload) && !isPart) return;
  const { connections, work, more = ["--keys", keys] } = WORK[workload];
  const all = ["--port", ports.join(","), "--protocol", protocol, "--work", work, "--seconds", seconds, "--seed", run,
    "--connections", connections, "--warmup", 3, ...more, ...argv];
  const retriesBefore = (await retries?.()) ?? 0;
  const cpu = () => pids.reduce((sum, pid) => sum + cpuSeconds(pid), 0);
  let before = 0;
  let after = 0;
  let usedBefore;
  let usedAfter;
  const result = await runLoader(all, (chunk) => {
    if (chunk.includes("counting")) [before, usedBefore] = [cpu(), threads?.()];
    if (chunk.includes("{")) [after, usedAfter] = [cpu(), threads?.()];
  });
  const pss = pids.reduce((sum, pid) => sum + pssMb(pid), 0);
  const used = after - before;
  const more_ = retries === null ? {} : { retries: (await retries()) - retriesBefore };
  const perOp = (us) => Math.round((us * 10) / Math.max(1, result.ops)) / 10;
  if (threads !== null) {
    more_.threads = Object.fromEntries([...usedAfter].map(([kind, us]) => [kind, perOp(us - (usedBefore.get(kind) ?? 0))])
      .filter(([, us]) => us >= 0.5).sort(([, a], [, b]) => b - a));
  }
  record({ workload, system, run, ...result, ...more_, pss_mb: Math.round(pss * 10) / 10, server_cpu_us_per_op: perOp(used * 1e6) });
  return records.at(-1);
}

/** What the load generator found; `onText` hears what it prints meanwhile. */
export function runLoader(argv, onText = () => {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(loader, argv.map(String), { stdio: ["ignore", "pipe", "inherit"] });
    let text = "";
    child.stdout.on("data", (chunk) => {
      text += chunk;
      onText(String(chunk));
    });
    child.once("exit", (code) => (code === 0 ? resolve(JSON.parse(text.slice(text.indexOf("{")))) : reject(new Error(`the loader ended with ${code}`))));
  });
}
