/**
 * The runner: takes actions from NATS while it has room, has them run, answers. It tells every second that it
 * lives; who waits for an action of a runner that is silent gives up.
 */

import { randomBytes } from "node:crypto";

import { createRedactor, redactLines, redactReply, redactValue } from "./redact.js";
import { createMint } from "./token.js";

const BEAT_MS = 1000;
const INLINE_MAX = 512 << 10;
const TOKEN_SLACK_MS = 60_000;

const failure = (code, errorMessage) => ({ status: "error", code, errorMessage });

export function createRunner({ bus, gateway, pool, logs, options, log }) {
  const id = randomBytes(12).toString("hex");
  const mint = createMint(options["admin-key"]);
  const running = new Map(); // id -> { cancel(code, message) }
  const timeMaxMs = options["time-max-s"] * 1000;
  const wakers = new Set(); // who waits for room
  let isDraining = false;

  const beat = () => bus.publish("runner", JSON.stringify({ id, running: running.size, slots: options.slots, version: Math.max(0, pool.version) }));
  const beats = setInterval(beat, BEAT_MS);

  const hasRoom = () => running.size < options.slots && !isDraining;

  /** Listens for direct actions exactly while there is room. */
  function listen() {
    bus.listen("action", hasRoom() ? onAction : null);
  }

  function leave(taskId) {
    const wasFull = running.size >= options.slots;
    running.delete(taskId);
    listen();
    if (wasFull) beat();
    for (const wake of [...wakers]) wake();
  }

  /**
   * Runs one action of a job or a caller: `task` has id, path, version, args (JSON), identity, job, attempt. The
   * caller has reserved its room, and releases it. Never fails. Data of an error goes to the caller as it is; `isKept`:
   * into a row, which shows no more than logs do.
   */
  async function run(task, { onProgress = () => {}, isKept = false } = {}) {
    const state = { host: null, cancelled: running.get(task.id)?.cancelled ?? null };
    const cancel = (code, message) => {
      state.cancelled ??= { code, message };
      state.host?.cancel(task.id, code, message);
    };
    running.set(task.id, { job: task.job, cancel });
    if (!hasRoom()) listen();
    const limit = setTimeout(() => cancel("FunctionTimeout", `The action ran for more than ${options["time-max-s"]} s. A runner's --time-max-s gives it more.`), timeMaxMs);
    const source = logs.begin(task);
    const startedAt = performance.now();
    let reply;
    try {
      const token = mint({ id: task.id, job: task.job, attempt: task.attempt, identity: task.identity ?? undefined, exp: Date.now() + timeMaxMs + TOKEN_SLACK_MS });
      const environment = await gateway.environment(task.environment);
      const redact = createRedactor(environment);
      const whole = { id: task.id, path: task.path, args: task.args, identity: task.identity ?? null, attempt: task.attempt, token, environment, gateways: options.gateways, ...httpPart(task) };
      reply = await pool.run(task.version, whole, {
        onStart(host) {
          state.host = host;
          if (state.cancelled !== null) host.cancel(task.id, state.cancelled.code, state.cancelled.message);
        },
        onLines: (lines) => source.add(redactLines(redact, lines)),
        onProgress,
      });
      reply = redactReply(redact, reply);
      if (isKept && reply.errorData !== undefined) reply.errorData = redactValue(redact, reply.errorData);
    } catch (error) {
      log("runner.cannot_run", { path: task.path, why: error.message });
      reply = failure("Unavailable", `The action cannot run: ${error.message}`);
    }
    clearTimeout(limit);
    source.end(reply, performance.now() - startedAt);
    return reply;
  }

  /** Room for a task whose arguments, or right to run, are still asked for; cancelled meanwhile, it is when it runs. */
  function reserve(taskId, job) {
    if (!hasRoom() || running.has(taskId)) return false;
    const place = { job, cancelled: null, cancel: (code, message) => (place.cancelled ??= { code, message }) };
    running.set(taskId, place);
    if (!hasRoom()) listen();
    return true;
  }

  async function onAction(text, respond) {
    const task = parseTask(text);
    if (task === null) return;
    if (!reserve(task.id)) return respond(JSON.stringify({ busy: true }));
    respond(JSON.stringify({ accepted: id }));
    let reply;
    if (task.argsRef) {
      try {
        task.args = await gateway.fetchArguments(task.gateway, task.id);
      } catch (error) {
        reply = failure("Unavailable", `The arguments of the action could not be fetched: ${error.message}`);
      }
    }
    reply ??= await run(task);
    leave(task.id);
    await answer(task, reply, respond);
  }

  /** By NATS, or, when it is too large or NATS is away, to the gateway itself. */
  async function answer(task, reply, respond) {
    const text = JSON.stringify(reply);
    if (Buffer.byteLength(text) <= INLINE_MAX && bus.isUp && respond(text)) return;
    try {
      await gateway.sendResult(task.gateway, task.id, text);
    } catch (error) {
      log("runner.answer_lost", { path: task.path, why: error.message });
    }
  }

  function onCancel(text) {
    const { id: named } = parseJson(text) ?? {};
    for (const [taskId, { job, cancel }] of running) {
      if (named === taskId || named === job) cancel("Cancelled", "The action was cancelled.");
    }
  }

  return {
    id,
    run,
    reserve,
    release: leave,
    hasRoom,
    get running() {
      return running.size;
    },
    /** Resolves when there may be room. */
    untilRoom: () =>
      hasRoom()
        ? Promise.resolve()
        : new Promise((done) => {
            const wake = () => {
              if (!hasRoom() && !isDraining) return;
              wakers.delete(wake);
              done();
            };
            wakers.add(wake);
          }),
    cancel: (taskId, message) => running.get(taskId)?.cancel("Cancelled", message),
    start() {
      bus.listen("action.cancel", onCancel, { isForAll: true });
      listen();
      beat();
    },
    /** Takes nothing new and waits for what runs, at most so long; then cancels it. */
    async drain(limitMs) {
      isDraining = true;
      listen();
      for (const wake of [...wakers]) wake();
      for (const end = Date.now() + limitMs; running.size > 0 && Date.now() < end; ) await new Promise((done) => setTimeout(done, 50));
      for (const { cancel } of running.values()) cancel("Cancelled", "The runner ends.");
      for (const end = Date.now() + 6000; running.size > 0 && Date.now() < end; ) await new Promise((done) => setTimeout(done, 50));
      clearInterval(beats);
      bus.publish("runner", JSON.stringify({ id, gone: true }));
    },
  };
}

/** Of a request of an endpoint: which route it is, and the gateway that holds the client. */
function httpPart({ kind, route, params, gateway }) {
  return kind === "http" ? { kind, route, params, gateway } : {};
}

function parseTask(text) {
  const task = parseJson(text);
  const isTask = typeof task?.id === "string" && typeof task.path === "string" && typeof task.gateway === "string" && Number.isInteger(task.version);
  return isTask ? task : null;
}

function parseJson(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
