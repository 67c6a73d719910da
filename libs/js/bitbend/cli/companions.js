/**
 * What runs beside the embedded suite so that actions do: nats-server and a runner. Queries and mutations wait for
 * neither, and go on when they are missing.
 */

import { existsSync, rmSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

import { findNatsServer, prepareNats } from "./nats.js";
import { keepRunning } from "./process.js";

const RUNNER = "services/runner/main.js";

/** Starts nats-server, unless `nats` names one; null, with a note, when there is none. `{url, stop}`. */
export async function startNats({ dataDir, nats, isMemory, output }) {
  if (nats !== undefined) return { url: nats, stop: async () => {} };
  const program = findNatsServer();
  if (program === null) {
    output.note(`  ${output.paint("yellow", "!")} nats-server is not there, so actions do not run. On Debian: apt-get install nats-server; or name one with --nats URL.`);
    return null;
  }
  const dir = join(dataDir, "nats");
  const { args, url } = await prepareNats(dir, { isMemory });
  const logFile = join(dataDir, "nats.log");
  rmSync(logFile, { force: true });
  const server = keepRunning({ program, args, logFile, onEnd: (why) => output.error(`nats-server ended (${why}); starting it again. Its log: ${logFile}`) });
  return { url, stop: server.stop };
}

/** Starts a runner for the suite of `program`; null when this suite came without one. */
export function startRunner({ program, dataDir, natsUrl, url, adminKey, output }) {
  const home = homesOf(program).find((dir) => existsSync(join(dir, RUNNER)));
  if (home === undefined) {
    output.note(`  ${output.paint("yellow", "!")} ${RUNNER} is not there, so actions do not run.`);
    return null;
  }
  const logFile = join(dataDir, "runner.log");
  rmSync(logFile, { force: true });
  // Secrets travel in the environment, which only this user can see.
  const env = { ...process.env, NODE_OPTIONS: "", BITBEND_RUNNER_NATS: natsUrl, BITBEND_ADMIN_KEY: adminKey };
  const args = [join(home, RUNNER), "--gateway", url, "--data", join(dataDir, "runner"), "--drain-s", "2"];
  return keepRunning({ program: nodeOf(home), args, env, logFile, stopTimeoutMs: 12_000, onEnd: (why) => output.error(`The runner ended (${why}); starting it again. Its log: ${logFile}`) });
}

/** Checkouts that may hold the runner: the one of the program, then the one of this package. */
function homesOf(program) {
  const here = dirname(fileURLToPath(import.meta.url));
  return [process.env.BITBEND_HOME, resolve(dirname(program), "../../.."), resolve(dirname(program), ".."), resolve(here, "../../../..")].filter(Boolean);
}

/** The pinned Node.js of the checkout, else the one that runs this. */
function nodeOf(home) {
  const pinned = join(home, `services/worker/node_modules/node-linux-${process.arch === "arm64" ? "arm64" : "x64"}/bin/node`);
  return existsSync(pinned) ? pinned : process.execPath;
}
