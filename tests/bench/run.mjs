// The benchmarks: BitBend and PostgreSQL (SERIALIZABLE) interleaved in one run, medians of the rounds.
//
//   run.sh [--rounds 3] [--seconds 5] [--only w1_counter,w2_hot,w2_zipf,w3_get,w1_single,w11_start] [--no-peers]
//
// Every measurement is one line of build/bench/results.jsonl; the table at the end shows medians.
import { execFileSync, spawn, spawnSync } from "node:child_process";
import { appendFileSync, chownSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

import { cpuSeconds, pssMb } from "./processes.mjs";

const root = join(dirname(fileURLToPath(import.meta.url)), "../..");
const bench = join(root, "build/bench");
const loader = join(root, "build/release/test/bench_base_load");
const solo = join(root, "build/release/bin/bb-solo");
const cli = join(root, "libs/js/bitbend/bin/bitbend.cjs");
const { values: options } = parseArgs({
  options: {
    rounds: { type: "string", default: "3" },
    seconds: { type: "string", default: "5" },
    only: { type: "string", default: "w1_counter,w2_hot,w2_zipf,w3_get,w1_single,w11_start" },
    "no-peers": { type: "boolean", default: false },
  },
});
const rounds = Number(options.rounds);
const seconds = Number(options.seconds);
const wanted = new Set(options.only.split(","));
const results = join(bench, "results.jsonl");
const keys = 10000;
const accounts = 100000;
const zipf = 1.5;
const records = [];

function record(entry) {
  const line = { ...entry, time: new Date().toISOString() };
  records.push(line);
  appendFileSync(results, `${JSON.stringify(line)}\n`);
  console.log(
    `${entry.run}  ${entry.workload.padEnd(11)} ${entry.system.padEnd(9)} ${String(entry.ops_s ?? "").padStart(8)} op/s  ` +
      `p50 ${entry.p50_ms ?? "-"} ms  p99 ${entry.p99_ms ?? "-"} ms  server ${entry.server_cpu_us_per_op ?? "-"} us/op  ` +
      `${entry.pss_mb ?? "-"} MB  errors ${entry.errors ?? 0}  retries ${entry.retries ?? "-"}${entry.ready_ms === undefined ? "" : `  ready ${entry.ready_ms} ms`}`,
  );
}

async function freePort() {
  for (let port = 20000 + Math.floor(Math.random() * 8000); ; port++) {
    const isFree = await new Promise((resolve) => {
      const server = createServer();
      server.once("error", () => resolve(false));
      server.listen(port, "127.0.0.1", () => server.close(() => resolve(true)));
    });
    if (isFree) return port;
  }
}

/** Starts bb-solo in a fresh folder; resolves when it printed its ready line. */
async function startBitBend() {
  const data = mkdtempSync(join(bench, "bitbend-"));
  const port = await freePort();
  const started = performance.now();
  const child = spawn(solo, ["--data", data, "--listen", `127.0.0.1:${port}`, "--log-level", "warn"], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  await new Promise((resolve, reject) => {
    child.once("exit", (code) => reject(new Error(`bb-solo ended with ${code}`)));
    child.stdout.on("data", (text) => String(text).includes("bitbend: ready") && resolve());
  });
  return { child, port, data, readyMs: Math.round(performance.now() - started) };
}

async function stop(child) {
  const ended = new Promise((resolve) => child.once("exit", resolve));
  child.kill("SIGTERM");
  await ended;
}

async function call(port, route, path, args) {
  const answer = await fetch(`http://127.0.0.1:${port}${route}`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ path, args, format: "json" }),
  });
  const body = await answer.json();
  if (body.status !== "success") throw new Error(`${path}: ${JSON.stringify(body)}`);
  return body.value;
}

async function load(arguments_, server) {
  const before = cpuSeconds(server);
  const output = await new Promise((resolve, reject) => {
    const child = spawn(loader, arguments_.map(String), { stdio: ["ignore", "pipe", "inherit"] });
    let text = "";
    child.stdout.on("data", (chunk) => (text += chunk));
    child.once("exit", (code) => (code === 0 ? resolve(text) : reject(new Error(`the loader ended with ${code}`))));
  });
  const result = JSON.parse(output);
  // The warm-up second is in the CPU but not in the operations: scale by time.
  const cpu = (cpuSeconds(server) - before) * (seconds / (seconds + 1));
  return { ...result, server_cpu_us_per_op: Math.round((cpu * 1e7) / Math.max(1, result.ops)) / 10 };
}

async function retriesOf(url, adminKey) {
  const status = await (await fetch(`${url}/api/admin/status`, { headers: { authorization: `BitBend ${adminKey}` } })).json();
  return status.workers.reduce((sum, worker) => sum + worker.retries, 0);
}

async function benchBitBend(run) {
  const suite = await startBitBend();
  const { port, child } = suite;
  try {
    if (wanted.has("w11_start"))
      record({ workload: "w11_start", system: "bitbend", run, ready_ms: suite.readyMs, pss_mb: pssMb(child.pid) });
    const url = `http://127.0.0.1:${port}`;
    const admin = JSON.parse(readFileSync(join(suite.data, "dev.json"), "utf8"));
    execFileSync(process.execPath, [cli, "deploy", "--url", url, "--admin-key", admin.adminKey], {
      cwd: join(root, "tests/bench/app"),
      stdio: ["ignore", "ignore", "inherit"],
    });
    for (let from = 0; from < keys; from += 1000) await call(port, "/api/mutation", "bench:seed", { from, count: 1000 });
    if (wanted.has("w2_zipf"))
      for (let from = 0; from < accounts; from += 1000) await call(port, "/api/mutation", "bench:seedAccounts", { from, count: 1000 });
    const common = ["--port", port, "--seconds", seconds, "--seed", run];
    const work = [
      ["w1_counter", 64, "/api/mutation", "bench:increment"],
      ["w2_hot", 64, "/api/mutation", "bench:increment", ["--keys", 1]],
      ["w2_zipf", 64, "/api/mutation", "bench:transfer", ["--keys", accounts, "--zipf", zipf]],
      ["w3_get", 64, "/api/query", "bench:get"],
      ["w1_single", 1, "/api/mutation", "bench:increment"],
    ];
    for (const [workload, connections, route, path, more = ["--keys", keys]] of work) {
      if (!wanted.has(workload)) continue;
      const before = await retriesOf(url, admin.adminKey);
      const result = await load([...common, ...more, "--connections", connections, "--route", route, "--path", path], child.pid);
      record({ workload, system: "bitbend", run, ...result, pss_mb: pssMb(child.pid), retries: (await retriesOf(url, admin.adminKey)) - before });
    }
  } finally {
    await stop(child);
    rmSync(suite.data, { recursive: true, force: true });
  }
}

// ---- PostgreSQL: a private cluster, driven by pgbench ----

const pgBin = "/usr/lib/postgresql/15/bin";

function asPostgres(command, args, extra = {}) {
  const isRoot = process.getuid() === 0;
  return isRoot
    ? spawnSync("runuser", ["-u", "postgres", "--", command, ...args], { encoding: "utf8", ...extra })
    : spawnSync(command, args, { encoding: "utf8", ...extra });
}

async function startPostgres() {
  const dir = mkdtempSync("/var/tmp/bitbend-bench-pg-");
  const port = await freePort();
  if (process.getuid() === 0) {
    const [uid, gid] = execFileSync("sh", ["-c", "id -u postgres; id -g postgres"], { encoding: "utf8" }).split("\n").map(Number);
    chownSync(dir, uid, gid);
  }
  const data = join(dir, "data");
  const made = asPostgres(join(pgBin, "initdb"), ["-D", data, "-A", "trust", "--no-instructions"]);
  if (made.status !== 0) throw new Error(made.stderr);
  const started = performance.now();
  const isRoot = process.getuid() === 0;
  const argv = ["-D", data, "-p", String(port), "-k", dir, "-c", "listen_addresses=127.0.0.1", "-c", "max_connections=100",
    "-c", "default_transaction_isolation=serializable", "-c", "max_pred_locks_per_transaction=256"];
  const child = isRoot
    ? spawn("runuser", ["-u", "postgres", "--", join(pgBin, "postgres"), ...argv], { stdio: "ignore" })
    : spawn(join(pgBin, "postgres"), argv, { stdio: "ignore" });
  const psql = (sql) => asPostgres(join(pgBin, "psql"), ["-h", "127.0.0.1", "-p", String(port), "-d", "postgres", "-qAtc", sql]);
  while (psql("select 1").status !== 0) await new Promise((resolve) => setTimeout(resolve, 20));
  const readyMs = Math.round(performance.now() - started);
  const seeded = psql(`create table counters (key int primary key, value bigint not null);
    insert into counters select i, 0 from generate_series(0, ${keys - 1}) i; analyze counters;
    create function increment(k int) returns bigint language plpgsql as
    'declare v bigint; begin select value into v from counters where key = k; v := v + 1; update counters set value = v where key = k; return v; end';`);
  if (seeded.status !== 0) throw new Error(seeded.stderr);
  const more = psql(`create table accounts (key int primary key, balance bigint not null);
    insert into accounts select i, 1000 from generate_series(0, ${accounts - 1}) i; analyze accounts;
    create function transfer(f int, t int) returns void language plpgsql as
    'begin perform balance from accounts where key = f; perform balance from accounts where key = t;
     update accounts set balance = balance - 1 where key = f; update accounts set balance = balance + 1 where key = t; end';`);
  if (more.status !== 0) throw new Error(more.stderr);
  writeFileSync(join(dir, "w2_hot.sql"), "select increment(0);\n");
  writeFileSync(join(dir, "w2_zipf.sql"), `\\set f random_zipfian(1, ${accounts}, ${zipf})\n\\set t random_zipfian(1, ${accounts}, ${zipf})\n` +
    `select transfer(:f - 1, case when :f = :t then :t % ${accounts} else :t - 1 end);\n`);
  writeFileSync(join(dir, "w1_counter.sql"), `\\set key random(0, ${keys - 1})\nselect increment(:key);\n`);
  writeFileSync(join(dir, "w3_get.sql"), `\\set key random(0, ${keys - 1})\nselect value from counters where key = :key;\n`);
  return { child, port, dir, readyMs };
}

async function benchPostgres(run) {
  const server = await startPostgres();
  try {
    if (wanted.has("w11_start"))
      record({ workload: "w11_start", system: "postgres", run, ready_ms: server.readyMs, pss_mb: pssMb(server.child.pid) });
    const work = [["w1_counter", 64], ["w2_hot", 64], ["w2_zipf", 64], ["w3_get", 64], ["w1_single", 1, "w1_counter"]];
    for (const [workload, clients, script = workload] of work) {
      if (!wanted.has(workload)) continue;
      const before = cpuSeconds(server.child.pid);
      // -P 1 is not used: the latency percentiles come from the per-transaction log.
      const log = join(server.dir, `log-${workload}`);
      const ran = await new Promise((resolve) => {
        const argv = ["-h", "127.0.0.1", "-p", String(server.port), "-n", "-M", "prepared", "-c", String(clients), "-j", "1", "-T", String(seconds),
          "--max-tries=100", "-l", "--log-prefix", log, "-f", join(server.dir, `${script}.sql`), "postgres"];
        const isRoot = process.getuid() === 0;
        const child = isRoot
          ? spawn("runuser", ["-u", "postgres", "--", join(pgBin, "pgbench"), ...argv], { stdio: ["ignore", "pipe", "pipe"] })
          : spawn(join(pgBin, "pgbench"), argv, { stdio: ["ignore", "pipe", "pipe"] });
        let text = "";
        child.stdout.on("data", (chunk) => (text += chunk));
        child.stderr.on("data", (chunk) => (text += chunk));
        child.once("exit", (code) => resolve({ code, text }));
      });
      if (ran.code !== 0) throw new Error(ran.text);
      const cpu = cpuSeconds(server.child.pid) - before;
      const done = Number(/actually processed: (\d+)/.exec(ran.text)[1]);
      const retries = Number(/total number of retries: (\d+)/.exec(ran.text)?.[1] ?? 0);
      const failed = Number(/failed transactions: (\d+)/.exec(ran.text)?.[1] ?? 0);
      const latencies = execFileSync("sh", ["-c", `cat ${log}.* | awk '{print $3}' | sort -n`], { encoding: "utf8", maxBuffer: 1 << 28 })
        .split("\n").filter(Boolean).map(Number);
      const at = (q) => Math.round(latencies[Math.min(latencies.length - 1, Math.floor(latencies.length * q))] / 10) / 100;
      record({ workload, system: "postgres", run, ops: done, ops_s: Math.round(Number(/tps = ([\d.]+)/.exec(ran.text)[1])), p50_ms: at(0.5), p99_ms: at(0.99),
        errors: failed, retries, server_cpu_us_per_op: Math.round((cpu * 1e7) / Math.max(1, done)) / 10, pss_mb: pssMb(server.child.pid) });
    }
  } finally {
    // Only the tree that was started here: postgres' own fast shutdown.
    asPostgres(join(pgBin, "pg_ctl"), ["-D", join(server.dir, "data"), "-m", "fast", "stop"]);
    rmSync(server.dir, { recursive: true, force: true });
  }
}

function table() {
  const median = (list) => [...list].sort((a, b) => a - b)[Math.floor(list.length / 2)];
  console.log("\n| workload | system | op/s | p50 ms | p99 ms | server us/op | PSS MB | ready ms | errors | retries/op |\n|---|---|---|---|---|---|---|---|---|---|");
  const groups = Map.groupBy(records, (r) => `${r.workload} ${r.system}`);
  for (const list of groups.values()) {
    const perOp = list.some((r) => typeof r.retries === "number") ? median(list.map((r) => r.retries / Math.max(1, r.ops))).toFixed(3) : "";
    const of = (field) => (list.some((r) => typeof r[field] === "number") ? median(list.map((r) => r[field])) : "");
    console.log(`| ${list[0].workload} | ${list[0].system} | ${of("ops_s")} | ${of("p50_ms")} | ${of("p99_ms")} | ${of("server_cpu_us_per_op")} | ${of("pss_mb")} | ${of("ready_ms")} | ${of("errors")} | ${perOp} |`);
  }
}

mkdirSync(bench, { recursive: true });
const hasPostgres = !options["no-peers"] && existsSync(join(pgBin, "postgres"));
if (!hasPostgres) console.log("PostgreSQL is left out");
for (let run = 1; run <= rounds; run++) {
  await benchBitBend(run);
  if (hasPostgres) await benchPostgres(run);
}
table();
