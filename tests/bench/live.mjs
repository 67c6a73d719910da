// Live queries: fan-out (w5), selectivity (w6), idle subscribers (w7). One cheap subscriber program in C for all systems.
import { spawn } from "node:child_process";
import { Agent, request } from "node:http";
import { connect } from "node:net";
import { join } from "node:path";

import { load, record, root, seconds, sleep, wants, WORK } from "./common.mjs";
import { openStatement } from "./pgwire.mjs";
import { cpuSeconds, pssMb } from "./processes.mjs";

const program = join(root, "build/release/test/subscriber");
const SUBSCRIBERS = 100;
const PACE_MS = 50;
const IDLE = 9000;
const LIST = 50;
const WRITERS = 4;
const round = (value, digits) => Math.round(value * 10 ** digits) / 10 ** digits;
const nowUs = () => process.hrtime.bigint() / 1000n;
/** About 150 bytes each: 50 of them are 9.5 KB as JSON. */
const message = () => `@@${nowUs()}@@ a message of the length that people write to one another`;

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

/** Fan-out: 100 subscribers of the last 50 messages, at 20 writes a second and as fast as it goes. */
async function fanOut({ run, system, pids, argv, post: write }) {
  let writes = 0;
  const post = async (text) => {
    await write(text);
    writes++;
  };
  for (let i = 0; i < LIST; i++) await post(message());
  const stop = await subscribe([...argv, "--connections", SUBSCRIBERS]);
  writes = 0;
  const paced = await measure(pids, stop, async () => {
    for (let at = performance.now(), end = at + seconds * 1000; at < end; at += PACE_MS) {
      await sleep(Math.max(0, at - performance.now()));
      await post(message());
    }
  });
  record({ workload: "w5_fanout", system, run, writes, ...paced });
  const again = await subscribe([...argv, "--connections", SUBSCRIBERS]);
  writes = 0;
  const full = await measure(pids, again, async () => {
    const end = performance.now() + seconds * 1000;
    const writer = async () => {
      while (performance.now() < end) await post(message());
    };
    await Promise.all(Array.from({ length: WRITERS }, writer));
  });
  record({ workload: "w5_full", system, run, writes, ...full });
}

/** Deliveries, their delay, and what they cost: the CPU of the servers, writes included. */
async function measure(pids, stop, work) {
  const cpu = () => pids.reduce((sum, pid) => sum + cpuSeconds(pid), 0);
  const before = cpu();
  const started = performance.now();
  await work();
  const took = (performance.now() - started) / 1000;
  await sleep(300);
  const used = cpu() - before;
  const { deliveries, ...found } = await stop();
  const pss = pids.reduce((sum, pid) => sum + pssMb(pid), 0);
  return { ops: deliveries, ops_s: Math.round(deliveries / took), ...found, pss_mb: round(pss, 1), server_cpu_us_per_op: round((used * 1e6) / Math.max(1, deliveries), 1) };
}

export async function benchLive({ run, port, child, retries }) {
  const agent = new Agent({ keepAlive: true, maxSockets: 8 });
  const post = (text) =>
    new Promise((resolve, reject) => {
      const call = request({ agent, port, host: "127.0.0.1", method: "POST", path: "/api/mutation", headers: { "content-type": "application/json" } }, (answer) => {
        answer.resume().once("end", () => (answer.statusCode === 200 ? resolve() : reject(new Error(`status ${answer.statusCode}`))));
      });
      call.once("error", reject).end(JSON.stringify({ path: "live:post", args: { key: 0, text } }));
    });
  const pids = [child.pid];
  const argv = ["--port", port, "--mode", "subscribe"];
  if (wants("w5_fanout")) await fanOut({ run, system: "bitbend", pids, argv: [...argv, "--path", "live:last"], post });
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
  agent.destroy();
}

/** Redis: the list travels inside PUBLISH, made by a script from the last 50. */
export async function benchLiveRedis({ run, port, child }) {
  if (!wants("w5_fanout")) return;
  const script = "redis.call('LPUSH','last',ARGV[1]) redis.call('LTRIM','last',0,49) return redis.call('PUBLISH','news',cjson.encode(redis.call('LRANGE','last',0,49)))";
  const socket = connect(port, "127.0.0.1").setNoDelay(true);
  const waiting = [];
  socket.on("data", (chunk) => {
    for (const byte of chunk) if (byte === 10) waiting.shift()?.();
  });
  const words = (list) => `*${list.length}\r\n${list.map((word) => `$${Buffer.byteLength(word)}\r\n${word}\r\n`).join("")}`;
  const padding = "x".repeat(110);
  const post = (text) => new Promise((resolve) => (waiting.push(resolve), socket.write(words(["EVAL", script, "0", text + padding]))));
  await fanOut({ run, system: "redis", pids: [child.pid], argv: ["--port", port, "--mode", "redis", "--path", "news"], post });
  socket.destroy();
}

/** PostgreSQL: a row and its NOTIFY are one transaction; each listener asks for the last 50 rows again. */
export async function benchLivePostgres({ run, port, child }) {
  if (!wants("w5_fanout")) return;
  const free = await Promise.all(Array.from({ length: WRITERS }, () => openStatement(port, "select post($1)")));
  const padding = "x".repeat(60);
  const post = async (text) => {
    const writer = free.shift();
    await writer.run(text + padding);
    free.push(writer);
  };
  await fanOut({ run, system: "postgres", pids: [child.pid], argv: ["--port", port, "--mode", "postgres"], post });
  for (const writer of free) writer.close();
}

Object.assign(WORK, Object.fromEntries(["w6_few", "w6_selectivity", "w7_before", "w7_idle"].map((name) => [name, WORK.w2_zipf])));
