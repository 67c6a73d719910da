// BitBend's embedded suite, called over its public HTTP API.
import { execFileSync, spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";

import { accounts, bench, freePort, groups, keys, load, options, record, root, sleep, stop, wants } from "./common.mjs";
import { benchFirstCall } from "./deploy.mjs";
import { benchGrowth } from "./growth.mjs";
import { benchLive } from "./live.mjs";
import { pssMb } from "./processes.mjs";

const solo = join(root, "build/release/bin/bb-solo");
const cli = join(root, "libs/js/bitbend/bin/bitbend.cjs");
const FUNCTIONS = {
  increment: ["/api/mutation", "bench:increment"],
  transfer: ["/api/mutation", "bench:transfer"],
  get: ["/api/query", "bench:get"],
  scan: ["/api/query", "bench:scan"],
};

/** Starts bb-solo in a fresh folder, or again in `data`; resolves when it printed its ready line. */
async function startSuite({ data = mkdtempSync(join(bench, "bitbend-")), more = [] } = {}) {
  const port = await freePort();
  const started = performance.now();
  const child = spawn(solo, ["--data", data, "--listen", `127.0.0.1:${port}`, "--log-level", "warn", ...more], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  await new Promise((resolve, reject) => {
    child.once("exit", (code) => reject(new Error(`bb-solo ended with ${code}`)));
    child.stdout.on("data", (text) => String(text).includes("bitbend: ready") && resolve());
  });
  return { child, port, data, readyMs: Math.round(performance.now() - started) };
}

/** A mutation, once, however often it must be sent: a suite that is loaded as fast as it goes may say that it cannot just now. */
async function once(port, path, args, tries = 20) {
  const answer = await fetch(`http://127.0.0.1:${port}/api/mutation`, {
    method: "POST",
    headers: { "content-type": "application/json", "idempotency-key": `${path}/${args.from}` },
    body: JSON.stringify({ path, args, format: "json" }),
  });
  const body = await answer.json();
  if (body.status === "success") return;
  if (tries === 0) throw new Error(`${path}: ${JSON.stringify(body)}`);
  await sleep(500);
  await once(port, path, args, tries - 1);
}

/** Four transactions of `batch` documents at a time, for at most `ms`; how many there are then. */
async function seed(port, name, count, first = 0, batch = 500, ms = Infinity) {
  let next = first;
  const end = performance.now() + ms;
  const work = async () => {
    while (next < first + count && performance.now() < end) {
      const from = next;
      next += batch;
      await once(port, name, { from, count: Math.min(batch, first + count - from) });
    }
  };
  await Promise.all([work(), work(), work(), work()]);
  return Math.min(next, first + count);
}

async function retriesOf(url, adminKey) {
  const status = await (await fetch(`${url}/api/admin/status`, { headers: { authorization: `BitBend ${adminKey}` } })).json();
  return status.workers.reduce((sum, worker) => sum + worker.retries, 0);
}

function deploy(suite) {
  const url = `http://127.0.0.1:${suite.port}`;
  const { adminKey } = JSON.parse(readFileSync(join(suite.data, "dev.json"), "utf8"));
  execFileSync(process.execPath, [cli, "deploy", "--url", url, "--admin-key", adminKey], {
    cwd: join(root, "tests/bench/app"),
    stdio: ["ignore", "ignore", "inherit"],
  });
  return { url, adminKey };
}

const WORKLOADS_HERE = /^w(1|2|3|4|5|6|7)_|^w11_/;

export async function benchBitBend(run) {
  if (wants("growth")) await benchGrowth({ run, startSuite, deploy, seed });
  if (!options.only.split(",").some((one) => WORKLOADS_HERE.test(one))) return;
  const suite = await startSuite();
  const { port, child } = suite;
  try {
    if (wants("w11_start")) record({ workload: "w11_start", system: "bitbend", run, ready_ms: suite.readyMs, pss_mb: pssMb(child.pid) });
    const { url, adminKey } = deploy(suite);
    await seed(port, "bench:seed", keys);
    if (["w2_zipf", "w6_selectivity", "w7_idle"].some(wants)) await seed(port, "bench:seedAccounts", accounts);
    if (wants("w4_scan")) await seed(port, "bench:seedDocuments", groups * 100);
    const run_ = async (workload, work) => {
      const [route, path] = FUNCTIONS[work];
      await load({ run, workload, system: "bitbend", protocol: "http", ports: [port], pids: [child.pid],
        argv: ["--route", route, "--path", path], retries: () => retriesOf(url, adminKey) });
    };
    for (const [workload, work] of [["w1_counter", "increment"], ["w2_hot", "increment"], ["w2_zipf", "transfer"],
      ["w3_get", "get"], ["w4_scan", "scan"], ["w1_single", "increment"], ["w3_single", "get"]]) await run_(workload, work);
    if (wants("w11_first_call")) await benchFirstCall({ run, url, adminKey });
    await benchLive({ run, port, child, retries: () => retriesOf(url, adminKey) });
  } finally {
    await stop(child);
    rmSync(suite.data, { recursive: true, force: true });
  }
}
