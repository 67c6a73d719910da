// ctx.scheduler: a job is a row of _jobs, written by the transaction that wants it.
"use strict";

const { bb } = internals;

const SCHEDULED_MAX = 1000; // by one transaction
const DELAY_MAX = 366 * 10 * 86400000;
const ARGS_BYTES_MAX = 4 << 20;

// About what a value takes when it is stored.
const sizeOf = (value) => {
  switch (typeof value) {
    case "string":
      return value.length + 8;
    case "object":
      break;
    default:
      return 9;
  }
  if (value === null) {
    return 1;
  }
  if (value instanceof ArrayBuffer) {
    return value.byteLength + 8;
  }
  let size = 8;
  for (const key of Object.keys(value)) {
    size += (Array.isArray(value) ? 0 : key.length) + sizeOf(value[key]);
  }
  return size;
};

// "a/b.js:f" -> "a/b:f", "a/b" -> "a/b:default"
const canonicalPath = (path) => {
  const colon = path.lastIndexOf(":");
  const module = colon < 0 ? path : path.slice(0, colon);
  return `${module.endsWith(".js") ? module.slice(0, -3) : module}:${colon < 0 ? "default" : path.slice(colon + 1)}`;
};

// The row of _functions: actions are not among the modules that run here.
const schedulable = async (db, name, path) => {
  const row = path.startsWith("_system:") ? null : await db.getByKey("_functions", path);
  if (row === null) {
    bb.fail("NotAvailableHere", `ctx.scheduler.${name}: Could not find function ${path}. Is it exported, and deployed?`);
  }
  if (row.kind !== "mutation" && row.kind !== "action") {
    bb.fail("NotAvailableHere", `ctx.scheduler.${name} takes a mutation or an action; ${path} is of kind ${row.kind}.`);
  }
  return row;
};

// A new row of _jobs for the function that `row` of _functions describes.
const jobOf = (row, { path, args, due, now, identity = null, cron = null }) => {
  const retry = row.kind === "action" ? (row.retry ?? null) : null;
  return {
    path, kind: row.kind, args, due, state: "pending", attempt: 0n,
    maxAttempts: BigInt(retry?.attempts ?? 1), backoffMs: retry?.backoff ?? 0,
    mode: retry === null ? "atMostOnce" : "atLeastOnce",
    identity, created: now, started: null, ended: null, error: null, result: null, progress: null, cron,
    runner: null, leaseUntil: null, lane: row.kind, wake: due,
  };
};

const checkArgs = (name, path, given) => {
  if (given !== undefined && (typeof given !== "object" || given === null || Array.isArray(given))) {
    bb.fail("ArgumentValidation", `ctx.scheduler.${name}: the arguments of ${path} must be an object.`);
  }
  const args = bb.copy(given ?? {}, "args");
  const size = sizeOf(args);
  if (size > ARGS_BYTES_MAX) {
    bb.fail(
      "WriteLimit",
      `ctx.scheduler.${name}: the arguments of ${path} have about ${size} bytes, the limit is ${ARGS_BYTES_MAX}. ` +
        "Keep them in a document and pass its id.",
    );
  }
  return args;
};

const timeOf = (name, time) => {
  const ms = time instanceof Date ? time.getTime() : time;
  if (typeof ms !== "number" || !Number.isFinite(ms) || ms > Date.now() + DELAY_MAX || ms < 0) {
    bb.fail("ArgumentValidation", `ctx.scheduler.${name}: ${String(time)} is no time within the next ten years.`);
  }
  return ms;
};

const count = (frame, name) => {
  const { call } = frame;
  call.scheduled += 1;
  if (call.scheduled > SCHEDULED_MAX) {
    bb.fail(
      "WriteLimit",
      `ctx.scheduler.${name}: this call has scheduled more than ${SCHEDULED_MAX} functions, the limit of one ` +
        "transaction. Schedule one that schedules the rest.",
    );
  }
};

const insertJob = async (frame, { name, due, path, args }) => {
  const db = bb.makeWriter(frame, bb.PRIVILEGED);
  count(frame, name);
  const row = await schedulable(db, name, path);
  return db.insert("_jobs", jobOf(row, { path, args, due, now: Date.now() }));
};

const schedule = async (frame, name, due, path, given) => {
  const wanted = { name, due, path, args: checkArgs(name, path, given) };
  return internals.isOwn ? bb.atHome(frame, "schedule", wanted) : insertJob(frame, wanted);
};

const isOver = ({ state }) => state !== "pending" && state !== "running";

// Pending jobs never run; an action that runs hears of it from its runner.
const cancelJob = async (db, id) => {
  const job = await db.get("_jobs", id);
  if (job === null || isOver(job)) {
    return job === null ? "missing" : job.state;
  }
  await db.patch(id, { state: "cancelled", ended: Date.now(), lane: undefined, wake: undefined, leaseUntil: null });
  return "cancelled";
};

const cancelById = (frame, id) => cancelJob(bb.makeWriter(frame, bb.PRIVILEGED), id);

bb.schedulerServices = [
  ["schedule", insertJob],
  ["cancel", (frame, { id }) => cancelById(frame, id)],
];

bb.makeScheduler = (frame) =>
  Object.freeze({
    async runAfter(delayMs, reference, args) {
      if (typeof delayMs !== "number" || !(delayMs >= 0) || delayMs > DELAY_MAX) {
        bb.fail("ArgumentValidation", `ctx.scheduler.runAfter: ${String(delayMs)} is no delay in milliseconds, from 0 to ten years.`);
      }
      const path = canonicalPath(bb.referencedPath("scheduler.runAfter", reference));
      return schedule(frame, "runAfter", Date.now() + delayMs, path, args);
    },
    async runAt(time, reference, args) {
      const path = canonicalPath(bb.referencedPath("scheduler.runAt", reference));
      return schedule(frame, "runAt", timeOf("runAt", time), path, args);
    },
    async cancel(id) {
      if (typeof id !== "string") {
        bb.fail("BadId", "ctx.scheduler.cancel takes the id that runAfter or runAt gave.");
      }
      const state = await (internals.isOwn ? bb.atHome(frame, "cancel", { id }) : cancelById(frame, id));
      if (state === "missing") {
        bb.fail("DocumentNotFound", `ctx.scheduler.cancel: there is no job ${id}. Jobs are kept for some days after they ended.`);
      }
    },
  });

// ---- the other spelling: rows of _scheduled_functions ----

const STATES = { pending: "pending", running: "inProgress", done: "success", failed: "failed", cancelled: "canceled" };

bb.asScheduledFunction = ({ _id, _creationTime, path, args, due, ended, state, error }) => {
  const colon = path.lastIndexOf(":");
  const kind = STATES[state];
  return {
    _id, _creationTime, name: `${path.slice(0, colon)}.js${path.slice(colon)}`, args: [args], scheduledTime: due,
    ...(ended === null ? {} : { completedTime: ended }),
    state: kind === "failed" ? { kind, error: error ?? "" } : { kind },
  };
};

bb.jobs = Object.freeze({ canonicalPath, schedulable, jobOf, cancelJob, isOver, sizeOf });
