/**
 * Jobs: actions of the scheduler, taken from the JetStream work queue while there is room. The row of the job
 * decides whether it runs, not the message: a message that comes twice, or late, runs nothing.
 */

import { createHash } from "node:crypto";

import { AckPolicy, jetstream, jetstreamManager } from "@nats-io/jetstream";

const ACK_WAIT_NS = 30e9;
const WORKING_MS = 10_000;
const RENEW_MS = 20_000;
const LOOK_MS = 2000; // for jobs that were cancelled
const BATCH_MAX = 500; // of jobs in one call
const PROGRESS_MS = 250;
const NEXT_MS = 5000;
const PAUSE_MS = 1000;
const NAK_MS = 2000;
const FINISH_PATIENCE_MS = 120_000;
const CONSUMER = "runners";

/** `run()` works until `stop()`; what runs then goes on. */
export function createJobs({ bus, gateway, runner, options, log }) {
  const stream = `BB_${options.deployment}_JOBS`;
  const active = new Map(); // job id -> { attempt, taskId }
  let isStopped = false;
  let wake = () => {};

  for (const [work, ms] of [[renew, RENEW_MS], [look, LOOK_MS]]) setInterval(() => work().catch(() => {}), ms).unref();

  const pause = (ms) =>
    new Promise((done) => {
      wake = done;
      setTimeout(done, ms).unref();
    });

  async function openConsumer() {
    const manager = await jetstreamManager(bus.connection, { checkAPI: false });
    try {
      await manager.consumers.info(stream, CONSUMER);
    } catch (error) {
      if (error.code !== 10014 && !/consumer not found/i.test(error.message)) throw error;
      await manager.consumers.add(stream, { durable_name: CONSUMER, ack_policy: AckPolicy.Explicit, ack_wait: ACK_WAIT_NS, max_ack_pending: 100_000 });
    }
    return await jetstream(bus.connection).consumers.get(stream, CONSUMER);
  }

  /** Takes one message at a time; NATS, or the stream, may be away for long. */
  async function run() {
    let told = "";
    while (!isStopped) {
      try {
        const consumer = await openConsumer();
        if (told !== "") log("runner.jobs_up", { stream });
        told = "";
        for (;;) {
          await runner.untilRoom();
          if (isStopped) return;
          const message = await consumer.next({ expires: NEXT_MS });
          if (message !== null) take(message);
        }
      } catch (error) {
        if (isStopped) return;
        if (error.message !== told) log("runner.jobs_away", { stream, why: error.message });
        told = error.message;
        await pause(PAUSE_MS);
      }
    }
  }

  function take(message) {
    const { jobId, attempt } = parse(message.data);
    if (typeof jobId !== "string" || !Number.isInteger(attempt)) return tell(message, "term");
    const taskId = createHash("sha256").update(`${jobId}:${attempt}`).digest("hex").slice(0, 32);
    if (!runner.reserve(taskId, jobId)) return tell(message, "nak", NAK_MS);
    const working = setInterval(() => tell(message, "working"), WORKING_MS);
    work(message, jobId, attempt, taskId)
      .catch((error) => {
        log("runner.job_lost", { job: jobId, attempt, why: error.message });
        tell(message, "nak", NAK_MS);
      })
      .finally(() => {
        clearInterval(working);
        active.delete(jobId);
        runner.release(taskId);
      });
  }

  async function work(message, jobId, attempt, taskId) {
    const job = await gateway.call("_system:startJob", { jobId, attempt, runner: runner.id });
    if (job === null) return tell(message, "ack");
    active.set(jobId, { attempt, taskId });
    const reply = await runJob(job, jobId, attempt, taskId);
    const end = reply.status === "success" ? { status: "success", value: reply.value } : { status: "error", error: errorText(reply) };
    await gateway.callEncoded("_system:finishJob", { jobId, attempt, ...end }, { patienceMs: FINISH_PATIENCE_MS });
    tell(message, "ack");
  }

  async function runJob(job, jobId, attempt, taskId) {
    let found;
    try {
      found = await gateway.call("_system:action", { path: job.path, mayCallInternal: true });
    } catch (error) {
      return { status: "error", code: error.code, errorMessage: error.message };
    }
    const task = { id: taskId, job: jobId, attempt, path: job.path, args: gateway.encode(job.args), identity: job.identity ?? null, ...found };
    return await runner.run(task, { onProgress: createProgress(jobId, attempt), isKept: true });
  }

  /** Tells the newest progress, not each. */
  function createProgress(jobId, attempt) {
    let timer = null;
    let newest;
    const tell = async () => {
      timer = null;
      const answer = await gateway.callEncoded("_system:progressJob", { jobId, attempt, progress: newest }).catch(() => null);
      if (answer?.isAccepted === false) lose(jobId);
    };
    return (value) => {
      newest = value;
      timer ??= setTimeout(tell, PROGRESS_MS);
    };
  }

  /** The jobs that run here, in groups that one call takes. */
  function* batches() {
    const jobs = [...active].map(([jobId, { attempt }]) => ({ jobId, attempt }));
    for (let at = 0; at < jobs.length; at += BATCH_MAX) yield jobs.slice(at, at + BATCH_MAX);
  }

  async function renew() {
    for (const jobs of batches()) {
      const states = await gateway.call("_system:renewJobs", { runner: runner.id, jobs });
      for (const { jobId, state } of states) if (state !== "running") lose(jobId);
    }
  }

  async function look() {
    for (const jobs of batches()) for (const jobId of await gateway.call("_system:lostJobs", { jobs })) lose(jobId);
  }

  function lose(jobId) {
    const one = active.get(jobId);
    if (one !== undefined) runner.cancel(one.taskId, "The job was cancelled, or given to another runner.");
  }

  return {
    run,
    stop() {
      isStopped = true;
      wake();
    },
  };
}

/** What cannot be told now, as NATS is away, NATS finds out: the message comes again, and the row knows better. */
function tell(message, what, ...args) {
  try {
    message[what](...args);
  } catch {
    // The connection is closed.
  }
}

function errorText({ code, errorMessage, errorData, stack }) {
  const data = errorData === undefined ? "" : ` ${JSON.stringify(errorData)}`;
  return `${code === "ServerError" || code === "UserError" ? "" : `${code}: `}${errorMessage}${data}${stack ? `\n${stack}` : ""}`;
}

function parse(bytes) {
  try {
    return JSON.parse(new TextDecoder().decode(bytes)) ?? {};
  } catch {
    return {};
  }
}
