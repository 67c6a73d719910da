/**
 * The process that runs the actions of one version of the code, seen from the runner: started, talked to, and
 * ended with everything that it started (a process group). When it dies, what ran in it has failed, no more.
 */

import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const PROGRAM = fileURLToPath(new URL("child/main.js", import.meta.url));
const CHECK_MEMORY_MS = 1000;
const END_MS = 2000;
const PAGE_KB = 4;
/** All that a child sees of the runner's environment: nothing of it is secret. */
const ENVIRONMENT = ["PATH", "HOME", "USER", "LANG", "LC_ALL", "TZ", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR", "NODE_EXTRA_CA_CERTS", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"];

const failure = (code, errorMessage) => ({ status: "error", code, errorMessage });

/** `options`: {dir, memoryMb, processMemoryMb}; `log(event, fields)`. */
export function startHost({ dir, memoryMb, processMemoryMb, log }) {
  const runs = new Map(); // id -> { done, onLines, onProgress }
  const env = Object.fromEntries(ENVIRONMENT.filter((name) => process.env[name] !== undefined).map((name) => [name, process.env[name]]));
  const child = spawn(process.execPath, ["--enable-source-maps", "--no-warnings=ExperimentalWarning", PROGRAM, dir, String(memoryMb)], {
    cwd: join(dir, "functions"),
    detached: true, // its own process group
    env: { ...env, NODE_ENV: "production" },
    stdio: ["ignore", "pipe", "pipe", "ipc"],
  });
  let why = null; // it was ended on purpose
  let tail = ""; // of what it wrote besides log lines
  let isGone = false;

  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8").on("data", (text) => (tail = (tail + text).slice(-2000)));
    stream.on("error", () => {});
  }
  child.on("message", (message) => {
    const run = runs.get(message?.id);
    if (run === undefined) return;
    if (message.type === "lines") run.onLines(message.lines);
    else if (message.type === "progress") run.onProgress(message.value);
    else if (message.type === "done") {
      runs.delete(message.id);
      run.done(message.reply);
    }
  });
  const exited = new Promise((done) => {
    const end = (text) => {
      if (isGone) return;
      isGone = true;
      clearInterval(memoryCheck);
      killGroup();
      const code = why === "memory" ? "OutOfMemory" : "ServerError";
      const message = why === "memory" ? `The process that ran the action took more than ${processMemoryMb} MB in all, and was ended.` : `The process that ran the action ended (${text}).`;
      if (runs.size > 0 || why === null) log("runner.host_ended", { why: text, failed: runs.size, tail: tail.trim().slice(-500) });
      for (const run of runs.values()) run.done(failure(code, message));
      runs.clear();
      done();
    };
    child.once("error", (error) => end(error.message));
    child.once("exit", (code, signal) => end(signal ?? `exit code ${code}`));
  });
  child.on("error", () => {}); // told by exit

  function killGroup() {
    try {
      process.kill(-child.pid, "SIGKILL");
    } catch {
      // Nobody is left in it.
    }
  }

  /** What a limit of V8's heap does not see: buffers, native code. */
  function checkMemory() {
    try {
      const pages = Number(readFileSync(`/proc/${child.pid}/statm`, "latin1").split(" ")[1]);
      if (pages * PAGE_KB > processMemoryMb * 1024) {
        why = "memory";
        killGroup();
      }
    } catch {
      // It has just ended.
    }
  }
  const memoryCheck = setInterval(checkMemory, CHECK_MEMORY_MS);
  memoryCheck.unref();

  function send(message) {
    if (!isGone && child.connected) child.send(message, () => {}); // a failure ends in `exit`
  }

  return {
    dir,
    pid: child.pid,
    exited,
    get isGone() {
      return isGone;
    },
    get running() {
      return runs.size;
    },
    /** The reply of one action; never fails. `task`: what child/main.js takes. */
    run(task, { onLines, onProgress }) {
      if (isGone) return Promise.resolve(failure("Unavailable", "The process for actions ended; try again."));
      return new Promise((done) => {
        runs.set(task.id, { done, onLines, onProgress });
        send({ type: "run", ...task });
      });
    },
    cancel: (id, code, message) => send({ type: "cancel", id, code, message }),
    /** Ends it and all that it started. */
    async end() {
      why ??= "asked";
      send({ type: "end" });
      const timer = setTimeout(killGroup, END_MS);
      await exited;
      clearTimeout(timer);
    },
    kill() {
      why ??= "asked";
      killGroup();
    },
  };
}
