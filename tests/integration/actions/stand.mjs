/** A suite with nats-server and runners around it, for tests of actions. */

import { spawn } from "node:child_process";
import { closeSync, existsSync, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { eventually, freePorts, ROOT, startSuite, suiteMissing } from "../js/suite.mjs";

export const NATS_PROGRAM = "/usr/sbin/nats-server";
const NODE = join(ROOT, `services/worker/node_modules/node-linux-${process.arch === "arm64" ? "arm64" : "x64"}/bin/node`);
const alive = new Set();
process.on("exit", () => alive.forEach((child) => child.kill("SIGKILL")));

/** Why these tests cannot run here, or false. */
export function actionsMissing() {
  if (!existsSync(NATS_PROGRAM)) return `${NATS_PROGRAM} is missing`;
  if (!existsSync(join(ROOT, "services/runner/node_modules"))) return "the packages of services/runner are not installed";
  return suiteMissing();
}

/** `startSuite` with `--nats`, a nats-server, and `runners` runners; `runner`: more options of theirs. */
export async function startStand({ runners = 1, runner = {}, options = {}, ...more } = {}) {
  const [port] = await freePorts(1);
  const nats = `nats://127.0.0.1:${port}`;
  const part = more.mode === undefined || more.mode === "solo" ? "solo" : "gateway";
  const natsDir = mkdtempSync(join(tmpdir(), "bitbend-nats-"));
  const startServer = async () => {
    const child = startChild(natsDir, "nats", NATS_PROGRAM, ["-js", "-sd", natsDir, "-a", "127.0.0.1", "-p", String(port)]);
    await eventually(() => canConnect(port), { what: "nats-server" });
    return child;
  };
  const first = await startServer();
  const suite = await startSuite({ ...more, options: { ...options, [part]: { nats, ...options[part] }, ...(part === "solo" ? {} : { scheduler: { nats, ...options.scheduler } }) } }).catch(async (error) => {
    await endChild(first);
    throw error;
  });
  const stand = Object.assign(suite, { nats, natsPort: port, natsDir, natsServer: first, runners: [] });
  let started = 0;

  stand.startNats = async () => {
    stand.natsServer = await startServer();
  };
  stand.startRunner = async (own = {}) => {
    const number = ++started;
    const settings = { nats, gateway: suite.urls.join(","), "admin-key": suite.adminKey, data: join(suite.dir, `runner${number}`), ...runner, ...own };
    const args = Object.entries(settings).flatMap(([name, value]) => [`--${name}`, String(value)]);
    const child = startChild(suite.dir, `runner${number}`, NODE, [join(ROOT, "services/runner/main.js"), ...args]);
    child.name = `runner${number}`;
    stand.runners.push(child);
    await eventually(() => child.out.includes("bitbend-runner: ready"), { what: "the runner" });
    return child;
  };
  stand.log = (name) => readFileSync(join(suite.dir, `${name}.log`), "utf8");
  const stopSuite = suite.stop;
  stand.stop = async () => {
    for (const child of [...stand.runners, stand.natsServer]) await endChild(child, "SIGTERM");
    await stopSuite();
    rmSync(natsDir, { recursive: true, force: true });
  };

  try {
    for (let i = 0; i < runners; i++) await stand.startRunner();
    await eventually(async () => (await suite.admin.status()).gateway.runners?.length === runners, { what: "the runners at the gateway" });
    return stand;
  } catch (error) {
    error.message += `\n${suite.logs()}`;
    await stand.stop();
    throw error;
  }
}

export async function endChild(child, signal = "SIGKILL") {
  if (child === null || child.exitCode !== null || child.signalCode !== null) return;
  child.kill(signal);
  await child.exited;
}

function startChild(dir, name, program, args) {
  const log = openSync(join(dir, `${name}.log`), "a");
  const child = spawn(program, args, { stdio: ["ignore", "pipe", log] });
  closeSync(log);
  alive.add(child);
  child.out = "";
  child.stdout.setEncoding("utf8").on("data", (text) => (child.out += text));
  child.exited = new Promise((done) => child.once("exit", (code, signal) => (alive.delete(child), done(signal ?? code))));
  return child;
}

function canConnect(port) {
  return new Promise((done) => {
    const socket = connect(port, "127.0.0.1");
    socket.once("connect", () => (socket.destroy(), done(true)));
    socket.once("error", () => done(false));
  });
}

export { eventually };
