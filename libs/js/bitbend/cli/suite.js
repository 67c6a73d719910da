/** The embedded suite: finds `bb-solo`, starts it and what runs beside it, starts each again when it dies, stops them. */

import { spawn } from "node:child_process";
import { accessSync, closeSync, constants, existsSync, mkdirSync, openSync, readFileSync, realpathSync, renameSync, writeFileSync } from "node:fs";
import { delimiter, dirname, join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

import { createAdmin } from "./admin.js";
import { readDevFile } from "./app.js";
import { startNats, startRunner } from "./companions.js";
import { CliError } from "./output.js";
import { endWithThisProcess } from "./process.js";

const PROGRAM = "bb-solo";
const HOST = "127.0.0.1";
const PORT_DEFAULT = 3210;
const READY_TIMEOUT_MS = 30_000;
const STOP_TIMEOUT_MS = 10_000;
const RESTART_MIN_MS = 100;
const RESTART_MAX_MS = 5000;

/** The path of `bb-solo`: in BITBEND_HOME, in the checkout this package lies in (or came from), in PATH. */
export function findSuite(appDir, env = process.env) {
  const packageDir = realpathSync(resolve(dirname(fileURLToPath(import.meta.url)), ".."));
  const homes = [env.BITBEND_HOME, ...checkoutsOf(packageDir, appDir)].filter(Boolean);
  const candidates = [
    ...homes.flatMap((home) => [join(home, "bin"), join(home, "build/release/bin"), home]),
    ...(env.PATH ?? "").split(delimiter),
  ];
  const found = candidates.map((dir) => resolve(dir, PROGRAM)).find(isProgram);
  if (found === undefined) {
    throw new CliError(`The program ${PROGRAM} is not there: build it with "make build" in the BitBend checkout, or set BITBEND_HOME to the folder whose bin/ has it, or put it into PATH.`);
  }
  return found;
}

/**
 * The running suite of this data folder, or a new one; with `hasRunner` nats-server and a runner beside it. Returns `{url, adminKey, isOwner, stop}`;
 * `onRestart(deployment)` is called each time it was started again after a death.
 */
export async function ensureSuite({ appDir, dataDir, port, isMemory = false, staticDir, nats, hasRunner = false, output, onRestart = () => {} }) {
  const running = readDevFile(dataDir);
  if (running !== null && isRunning(running.pid) && (await createAdmin(running).isAlive())) {
    const runningPort = Number(new URL(running.url).port);
    if (port !== undefined && port !== runningPort) {
      throw new CliError(`A suite for ${dataDir} runs already at ${running.url} (pid ${running.pid}): stop it first, or leave --port out.`);
    }
    return { ...running, isOwner: false, stop: async () => {} };
  }

  const program = findSuite(appDir);
  prepareDataDir(dataDir);
  const bus = hasRunner && nats !== "off" ? await startNats({ dataDir, nats, isMemory, output }) : null;
  const options = { program, dataDir, isMemory, staticDir, natsUrl: bus?.url };
  let isStopping = false;
  let restarting = null;
  let current = await startFirst({ ...options, listen: `${HOST}:${port ?? PORT_DEFAULT}`, searchPort: port === undefined });
  const listen = new URL(current.url).host;
  const runner = bus === null ? null : startRunner({ program, dataDir, natsUrl: bus.url, url: current.url, adminKey: current.adminKey, output });

  async function startFirst(how) {
    try {
      return await start(how);
    } catch (error) {
      await bus?.stop();
      throw error;
    }
  }
  async function startAgain(why) {
    const logFile = keepLog(dataDir);
    output.error(`The suite ended (${why}); starting it again.${logFile === null ? "" : `${fatalOf(logFile)}\n    Its log: ${logFile}`}`);
    let isTold = false;
    for (let delayMs = RESTART_MIN_MS; !isStopping; delayMs = Math.min(delayMs * 2, RESTART_MAX_MS)) {
      try {
        current = await start({ ...options, listen, searchPort: false });
        watch();
        onRestart(current);
        return;
      } catch (error) {
        if (isStopping) return;
        if (!isTold) output.error(`${error.message}\nTrying again until it starts.`);
        isTold = true;
        await new Promise((done) => setTimeout(done, delayMs));
      }
    }
  }
  function watch() {
    current.exited.then((why) => {
      if (!isStopping) restarting = startAgain(why);
    });
  }
  watch();

  return {
    url: current.url,
    get adminKey() {
      return current.adminKey;
    },
    get pid() {
      return current.child.pid;
    },
    isOwner: true,
    async stop() {
      isStopping = true;
      await runner?.stop();
      await restarting;
      await stopChild(current);
      await bus?.stop();
    },
  };
}

async function start({ program, dataDir, isMemory, staticDir, natsUrl, listen, searchPort }) {
  // Several suites may run on one computer: none takes the fixed admin port.
  const args = ["--data", dataDir, "--listen", listen, "--show-errors", "--admin-listen", "off"];
  if (searchPort) args.push("--port-search");
  if (isMemory) args.push("--memory");
  if (staticDir) args.push("--static", staticDir);
  const logFile = join(dataDir, "suite.log");
  const log = openSync(logFile, "w", 0o600);
  // In the environment, as the URL has a token and everybody can see arguments.
  const env = natsUrl === undefined ? process.env : { ...process.env, BB_SOLO_NATS: natsUrl };
  const child = spawn(program, args, { env, stdio: ["ignore", "pipe", log] });
  closeSync(log);
  endWithThisProcess(child);

  const lines = createInterface({ input: child.stdout });
  const exited = new Promise((done) => {
    child.once("error", (error) => done(error.message));
    child.once("exit", (code, signal) => done(signal ?? `exit code ${code}`));
  });
  const url = await new Promise((ready, fail) => {
    const timer = setTimeout(() => {
      child.kill("SIGKILL");
      fail(new CliError(`${program} was not ready after ${READY_TIMEOUT_MS / 1000} s.${tailOf(logFile)}`));
    }, READY_TIMEOUT_MS);
    lines.on("line", (line) => {
      const match = /^bitbend: ready (http:\S+)/.exec(line);
      if (match === null) return;
      clearTimeout(timer);
      ready(match[1].replace(/\/+$/, ""));
    });
    exited.then((why) => {
      clearTimeout(timer);
      fail(new CliError(reasonOf(logFile) ?? `The suite could not start (${why}).${tailOf(logFile)}`));
    });
  });
  const written = readDevFile(dataDir);
  if (written === null) {
    child.kill();
    throw new CliError(`The suite wrote no ${join(dataDir, "dev.json")}; is ${program} of this version?`);
  }
  return { url, adminKey: written.adminKey, child, exited };
}

async function stopChild({ child, exited }) {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const timer = setTimeout(() => child.kill("SIGKILL"), STOP_TIMEOUT_MS);
  child.kill("SIGTERM");
  await exited;
  clearTimeout(timer);
}

function prepareDataDir(dataDir) {
  try {
    mkdirSync(dataDir, { recursive: true });
    const ignore = join(dataDir, ".gitignore");
    if (!existsSync(ignore)) writeFileSync(ignore, "*\n");
  } catch (error) {
    throw new CliError(`The data folder ${dataDir} cannot be written: ${error.message}. Choose another with --data.`);
  }
}

function checkoutsOf(packageDir, appDir) {
  const checkouts = [resolve(packageDir, "../../..")];
  try {
    // A copied package (npm install --install-links) still says where it came from.
    const { dependencies = {}, devDependencies = {} } = JSON.parse(readFileSync(join(appDir, "package.json"), "utf8"));
    const from = dependencies.bitbend ?? devDependencies.bitbend ?? "";
    if (from.startsWith("file:")) checkouts.push(resolve(appDir, from.slice("file:".length), "../../.."));
  } catch {
    // No package.json: then the package's own place must do.
  }
  return checkouts;
}

function isProgram(file) {
  try {
    accessSync(file, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

function isRunning(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error.code === "EPERM";
  }
}

/** The sentence with which it ended, if it said one. */
function reasonOf(file) {
  const [, reason] = /^bb-solo: (.+)$/m.exec(readFileSync(file, "utf8")) ?? [];
  if (reason === undefined) return null;
  const advice = /\bin use\b/.test(reason) ? " (without --port, dev takes the next free port)" : "";
  return `The suite could not start: ${reason}${advice}.`;
}

/** The log of a suite that died, out of the way of the next one's; null when it is gone. */
function keepLog(dataDir) {
  const kept = join(dataDir, "suite.log.old");
  try {
    renameSync(join(dataDir, "suite.log"), kept);
    return kept;
  } catch {
    return null;
  }
}

/** The line of the log that says why it died, if it knew. */
function fatalOf(file) {
  const [, reason] = /^\S+ error \S+ (\S+\.fatal .+)$/m.exec(readFileSync(file, "utf8")) ?? [];
  return reason === undefined ? "" : `\n    ${reason}`;
}

/** What it said last, for people. */
function tailOf(file) {
  const lines = readFileSync(file, "utf8").trimEnd().split("\n").slice(-8).filter(Boolean);
  return lines.length === 0 ? "" : `\n    ${lines.join("\n    ")}`;
}
