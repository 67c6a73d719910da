// Does it stay as fast when the data grows? Counters and point reads over ever more documents, in one suite that is not restarted
// until the end, with the CPU of each kind of thread and the memory. Results of queries are not kept (`--results-bytes=0`): what
// repeated reads of few keys cost with them is measured after the restart, over the first 10,000 keys and over all.
//
// `--growth 200000`: 10,000, 50,000 and so on up to that; `--growth 10000,1000000,5000000`: these.
import { rmSync, statSync } from "node:fs";
import { join } from "node:path";

import { load, options, record, sleep, stop } from "./common.mjs";
import { cpuOfThreads, cpuSeconds, pssMb, statusMb, treeOf } from "./processes.mjs";

const SIZES = [10_000, 50_000, 200_000, 1_000_000, 5_000_000];
const BATCH = 1000; // documents of a transaction
const LOAD_MS_MAX = 600_000; // then it goes on with as many as there are
const WORK = [["counter", "/api/mutation", "bench:increment"], ["get", "/api/query", "bench:get"]];

function sizes() {
  const named = options.growth.split(",").map(Number);
  return named.length > 1 ? named : SIZES.filter((size) => size <= named[0]);
}

/** Memory in MB: of bb-solo its own and what it has mapped of files, of all processes their share. */
function memory({ child, data }) {
  return { pss_mb: pssMb(child.pid), own_mb: statusMb(child.pid, "RssAnon"), mapped_mb: statusMb(child.pid, "RssFile"),
    slots_mb: Math.round(treeOf(child.pid).slice(1).reduce((sum, pid) => sum + pssMb(pid), 0)),
    file_mb: Math.round(statSync(join(data, "store/data.mdb")).size / 1048576) };
}

async function fill({ run, suite, seed, from, size }) {
  const [start, cpu, before] = [performance.now(), cpuSeconds(suite.child.pid), cpuOfThreads(suite.child.pid)];
  const there = await seed(suite.port, "bench:seed", size - from, from, BATCH, LOAD_MS_MAX);
  const [seconds, count] = [(performance.now() - start) / 1000, there - from];
  const threads = Object.fromEntries([...cpuOfThreads(suite.child.pid)].map(([kind, us]) => [kind, Math.round((us - (before.get(kind) ?? 0)) / count)]).filter(([, us]) => us > 0));
  record({ workload: "growth_load", system: `${there}`, run, ops: count, ops_s: Math.round(count / seconds), seconds: Math.round(seconds), threads,
    server_cpu_us_per_op: Math.round(((cpuSeconds(suite.child.pid) - cpu) * 1e7) / count) / 10, ...memory(suite) });
  return there;
}

async function measure({ run, suite, size, keys, name, route, path, row, more = [] }) {
  const { child, port } = suite;
  const result = await load({ run, workload: `growth_${name}`, system: row, protocol: "http", ports: [port], pids: [child.pid],
    argv: ["--route", route, "--path", path, "--keys", keys, ...more], threads: () => cpuOfThreads(child.pid) });
  return { ...result, ...memory(suite), size };
}

function table(rows, restarts) {
  const flat = (row) => {
    const first = rows.find((one) => one.workload === row.workload);
    return (row.server_cpu_us_per_op / first.server_cpu_us_per_op).toFixed(2);
  };
  console.log("\n| what | documents | op/s | p50 ms | p99 ms | server us/op | times the first | by thread | PSS MB | bb-solo's own | mapped | slots | data file |");
  console.log("|---|---|---|---|---|---|---|---|---|---|---|---|---|");
  for (const row of rows) {
    const threads = Object.entries(row.threads).slice(0, 5).map(([kind, us]) => `${kind} ${us}`).join(", ");
    console.log(`| ${row.workload.slice(7)} | ${row.system} | ${row.ops_s} | ${row.p50_ms} | ${row.p99_ms} | ${row.server_cpu_us_per_op} | ${flat(row)} | ${threads} | ${row.pss_mb} | ${row.own_mb} | ${row.mapped_mb} | ${row.slots_mb} | ${row.file_mb} |`);
  }
  for (const text of restarts) console.log(text);
}

export async function benchGrowth({ run, startSuite, deploy, seed }) {
  const rows = [];
  let suite = await startSuite({ more: ["--results-bytes", "0"] });
  const { data, readyMs } = suite;
  try {
    deploy(suite);
    let there = 0;
    for (const wanted of sizes()) {
      there = await fill({ run, suite, seed, from: there, size: wanted });
      const size = there;
      await sleep(2000); // the last flush
      for (const [name, route, path] of WORK) rows.push(await measure({ run, suite, size, keys: size, name, route, path, row: `${size}` }));
      record({ workload: "growth_memory", system: `${size}`, run, ...memory(suite) });
    }
    await stop(suite.child);
    suite = await startSuite({ data });
    record({ workload: "growth_restart", system: `${there}`, run, ready_ms: suite.readyMs, ...memory(suite) });
    const restarts = [`\nready ${readyMs} ms when new, ${suite.readyMs} ms after a stop with ${there} documents; then with results kept:`];
    const [, get] = WORK;
    for (const keys of [Math.min(10_000, there), there]) {
      const row = await measure({ run, suite, size: there, keys, name: "get_kept", route: get[1], path: get[2], row: `${keys} of ${there}`, more: ["--warmup", 3] }); // the slots are new
      rows.push(row);
    }
    suite.child.kill("SIGKILL");
    await new Promise((resolve) => suite.child.once("exit", resolve));
    suite = await startSuite({ data });
    record({ workload: "growth_killed", system: `${there}`, run, ready_ms: suite.readyMs });
    table(rows, [restarts[0], `ready ${suite.readyMs} ms after a kill`]);
  } finally {
    await stop(suite.child);
    rmSync(data, { recursive: true, force: true });
  }
}
