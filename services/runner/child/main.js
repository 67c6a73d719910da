/**
 * A process of user code: one worker thread for each action that runs, warm ones kept for the next. The main
 * thread runs nothing of the user; it passes on what the runner and the threads say. It ends with the runner.
 */

import { Worker } from "node:worker_threads";
import { fileURLToPath } from "node:url";

import { createLimiter } from "./limiter.js";
import { replyOfError } from "./errors.js";

const THREAD = fileURLToPath(new URL("thread.js", import.meta.url));
const WARM_MAX = 64; // after many actions at once
const WARM_KEPT = 4; // when nothing needed more for a while
const WARM_IDLE_MS = 10_000;
const RUNS_MAX = 1000; // of one thread
const CANCEL_GRACE_MS = 5000;

const [, , dir, memoryMb] = process.argv;
const warm = [];
const running = new Map(); // id -> thread

setInterval(endIdle, WARM_IDLE_MS / 2).unref();
process.on("disconnect", endGroup);
process.on("message", (message) => {
  if (message.type === "run") run(message);
  else if (message.type === "cancel") cancel(message);
  else if (message.type === "end") endGroup();
});
process.on("SIGTERM", () => {}); // the runner decides when this ends
process.on("SIGINT", () => {});

/** With all that user code started and that stayed in the process group. */
function endGroup() {
  process.kill(-process.pid, "SIGKILL");
}

/** The coldest are at the front. */
function endIdle() {
  const before = performance.now() - WARM_IDLE_MS;
  while (warm.length > WARM_KEPT && warm[0].idleSince < before) warm.shift().worker.terminate();
}

const toRunner = (message) => process.connected && process.send(message, () => {});

function startThread() {
  const worker = new Worker(THREAD, {
    workerData: { dir },
    env: { ...process.env },
    stdout: true,
    stderr: true,
    stdin: false,
    trackUnmanagedFds: true,
    resourceLimits: { maxOldGenerationSizeMb: Number(memoryMb), maxYoungGenerationSizeMb: 32, stackSizeMb: 4 },
  });
  const thread = { worker, runs: 0, id: null, limiter: null, timer: null, fatal: null, idleSince: 0 };
  worker.on("message", (message) => onMessage(thread, message));
  worker.on("error", (error) => (thread.fatal ??= fatalReply(error)));
  worker.on("messageerror", () => (thread.fatal ??= { status: "error", code: "ServerError", errorMessage: "The action sent something that cannot be passed on." }));
  worker.on("exit", (code) => onExit(thread, code));
  for (const [stream, level] of [[worker.stdout, "info"], [worker.stderr, "error"]]) {
    stream.setEncoding("utf8").on("data", (text) => writeLines(thread, level, text));
  }
  return thread;
}

function fatalReply(error) {
  if (error?.code === "ERR_WORKER_OUT_OF_MEMORY") {
    return { status: "error", code: "OutOfMemory", errorMessage: `The action needs more than ${memoryMb} MB of memory. A runner's --memory-mb gives it more.` };
  }
  return replyOfError(error, dir);
}

function run({ type, ...task }) {
  const thread = warm.pop() ?? startThread();
  thread.id = task.id;
  thread.runs++;
  thread.fatal = null;
  thread.limiter = createLimiter((lines) => toRunner({ type: "lines", id: task.id, lines }));
  running.set(task.id, thread);
  thread.worker.postMessage({ type: "run", ...task });
}

function cancel({ id, code, message }) {
  const thread = running.get(id);
  if (thread === undefined || thread.timer !== null) return;
  thread.worker.postMessage({ type: "cancel", id, message });
  thread.timer = setTimeout(() => {
    thread.fatal ??= { status: "error", code, errorMessage: message };
    thread.worker.terminate();
  }, CANCEL_GRACE_MS);
  thread.cancelled = { status: "error", code, errorMessage: message };
}

function onMessage(thread, message) {
  if (message?.id !== thread.id || thread.id === null) return;
  if (message.type === "lines") thread.limiter.add(message.lines);
  else if (message.type === "dropped") thread.limiter.addDropped(message.count);
  else if (message.type === "progress") toRunner({ type: "progress", id: thread.id, value: message.value });
  else if (message.type === "done") finish(thread, message.reply, message.isClean);
}

/** What code writes past the console. */
function writeLines(thread, level, text) {
  if (thread.id === null) return;
  const lines = text.split("\n").filter((line) => line !== "").map((line) => ({ level, text: line, time: Date.now() }));
  thread.limiter.add(lines);
}

function onExit(thread, code) {
  const at = warm.indexOf(thread);
  if (at >= 0) warm.splice(at, 1);
  if (thread.id === null) return;
  finish(thread, thread.cancelled ?? thread.fatal ?? { status: "error", code: "ServerError", errorMessage: `The action called process.exit(${code}): that ends the action only.` }, false);
}

function finish(thread, reply, isClean) {
  const { id, limiter } = thread;
  clearTimeout(thread.timer);
  limiter.end();
  running.delete(id);
  thread.id = thread.timer = thread.limiter = null;
  // One that was told to stop and failed for it, was cancelled; one that ended well all the same, is done.
  const isCancelled = thread.cancelled !== undefined && reply.status !== "success";
  toRunner({ type: "done", id, reply: isCancelled ? thread.cancelled : reply });
  const keeps = isClean && thread.cancelled === undefined && thread.runs < RUNS_MAX && warm.length < WARM_MAX;
  delete thread.cancelled;
  if (keeps) {
    thread.idleSince = performance.now();
    warm.push(thread);
  } else {
    thread.worker.terminate();
  }
}

warm.push(startThread());
