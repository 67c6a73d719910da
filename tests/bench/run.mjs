// The benchmarks: BitBend and its peers interleaved in one run, medians of the rounds.
//
//   run.sh [--rounds 3] [--seconds 5] [--only w1_counter,w3_get,..] [--systems bitbend,postgres,..] [--growth 200000]
//
// One load generator for all of them (tests/loader), each over its own protocol. Every measurement is one
// line of build/bench/results.jsonl; the table at the end shows medians.
import { mkdirSync } from "node:fs";

import { benchActions } from "./actions.mjs";
import { benchBitBend } from "./bitbend.mjs";
import { benchFailover, benchProcesses } from "./cluster.mjs";
import { bench, options, records, wants } from "./common.mjs";
import { benchEtcd, hasEtcd } from "./etcd.mjs";
import { benchDisk } from "./floor.mjs";
import { benchPostgres, hasPostgres } from "./postgres.mjs";
import { benchRedis, hasRedis } from "./redis.mjs";
import { benchSlot, hasSlot } from "./slot.mjs";

const SYSTEMS = {
  bitbend: [true, benchBitBend],
  postgres: [hasPostgres, benchPostgres],
  redis: [hasRedis, benchRedis],
  etcd: [hasEtcd, (run) => benchEtcd(run, 1, "etcd")],
  bitbend1: [true, (run) => benchProcesses(run, 1, "bitbend1")],
  bitbend3: [true, (run) => benchProcesses(run, 3, "bitbend3")],
  etcd3: [hasEtcd, (run) => benchEtcd(run, 3, "etcd3")],
};

function table() {
  const median = (list) => [...list].sort((a, b) => a - b)[Math.floor(list.length / 2)];
  console.log("\n| workload | system | op/s | p50 ms | p99 ms | server us/op | PSS MB | ready ms | errors | retries/op |\n|---|---|---|---|---|---|---|---|---|---|");
  const [gaps, rest] = [records.filter((r) => r.gap_ms !== undefined), records.filter((r) => r.gap_ms === undefined)];
  const groups = Map.groupBy(rest, (r) => `${r.workload} ${r.system}`);
  for (const list of [...groups.values()].sort(([a], [b]) => (a.workload < b.workload ? -1 : a.workload > b.workload ? 1 : 0))) {
    const perOp = list.some((r) => typeof r.retries === "number") ? median(list.map((r) => r.retries / Math.max(1, r.ops))).toFixed(3) : "";
    const of = (field) => (list.some((r) => typeof r[field] === "number") ? median(list.map((r) => r[field])) : "");
    console.log(`| ${list[0].workload} | ${list[0].system} | ${of("ops_s")} | ${of("p50_ms")} | ${of("p99_ms")} | ${of("server_cpu_us_per_op")} | ${of("pss_mb")} | ${of("ready_ms")} | ${of("errors")} | ${perOp} |`);
  }
  if (gaps.length === 0) return;
  console.log("\n| w13_failover: killed | kills | no acknowledgement, middle ms | worst ms | writes | lost or doubled |\n|---|---|---|---|---|---|");
  const sum = (list, field) => list.reduce((total, r) => total + r[field], 0);
  for (const [system, list] of Map.groupBy(gaps, (r) => r.system)) {
    console.log(`| ${system} | ${sum(list, "kills")} | ${median(list.map((r) => r.gap_ms))} | ${Math.max(...list.map((r) => r.gap_ms_max))} | ${sum(list, "ops")} | ${sum(list, "errors")} |`);
  }
}

mkdirSync(bench, { recursive: true });
for (let run = 1; run <= Number(options.rounds); run++) {
  benchDisk(run);
  for (const system of options.systems.split(",")) {
    const [isThere, measure] = SYSTEMS[system] ?? [false];
    if (isThere) await measure(run);
    else console.log(`${system} is left out: ${system in SYSTEMS ? "it is not installed (make bench installs it)" : "nobody knows it"}`);
  }
  await benchFailover(run);
  await benchActions(run);
  if (wants("slot")) {
    if (hasSlot) await benchSlot(run);
    else console.log("the slot alone is left out: tests/node_modules is missing (make setup-test)");
  }
}
table();
