/** nats-server beside an embedded suite: on loopback, with a token, its data in the suite's folder. */

import { randomBytes } from "node:crypto";
import { accessSync, constants, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { delimiter, join, resolve } from "node:path";

const PROGRAM = "nats-server";
const HOST = "127.0.0.1";
const FIRST_PORT = 20_000; // below the ephemeral range, so that no outgoing connection takes it
const PORT_COUNT = 12_000;

/** The path of nats-server: BITBEND_NATS_SERVER, BITBEND_HOME, PATH and where Debian keeps it; null when there is none. */
export function findNatsServer(env = process.env) {
  const dirs = [...(env.BITBEND_HOME ? [join(env.BITBEND_HOME, "bin")] : []), ...(env.PATH ?? "").split(delimiter), "/usr/sbin"];
  const candidates = [...(env.BITBEND_NATS_SERVER ? [env.BITBEND_NATS_SERVER] : []), ...dirs.map((dir) => join(dir, PROGRAM))];
  return candidates.map((file) => resolve(file)).find(isProgram) ?? null;
}

/**
 * Writes the configuration of a server into `dir` and returns `{args, url}`: how it is started, and where it will be
 * with the token that opens it. The token changes with each start, and only this user can read it.
 */
export async function prepareNats(dir, { isMemory = false } = {}) {
  mkdirSync(dir, { recursive: true, mode: 0o700 });
  const pidFile = join(dir, "server.pid");
  endLeftOver(pidFile, dir);
  const store = join(dir, "jetstream");
  if (isMemory) rmSync(store, { recursive: true, force: true });
  const port = await freePort();
  const token = randomBytes(24).toString("hex");
  const file = join(dir, "server.conf");
  const lines = [
    `listen: "${HOST}:${port}"`,
    "max_payload: 8MB",
    "max_pending: 64MB",
    `authorization { token: "${token}" }`,
    `jetstream { store_dir: ${JSON.stringify(store)}, max_memory_store: 64MB, max_file_store: 4GB }`,
    `pid_file: ${JSON.stringify(pidFile)}`,
  ];
  rmSync(file, { force: true });
  writeFileSync(file, `${lines.join("\n")}\n`, { mode: 0o600 });
  return { args: ["-c", file], url: `nats://${token}@${HOST}:${port}` };
}

/** A server whose suite was killed keeps the folder: it ends before another one opens it. */
function endLeftOver(pidFile, dir) {
  try {
    const pid = Number(readFileSync(pidFile, "utf8"));
    if (pid > 1 && readFileSync(`/proc/${pid}/cmdline`, "utf8").includes(join(dir, "server.conf"))) process.kill(pid, "SIGKILL");
  } catch {
    // No such file, or no such process.
  }
  rmSync(pidFile, { force: true });
}

async function freePort() {
  for (;;) {
    const port = FIRST_PORT + Math.floor(Math.random() * PORT_COUNT);
    if (await isFree(port)) return port;
  }
}

function isFree(port) {
  return new Promise((done) => {
    const server = createServer();
    server.once("error", () => done(false));
    server.listen(port, HOST, () => server.close(() => done(true)));
  });
}

function isProgram(file) {
  try {
    accessSync(file, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
