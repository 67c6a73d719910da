/**
 * The whole suite as separate processes on this machine: three storage nodes, two sequencers, two workers, two schedulers,
 * two gateways, nats-server and two runners.
 *
 *     node deploy/cluster/cluster.mjs [--data DIR] [--app DIR] [--nats URL]
 *
 * With --nats the server that runs there is used; without nats-server there are no actions.
 *
 * A process that dies is started again after a second, as a process manager would. Ctrl-C or SIGTERM ends all of them, the
 * last in the chain first. DIR (default .bitbend-cluster) keeps data, ports, secrets and logs; dev.json in it has the address and
 * the admin key, so that `bitbend ... --data DIR` and `bb-ctl status --data DIR` find the suite.
 */

import { execFile, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { existsSync, mkdirSync, openSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs, promisify } from "node:util";

import { findNatsServer, prepareNats } from "../../libs/js/bitbend/cli/nats.js";

const ROOT = resolve(dirname(fileURLToPath(import.meta.url)), "../..");
const BUILD = resolve(ROOT, process.env.BB_BUILD ?? "build/release");
const COUNTS = { storage: 3, sequencer: 2, worker: 2, scheduler: 2, gateway: 2 };
const RUNNERS = 2;
/** Who is asked stops after who asks, so that each can finish what it has begun. */
const STOP_ORDER = ["runner", ...Object.keys(COUNTS).reverse(), "nats"];
const FIRST_PORTS = { storage: 3501, raft: 3561, sequencer: 3511, worker: 3521, scheduler: 3541, gateway: 3210, peer: 3531, admin: 3581 };
const RESTART_MS = 1000;
const READY_MS = 60_000;
const STOP_MS = 15_000;

const { values: options } = parseArgs({ options: { data: { type: "string", default: ".bitbend-cluster" }, app: { type: "string" }, nats: { type: "string" } } });
const dir = resolve(options.data);
const running = new Map(); // name -> child
let isStopping = false;

/** Ports are chosen once and kept: storage nodes know each other by them. */
async function makeLayout() {
  mkdirSync(dir, { recursive: true });
  const file = join(dir, "ports.json");
  const kept = existsSync(file) ? JSON.parse(readFileSync(file, "utf8")) : {};
  const taken = new Set(Object.values(kept).flat());
  const choose = async (kind, count) => {
    const ports = [...(kept[kind] ?? [])];
    for (let port = FIRST_PORTS[kind]; ports.length < count; port++) {
      if (taken.has(port) || !(await isFree(port))) continue;
      taken.add(port);
      ports.push(port);
    }
    return ports;
  };
  const layout = {};
  for (const kind of Object.keys(COUNTS)) layout[kind] = await choose(kind, COUNTS[kind]);
  layout.raft = await choose("raft", COUNTS.storage);
  layout.peer = await choose("peer", COUNTS.gateway);
  layout.admin = await choose("admin", Object.values(COUNTS).reduce((a, b) => a + b));
  writeFileSync(file, JSON.stringify(layout));
  return layout;
}

function isFree(port) {
  return new Promise((done) => {
    const server = createServer();
    server.once("error", () => done(false));
    server.listen(port, "127.0.0.1", () => server.close(() => done(true)));
  });
}

/** A file with a random line, made once. */
function secretFile(name, make) {
  const file = join(dir, name);
  if (!existsSync(file)) writeFileSync(file, `${make()}\n`, { mode: 0o600 });
  return file;
}

/** The NATS server: one that runs already, or one of this suite; null when there is none. */
async function makeNats() {
  if (options.nats !== undefined) return { url: options.nats, parts: [] };
  const program = findNatsServer();
  if (program === null) {
    console.log("nats-server is not there, so actions do not run. On Debian: apt-get install nats-server");
    return null;
  }
  const { args, url } = await prepareNats(join(dir, "nats"));
  return { url, parts: [{ name: "nats", kind: "nats", program, args }] };
}

function makeParts(layout, nats) {
  const tcp = (port) => `tcp://127.0.0.1:${port}`;
  const list = (kind) => layout[kind].map(tcp).join(",");
  const secret = secretFile("secret", () => randomBytes(32).toString("hex"));
  const key = secretFile("admin-key", () => `cluster|${randomBytes(16).toString("hex")}`);
  const peers = layout.raft.map((port, index) => `${index + 1}=127.0.0.1:${port}`).join(",");
  const node = join(ROOT, `services/worker/node_modules/node-linux-${process.arch === "arm64" ? "arm64" : "x64"}/bin/node`);
  const own = {
    storage: (port, index) => ({
      listen: tcp(port),
      data: join(dir, `storage-${index + 1}`),
      "raft-id": index + 1,
      "raft-listen": `127.0.0.1:${layout.raft[index]}`,
      peers,
      "secret-file": secret,
    }),
    sequencer: (port) => ({ listen: tcp(port), storage: list("storage") }),
    scheduler: (port, index) => ({ name: `scheduler-${index + 1}`, storage: list("storage"), workers: list("worker") }),
    worker: (port) => ({ listen: tcp(port), storage: list("storage"), sequencer: list("sequencer"), node, addon: join(BUILD, "bb_slot.node"), "slot-js": join(ROOT, "services/worker/slot.cjs") }),
    gateway: (port, index) => ({ listen: `127.0.0.1:${port}`, "peer-listen": tcp(layout.peer[index]), storage: list("storage"), workers: list("worker"), "admin-key-file": key, "show-errors": true }),
  };
  const admins = [...layout.admin];
  const parts = Object.keys(COUNTS).flatMap((kind) =>
    layout[kind].map((port, index) => {
      const admin = `127.0.0.1:${admins.shift()}`;
      const settings = { ...own[kind](port, index), "admin-listen": admin };
      const args = Object.entries(settings).flatMap(([name, value]) => (value === true ? [`--${name}`] : [`--${name}`, String(value)]));
      // The URL has a token, and everybody can see arguments.
      const env = nats === null ? {} : { [`BB_${kind.toUpperCase()}_NATS`]: nats.url };
      return { name: `${kind}-${index + 1}`, kind, ready: `http://${admin}/readyz`, program: join(BUILD, `bin/bb-${kind}`), args, env };
    }),
  );
  const runners = Array.from({ length: nats === null ? 0 : RUNNERS }, (_, index) => ({
    name: `runner-${index + 1}`,
    kind: "runner",
    program: node,
    args: [join(ROOT, "services/runner/main.js"), "--gateway", layout.gateway.map((port) => `http://127.0.0.1:${port}`).join(","), "--admin-key-file", key, "--data", join(dir, `runner-${index + 1}`), "--drain-s", "10"],
    env: { BITBEND_RUNNER_NATS: nats?.url },
  }));
  return { parts: [...(nats?.parts ?? []), ...parts, ...runners], key: readFileSync(key, "utf8").trim() };
}

function start(part) {
  const log = openSync(join(dir, `${part.name}.log`), "a");
  const child = spawn(part.program, part.args, { stdio: ["ignore", log, log], detached: true, env: { ...process.env, ...part.env } });
  child.ended = new Promise((done) => {
    child.once("error", (error) => done(error.message));
    child.once("exit", (code, signal) => done(signal ?? `exit code ${code}`));
  });
  running.set(part.name, child);
  child.ended.then((why) => {
    running.delete(part.name);
    if (isStopping) return;
    console.log(`${part.name} ended (${why}) and is started again; see ${join(dir, part.name)}.log`);
    setTimeout(() => isStopping || start(part), RESTART_MS);
  });
}

async function untilReady(parts) {
  const end = Date.now() + READY_MS;
  for (const part of parts.filter(({ ready }) => ready !== undefined)) {
    while (!isStopping && !(await fetch(part.ready).then(({ status }) => status === 200, () => false))) {
      if (Date.now() > end) throw new Error(`${part.name} is not ready after a minute; see ${join(dir, part.name)}.log`);
      await new Promise((done) => setTimeout(done, 50));
    }
  }
}

async function stop(parts) {
  if (isStopping) return;
  isStopping = true;
  for (const kind of STOP_ORDER) {
    await Promise.all(
      parts.filter((part) => part.kind === kind && running.has(part.name)).map(async (part) => {
        const child = running.get(part.name);
        const timer = setTimeout(() => child.kill("SIGKILL"), STOP_MS);
        child.kill("SIGTERM");
        await child.ended;
        clearTimeout(timer);
      }),
    );
  }
}

const layout = await makeLayout();
const { parts, key } = makeParts(layout, await makeNats());
const [url, ...others] = layout.gateway.map((port) => `http://127.0.0.1:${port}`);
let ended = null; // a second signal waits for the same end
const end = (code) => (ended ??= stop(parts).then(() => process.exit(code)));
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, () => end(0));

parts.forEach(start);
try {
  await untilReady(parts);
  if (!isStopping) {
    writeFileSync(join(dir, "dev.json"), JSON.stringify({ url, adminKey: key, pid: process.pid }), { mode: 0o600 });
    if (options.app) {
      await promisify(execFile)(process.execPath, [join(ROOT, "libs/js/bitbend/bin/bitbend.cjs"), "deploy", "--url", url, "--admin-key", key], { cwd: options.app });
    }
    console.log(`bitbend: ready at ${url} (and ${others.join(", ")})`);
    console.log(`  ${join(BUILD, "bin/bb-ctl")} members --storage ${layout.storage.map((port) => `tcp://127.0.0.1:${port}`).join(",")}`);
    console.log(`  logs, data and admin key: ${dir}`);
  }
} catch (error) {
  console.error(`bitbend: ${error.stderr || error.message}`);
  await end(1);
}
