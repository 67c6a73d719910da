/**
 * Starts a real BitBend suite for a test, deploys functions to it, kills and restarts its processes, and
 * leaves nothing behind.
 *
 *     const suite = await startSuite({ mode: "solo", functions: { "m.ts": `export const ...` } });
 *     t.after(() => suite.stop());
 *     await suite.call("m:f", { n: 1 });
 *
 * Every process lies in a temporary folder, listens on ports below 32768 and is ended by its own pid.
 */

import { execFileSync, spawn } from "node:child_process";
import { closeSync, existsSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

import { createAdmin } from "../../../libs/js/bitbend/cli/admin.js";
import { createBundler } from "../../../libs/js/bitbend/cli/bundle.js";
import { generate } from "../../../libs/js/bitbend/cli/codegen.js";
import { Client } from "../../../libs/js/bitbend/index.js";

export const ROOT = resolve(dirname(fileURLToPath(import.meta.url)), "../../..");
const BUILD = resolve(ROOT, process.env.BB_TEST_BUILD ?? "build/release");
const NODE = join(ROOT, `services/worker/node_modules/node-linux-${process.arch === "arm64" ? "arm64" : "x64"}/bin/node`);
// Nobody waits for these but a test that fails: long enough for a machine on which a slot takes half a minute to start.
const READY_TIMEOUT_MS = 90_000;
const STOP_TIMEOUT_MS = 30_000;
const WAIT_TIMEOUT_MS = 60_000;
const ADMIN_KEY = "test|00112233445566778899aabbccddeeff";

const alive = new Set();
process.on("exit", () => alive.forEach((child) => child.kill("SIGKILL")));

/** Why suites cannot run here, or false: for `{ skip: suiteMissing() }`. */
export function suiteMissing() {
  return existsSync(join(BUILD, "bin/bb-solo")) ? false : `${BUILD}/bin/bb-solo is not built`;
}

/**
 * `mode`: "solo" (one process, its slots besides), "processes" (storage, sequencer, worker, scheduler, gateway) or "cluster" (three storage
 * nodes that know each other by a secret, and two of everything else).
 * `functions`: `{"messages.ts": source, ..}`, deployed before it returns. `appDir`: an application whose
 * `bitbend/` is deployed instead. `options`: more options by part, `{solo: {slots: 1}, worker: {..}}`.
 * `network`: a `Network` (tests/integration/faults/proxy.mjs) that shall lie between the storage nodes; closed with the suite.
 * `ways`: the `Ways` (tests/integration/faults/ways.mjs) to storage nodes and sequencers; closed with the suite.
 * `storages`, `gateways`, `sequencers`, `workers`, `schedulers`: how many, of separate processes (gateway, gateway2, ..).
 */
export async function startSuite({ mode = "solo", functions, appDir, options = {}, memory = false, staticDir, showErrors = true, network, ways, ...counts } = {}) {
  const several = mode === "cluster" ? 2 : 1;
  const { storages = mode === "cluster" ? 3 : 1, gateways = several, sequencers = several, workers = several, schedulers = several } = counts;
  const dir = mkdtempSync(join(tmpdir(), "bitbend-test-"));
  const parts = mode === "solo" ? await soloParts(dir, { memory, staticDir, showErrors, options }) : await processParts(dir, { memory, staticDir, showErrors, options, network, ways, storages, gateways, sequencers, workers, schedulers });
  const running = new Map(); // name -> child
  ways?.use((name) => running.get(name)?.pid);
  const urls = parts.flatMap((part) => part.url ?? []);
  const [url] = urls;
  let adminKey = ADMIN_KEY;
  let admin = null;
  const clients = new Set();

  const supervisors = () => [...running].filter(([name]) => mode === "solo" || name.startsWith("worker")).map(([, child]) => child.pid);
  const suite = {
    dir,
    url,
    urls, // of all gateways
    mode,
    names: parts.map(({ name }) => name),
    get adminKey() {
      return adminKey;
    },
    get admin() {
      return admin;
    },
    pid: (name = "solo") => running.get(name)?.pid,
    /** The child process of a part, with `exited`; `forget` it when it has ended by itself. */
    child: (name) => running.get(name),
    forget: (name) => running.delete(name),
    settings: (name) => parts.find((part) => part.name === name).settings,
    /** The processes that run functions. */
    slotPids: () => supervisors().flatMap(slotPids),
    /** The processes that these are copies of. */
    zygotePids: () => supervisors().flatMap((pid) => zygotePid(pid) ?? []),

    /** Starts the named parts, or all that do not run; returns when they are ready. */
    async start(...names) {
      for (const part of parts) {
        if (running.has(part.name) || (names.length > 0 && !names.includes(part.name))) continue;
        running.set(part.name, startPart(dir, part));
      }
      await Promise.all(parts.filter(({ name }) => running.has(name)).map((part) => running.get(part.name).ready));
      if (mode === "solo") adminKey = JSON.parse(readFileSync(join(dir, "data/dev.json"), "utf8")).adminKey;
      admin = createAdmin({ url, adminKey });
      return suite;
    },

    /** One more part, not started yet: `program` with these options and an admin port. */
    async add(name, program, settings) {
      const [admin] = await freePorts(1);
      parts.push({ name, program, settings: { ...settings, "admin-listen": `127.0.0.1:${admin}` }, readyUrl: `http://127.0.0.1:${admin}/readyz` });
    },

    /** Starts the named part with further options for this once; `ready` and `exited` are the child's promises. */
    startWith(name, extra) {
      const part = parts.find((one) => one.name === name);
      const child = startPart(dir, { ...part, settings: { ...part.settings, ...extra } });
      running.set(name, child);
      child.exited.then(() => running.get(name) === child && running.delete(name));
      return child;
    },

    /** Kills the named part (or all) and waits until it is gone. */
    async kill(name, signal = "SIGKILL") {
      const names = name === undefined ? [...running.keys()] : [name];
      await Promise.all(
        names.map(async (one) => {
          const child = running.get(one);
          running.delete(one);
          child.kill(signal);
          await child.exited;
        }),
      );
    },
    async restart(name, signal = "SIGKILL") {
      await suite.kill(name, signal);
      await suite.start(...(name === undefined ? [] : [name]));
    },

    /** Deploys `{"messages.ts": source, ..}` (written beside what was deployed before). */
    async deploy(files, deployOptions) {
      for (const [name, source] of Object.entries(files)) {
        const file = join(dir, "app/bitbend", name);
        mkdirSync(dirname(file), { recursive: true });
        writeFileSync(file, source);
      }
      return await suite.deployApp(join(dir, "app"), deployOptions);
    },
    /** Deploys the `bitbend/` of an application. */
    async deployApp(app, deployOptions) {
      const functionsDir = join(app, "bitbend");
      generate(functionsDir);
      const bundler = createBundler({ appDir: app, functionsDir });
      try {
        const { modules, node } = await bundler.build();
        return await admin.deploy(modules, { node, ...deployOptions });
      } finally {
        await bundler.dispose();
      }
    },

    /** Calls any function with the admin key; throws when it fails. */
    call: (path, args) => admin.call(path, args),
    /** The status and the parsed body of a request. */
    async http(path, { method = "POST", body, headers = {} } = {}) {
      const response = await fetch(url + path, {
        method,
        headers: body === undefined ? headers : { "Content-Type": "application/json", ...headers },
        body: body === undefined || typeof body === "string" ? body : JSON.stringify(body),
      });
      const text = await response.text();
      return { status: response.status, headers: response.headers, text, json: parse(text) };
    },
    /** A client of the first gateway, or of the one at `url`; closed with the suite. */
    client({ url: at = url, ...clientOptions } = {}) {
      const client = new Client(at, clientOptions);
      clients.add(client);
      return client;
    },
    /** What the processes wrote; for messages of failed tests. */
    logs: () => parts.map(({ name }) => `---- ${name}\n${read(join(dir, `${name}.log`))}`).join("\n"),

    async stop() {
      for (const client of clients) client.close();
      const children = [...running.values()].reverse();
      running.clear();
      for (const child of children) {
        const timer = setTimeout(() => child.kill("SIGKILL"), STOP_TIMEOUT_MS);
        child.kill("SIGTERM");
        await child.exited;
        clearTimeout(timer);
      }
      await network?.close();
      await ways?.close();
      rmSync(dir, { recursive: true, force: true });
    },
  };

  try {
    await suite.start();
    if (functions) await suite.deploy(functions);
    if (appDir) await suite.deployApp(appDir);
    if (functions || appDir) await heardByAll(urls, adminKey);
    return suite;
  } catch (error) {
    error.message += `\n${suite.logs()}`;
    await suite.stop();
    throw error;
  }
}

/** A live query shows what its gateway has heard of: all of them shall have heard of the deploy. */
async function heardByAll(urls, adminKey) {
  const statusOf = (url) => createAdmin({ url, adminKey }).status();
  const durable = Math.max(...(await statusOf(urls[0])).workers.map((worker) => worker.durable ?? 0));
  for (const url of urls) {
    for (let left = READY_TIMEOUT_MS / 20; (await statusOf(url)).gateway.feedTx < durable; left--) {
      if (left === 0) throw new Error(`the gateway ${url} has not heard of the deploy after ${READY_TIMEOUT_MS} ms`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
}

/** What a supervisor's children have at their ends (a sandbox may stand between), with their names. */
function endsOf(supervisor) {
  const children = new Map();
  for (const line of execFileSync("ps", ["-eo", "pid=,ppid=,comm="], { encoding: "utf8" }).trim().split("\n")) {
    const [pid, parent, name] = line.trim().split(/\s+/);
    children.set(Number(parent), [...(children.get(Number(parent)) ?? []), { pid: Number(pid), name }]);
  }
  const ends = (one) => (children.has(one.pid) ? children.get(one.pid).flatMap(ends) : [one]);
  return children.has(supervisor) ? ends({ pid: supervisor }) : [];
}

/** The slots of a supervisor. */
export const slotPids = (supervisor) => endsOf(supervisor).filter(({ name }) => name !== "bb-zygote").map(({ pid }) => pid);

/** The process that slots are copied from; undefined: there is none. */
export const zygotePid = (supervisor) => endsOf(supervisor).find(({ name }) => name === "bb-zygote")?.pid;

/** Free ports below the ephemeral range, so that no outgoing connection takes them. */
export async function freePorts(count) {
  const ports = [];
  while (ports.length < count) {
    const port = 12_000 + Math.floor(Math.random() * 20_000);
    if (!ports.includes(port) && (await isFree(port))) ports.push(port);
  }
  return ports;
}

/** Waits until `probe` returns something true; returns that. */
export async function eventually(probe, { timeoutMs = WAIT_TIMEOUT_MS, what = "the condition" } = {}) {
  const end = Date.now() + timeoutMs;
  for (;;) {
    const found = await probe();
    if (found) return found;
    if (Date.now() > end) throw new Error(`${what} did not come within ${timeoutMs} ms`);
    await new Promise((done) => setTimeout(done, 10));
  }
}

async function soloParts(dir, { memory, staticDir, showErrors, options }) {
  const [port] = await freePorts(1);
  const settings = { data: join(dir, "data"), listen: `127.0.0.1:${port}`, "admin-listen": "off", memory, static: staticDir, "show-errors": showErrors, ...options.solo };
  return [{ name: "solo", settings, url: `http://127.0.0.1:${port}`, readyLine: /^bitbend: ready / }];
}

async function processParts(dir, { memory, staticDir, showErrors, options, network, ways, storages, gateways, sequencers, workers, schedulers }) {
  const ports = await freePorts(2 * (storages + gateways + sequencers + workers) + schedulers + storages + gateways);
  const tcp = (port) => `tcp://127.0.0.1:${port}`;
  const named = (name, count) => Object.fromEntries(Array.from({ length: count }, (_, i) => [i === 0 ? name : `${name}${i + 1}`, ports.shift()]));
  const storagePorts = named("storage", storages);
  const raftPorts = named("storage", storages);
  const sequencerPorts = named("sequencer", sequencers);
  const workerPorts = named("worker", workers);
  const gatewayPorts = named("gateway", gateways);
  const storageDoors = await doors(ways, storagePorts);
  const sequencerDoors = await doors(ways, sequencerPorts);
  const advertised = (byName, settings) => Object.entries(byName).forEach(([name, port]) => Object.assign(settings[name], ways && { advertise: tcp(port) }));
  const list = (byName) => Object.values(byName).map(tcp).join(",");
  const each = (byName, own) => Object.fromEntries(Object.entries(byName).map(([name, port]) => [name, { listen: tcp(port), ...own }]));
  const admins = ports;
  const settings = {
    ...each(storagePorts, { data: join(dir, "data"), memory }),
    ...each(sequencerPorts, { storage: list(storageDoors) }),
    ...each(workerPorts, {
      storage: list(storageDoors),
      sequencer: list(sequencerDoors),
      node: NODE,
      addon: join(BUILD, "bb_slot.node"),
      "slot-js": join(ROOT, "services/worker/slot.cjs"),
      "show-errors": showErrors,
    }),
  };
  advertised(storageDoors, settings);
  advertised(sequencerDoors, settings);
  if (storages > 1) knowEachOther(dir, Object.entries(raftPorts), settings, await proxied(network, Object.values(raftPorts)));
  for (let i = 0; i < schedulers; i++) {
    const name = i === 0 ? "scheduler" : `scheduler${i + 1}`;
    settings[name] = { workers: list(workerPorts), storage: list(storageDoors), name, "lease-ms": schedulers > 1 ? 3000 : 0 };
  }
  for (const [name, port] of Object.entries(gatewayPorts))
    settings[name] = { listen: `127.0.0.1:${port}`, "peer-listen": tcp(ports.pop()), workers: list(workerPorts), storage: list(storageDoors), "admin-key": ADMIN_KEY, static: staticDir, "show-errors": showErrors };
  return Object.entries(settings).map(([name, own], index) => ({
    name,
    program: name.replace(/\d+$/, ""),
    settings: { ...own, "admin-listen": `127.0.0.1:${admins[index]}`, ...options[name.replace(/\d+$/, "")], ...options[name] },
    readyUrl: `http://127.0.0.1:${admins[index]}/readyz`,
    url: name.startsWith("gateway") ? `http://${own.listen}` : undefined,
  }));
}

/** Where others reach these processes: at their own ports, or through ways that can be cut. */
async function doors(ways, ports) {
  if (ways === undefined) return ports;
  const entries = Object.entries(ports);
  const seen = await freePorts(entries.length);
  await Promise.all(entries.map(([name, target], index) => ways.open(name, seen[index], target)));
  return Object.fromEntries(entries.map(([name], index) => [name, seen[index]]));
}

/** The ports at which storage nodes see each other: their own, or those of a network that can be cut. */
async function proxied(network, ports) {
  if (network === undefined) return ports;
  const seen = await freePorts(ports.length);
  await network.open(ports.map((target, index) => ({ id: index + 1, port: seen[index], target })));
  return seen;
}

/** Storage nodes of one cluster: numbers, addresses of their logs, a secret. */
function knowEachOther(dir, raftPorts, settings, seenPorts) {
  const secret = join(dir, "secret");
  const peers = seenPorts.map((port, index) => `${index + 1}=127.0.0.1:${port}`).join(",");
  writeFileSync(secret, "what all nodes of this test know\n");
  raftPorts.forEach(([name, port], index) =>
    Object.assign(settings[name], { data: join(dir, `data${index + 1}`), "raft-id": index + 1, "raft-listen": `127.0.0.1:${port}`, peers, "secret-file": secret }),
  );
}

/** A child process with `exited` and `ready` promises. */
function startPart(dir, { name, program = name, settings, readyLine, readyUrl }) {
  const log = openSync(join(dir, `${name}.log`), "a");
  const child = spawn(join(BUILD, `bin/bb-${program}`), flagsOf(settings), { stdio: ["ignore", "pipe", log], env: { ...process.env, NODE_OPTIONS: "" } });
  closeSync(log);
  alive.add(child);
  child.exited = new Promise((done) => {
    child.once("error", (error) => done(error.message));
    child.once("exit", (code, signal) => {
      alive.delete(child);
      done(signal ?? `exit code ${code}`);
    });
  });
  let out = "";
  child.ready = new Promise((done, fail) => {
    const timer = setTimeout(() => fail(new Error(`bb-${name} was not ready after ${READY_TIMEOUT_MS} ms`)), READY_TIMEOUT_MS);
    const isReady = () => {
      clearTimeout(timer);
      done();
    };
    child.stdout.setEncoding("utf8").on("data", (text) => {
      if (readyLine === undefined) return;
      out += text;
      if (out.split("\n").some((line) => readyLine.test(line))) isReady();
    });
    child.exited.then((why) => {
      clearTimeout(timer);
      fail(new Error(`bb-${name} ended (${why}) before it was ready`));
    });
    if (readyUrl !== undefined) untilReady(child, readyUrl).then(isReady);
  });
  child.ready.catch(() => {}); // whoever waits hears of it
  return child;
}

async function untilReady(child, url) {
  while (alive.has(child)) {
    const isReady = await fetch(url).then(({ status }) => status === 200, () => false);
    if (isReady) return;
    await new Promise((done) => setTimeout(done, 20));
  }
  await new Promise(() => {}); // `exited` tells
}

function flagsOf(settings) {
  return Object.entries(settings).flatMap(([name, value]) => {
    if (value === undefined || value === false) return [];
    return value === true ? [`--${name}`] : [`--${name}`, String(value)];
  });
}

function isFree(port) {
  return new Promise((done) => {
    const server = createServer();
    server.once("error", () => done(false));
    server.listen(port, "127.0.0.1", () => server.close(() => done(true)));
  });
}

function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function read(file) {
  return existsSync(file) ? readFileSync(file, "utf8").split("\n").slice(-40).join("\n") : "";
}
