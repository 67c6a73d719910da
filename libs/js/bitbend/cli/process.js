/** A process that is started again whenever it dies, until it is stopped; and none outlives the command line. */

import { spawn } from "node:child_process";
import { closeSync, openSync } from "node:fs";

const RESTART_MIN_MS = 100;
const RESTART_MAX_MS = 5000;
const HEALTHY_MS = 10_000;

// Reads the pids that run, a line at a time. The end of its input is the end of who wrote them, however that came.
const GUARD = 'pids=; while read -r line; do pids=$line; done; [ -z "$pids" ] || kill $pids';
const guarded = new Set();
let guard = null;

/** When this process is killed, `child` is ended by a shell that waits for that. */
export function endWithThisProcess(child) {
  if (child.pid === undefined) return;
  if (guard === null) {
    guard = spawn("/bin/sh", ["-c", GUARD], { stdio: ["pipe", "ignore", "ignore"], detached: true });
    guard.once("error", () => {}); // no shell: they are left behind, as nobody else knows of them
    guard.stdin.on("error", () => {});
    guard.unref();
    guard.stdin.unref();
  }
  const tell = () => guard.stdin.write(`${[...guarded].join(" ")}\n`);
  guarded.add(child.pid);
  tell();
  child.once("exit", () => {
    guarded.delete(child.pid);
    tell();
  });
}

/**
 * `onEnd(why)` hears of a death that nobody asked for, once until it has lived for a while. The process has a group of
 * its own: Ctrl-C in the terminal reaches the command line only, which stops everything in order.
 */
export function keepRunning({ program, args, env, logFile, stopTimeoutMs = 10_000, onEnd = () => {} }) {
  let child = null;
  let timer = null;
  let isStopping = false;
  let isTold = false;
  let delayMs = RESTART_MIN_MS;

  function start() {
    const log = openSync(logFile, "a", 0o600);
    const startedAt = Date.now();
    child = spawn(program, args, { env, stdio: ["ignore", log, log], detached: true });
    closeSync(log);
    endWithThisProcess(child);
    child.ended = new Promise((done) => {
      child.once("error", (error) => done(error.message));
      child.once("exit", (code, signal) => done(signal ?? `exit code ${code}`));
    });
    child.ended.then((why) => {
      if (isStopping) return;
      if (Date.now() - startedAt > HEALTHY_MS) {
        delayMs = RESTART_MIN_MS;
        isTold = false;
      }
      if (!isTold) onEnd(why);
      isTold = true;
      timer = setTimeout(start, delayMs);
      delayMs = Math.min(delayMs * 2, RESTART_MAX_MS);
    });
  }
  start();

  return {
    get pid() {
      return child.pid;
    },
    async stop() {
      isStopping = true;
      clearTimeout(timer);
      if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return;
      const killer = setTimeout(() => child.kill("SIGKILL"), stopTimeoutMs);
      child.kill("SIGTERM");
      await child.ended;
      clearTimeout(killer);
    },
  };
}
