// The functions that move jobs: who marks what when is in docs/decisions (the job protocol). Each is one
// transaction, and each is fenced by what it expects of the row, so that a late or repeated one changes nothing.
"use strict";

if (internals.isOwn) {
  return; // of the shared realm only
}

const { bb } = internals;
const { op } = bb;

const PAGE_MAX = 1000;
const BATCH_MAX = 500;
const RESULT_BYTES_MAX = 64 << 10;
const PROGRESS_BYTES_MAX = 4 << 10;
const ERROR_LENGTH_MAX = 8192;
const COUNT_MAX = 1000;
const LEASE_MS = 60000;
const BACKOFF_MS = 1000;
const BACKOFF_MS_MAX = 3600000;
const CRON_LATE_MS = 60000; // later than this a run counts as missed
const CATCH_UP_MS = 7 * 86400000;
const LANES = new Set(["mutation", "action", "queued", "running"]);

const refuse = (message) => bb.fail("ArgumentValidation", message);

const textOf = (args, name) =>
  typeof args[name] === "string" && args[name] !== "" ? args[name] : refuse(`The argument "${name}" must be a string.`);

const listOf = (args, name) => {
  if (!Array.isArray(args[name]) || args[name].length > BATCH_MAX) {
    refuse(`The argument "${name}" must be a list of at most ${BATCH_MAX}.`);
  }
  return args[name];
};

const idOf = (args) => textOf(args, args.jobId === undefined ? "id" : "jobId");

const findJob = (db, id) => (db.normalizeId("_jobs", id) === null ? null : db.get("_jobs", id));

const isAttempt = (job, attempt) => job !== null && Number(job.attempt) === Number(attempt);

// What leaves the lanes: nobody has to look at it again.
const OUT = { lane: undefined, wake: undefined, leaseUntil: null };

const kept = (result) => {
  const size = bb.jobs.sizeOf(result);
  return size <= RESULT_BYTES_MAX
    ? { result }
    : { result: null, note: `the result has about ${size} bytes and was not kept; the limit is ${RESULT_BYTES_MAX}` };
};

const cut = (text) => (text.length > ERROR_LENGTH_MAX ? `${text.slice(0, ERROR_LENGTH_MAX)}...` : text);

// As log lines have it: without the environment's values.
const shown = (text) => cut(host(op.REDACT, text.slice(0, 16 * ERROR_LENGTH_MAX)));

const errorText = (error) =>
  error instanceof Error ? (error.message === "" ? error.name : error.message) : internals.thrownText(error);

// ---- mutations: exactly once ----

// Runs the function and marks the row in one transaction. What it throws undoes its writes and is kept in the row.
const runJob = async (frame, db, args) => {
  const id = idOf(args);
  const job = await findJob(db, id);
  if (job === null || job.state !== "pending" || job.kind !== "mutation") {
    return { state: job === null ? "missing" : job.state };
  }
  host(op.NAME, job.path);
  await db.patch(id, { state: "running", attempt: job.attempt + 1n, started: Date.now(), ...OUT });
  const mark = host(op.SAVEPOINT);
  let end;
  try {
    end = { state: "done", ...kept(await bb.runJobFunction(frame, job.path, job.args)) };
  } catch (error) {
    host(op.ROLLBACK, mark);
    const text = errorText(error);
    end = { state: "failed", error: shown(text) };
    host(op.LOG, "ERROR", `Job ${id}: ${shown(error instanceof Error ? (error.stack ?? text) : text)}`);
  }
  await db.patch(id, { ...end, ended: Date.now() });
  return { state: end.state };
};

// The run itself could not end (time, memory, limits of the transaction): nothing of it stays but this.
const failJob = async (frame, db, args) => {
  const id = idOf(args);
  const job = await findJob(db, id);
  if (job === null || job.state !== "pending") {
    return { state: job === null ? "missing" : job.state };
  }
  await db.patch(id, {
    state: "failed", attempt: job.attempt + 1n, started: Date.now(), ended: Date.now(),
    error: cut(textOf(args, "error").replaceAll("_system:runJob", job.path)), ...OUT,
  });
  return { state: "failed" };
};

// ---- actions: at most once, or at least once where declared ----

// Attempt n + 1 begins: from here on its message may be in the queue.
const queueActions = async (frame, db, args) => {
  const wake = Date.now() + Number(args.requeueMs);
  const jobs = await Promise.all(listOf(args, "ids").map(async (id) => [id, await findJob(db, id)]));
  const queued = [];
  for (const [id, job] of jobs) {
    if (job?.lane === "action" && job.state === "pending") {
      const attempt = job.attempt + 1n;
      await db.patch(id, { attempt, lane: "queued", wake });
      queued.push({ id, attempt: Number(attempt), wake });
    }
  }
  return queued;
};

// Nobody took it: its message may be lost. The same attempt again; two messages of one attempt run it once.
const requeueActions = async (frame, db, args) => {
  const wake = Date.now() + Number(args.requeueMs);
  const jobs = await Promise.all(listOf(args, "jobs").map(async (one) => [one, await findJob(db, one.id)]));
  const queued = [];
  for (const [{ id, attempt }, job] of jobs) {
    if (job?.lane === "queued" && isAttempt(job, attempt)) {
      await db.patch(id, { wake });
      queued.push({ id, attempt: Number(attempt), wake });
    }
  }
  return queued;
};

// null: not to run. A runner may call this again when it did not hear the answer: `runner` is one process.
const startJob = async (frame, db, args) => {
  const id = idOf(args);
  const runner = textOf(args, "runner");
  const job = await findJob(db, id);
  if (!isAttempt(job, args.attempt) || job.kind !== "action") {
    return null;
  }
  const isRepeated = job.state === "running" && job.runner === runner;
  if (!isRepeated && (job.state !== "pending" || job.lane !== "queued")) {
    return null;
  }
  const leaseUntil = Date.now() + LEASE_MS;
  await db.patch(id, {
    state: "running", runner, started: Date.now(), leaseUntil, lane: "running", wake: leaseUntil,
  });
  const { path, mode, identity } = job;
  return {
    jobId: id, attempt: Number(job.attempt), path, args: job.args, mode, identity,
    maxAttempts: Number(job.maxAttempts), leaseMs: LEASE_MS,
  };
};

const backoffOf = (job) =>
  Math.min((job.backoffMs || BACKOFF_MS) * 2 ** Math.min(Number(job.attempt) - 1, 20), BACKOFF_MS_MAX);

// The attempt is over without success: another one where that was declared, else the end.
const endAttempt = async (db, job, error) => {
  const mayRetry = job.mode === "atLeastOnce" && job.attempt < job.maxAttempts;
  if (mayRetry) {
    await db.patch(job._id, {
      state: "pending", error, runner: null, leaseUntil: null, progress: null, lane: "action",
      wake: Date.now() + backoffOf(job),
    });
    return "pending";
  }
  await db.patch(job._id, { state: "failed", ended: Date.now(), error, ...OUT });
  return "failed";
};

const finishJob = async (frame, db, args) => {
  const job = await findJob(db, idOf(args));
  if (!isAttempt(job, args.attempt) || job.state !== "running") {
    return { state: job === null ? "missing" : job.state, isAccepted: false };
  }
  if (args.status === "success") {
    await db.patch(job._id, { state: "done", error: null, ended: Date.now(), ...kept(args.value ?? null), ...OUT });
    return { state: "done", isAccepted: true };
  }
  const error = cut(String(args.error ?? args.errorMessage ?? "the action failed"));
  return { state: await endAttempt(db, job, error), isAccepted: true };
};

// A mutation that a job's action calls: in one transaction with the proof that this attempt still runs.
const jobMutation = async (frame, db, args) => {
  const job = await findJob(db, idOf(args));
  const path = bb.jobs.canonicalPath(textOf(args, "path"));
  host(op.NAME, path);
  if (!isAttempt(job, args.attempt) || job.state !== "running") {
    bb.fail("NotAvailableHere", `${path} did not run: the job that called it has ended, was cancelled, or is run anew.`);
  }
  return bb.runJobFunction(frame, path, args.args ?? {});
};

// The states as they are: what is not "running" here any more is to be stopped.
const renewJobs = async (frame, db, args) => {
  const runner = textOf(args, "runner");
  const leaseUntil = Date.now() + LEASE_MS;
  const jobs = await Promise.all(
    listOf(args, "jobs").map(async ({ jobId, id = jobId, attempt }) => [id, attempt, await findJob(db, id)]),
  );
  const states = [];
  for (const [id, attempt, job] of jobs) {
    if (isAttempt(job, attempt) && job.state === "running" && job.runner === runner) {
      await db.patch(id, { leaseUntil, wake: leaseUntil });
      states.push({ jobId: id, state: "running" });
    } else {
      const isOver = isAttempt(job, attempt) && bb.jobs.isOver(job);
      states.push({ jobId: id, state: isOver ? job.state : "lost" });
    }
  }
  return states;
};

// Which of these do not run any more, as far as this runner goes: asked often, and changes nothing.
const lostJobs = async (frame, db, args) => {
  const jobs = await Promise.all(
    listOf(args, "jobs").map(async ({ jobId, attempt }) => [jobId, attempt, await findJob(db, jobId)]),
  );
  return jobs.filter(([, attempt, job]) => !isAttempt(job, attempt) || job.state !== "running").map(([id]) => id);
};

const progressJob = async (frame, db, args) => {
  const job = await findJob(db, idOf(args));
  if (!isAttempt(job, args.attempt) || job.state !== "running") {
    return { isAccepted: false };
  }
  const progress = args.progress ?? null;
  if (bb.jobs.sizeOf(progress) > PROGRESS_BYTES_MAX) {
    refuse(`The progress of a job has at most ${PROGRESS_BYTES_MAX} bytes.`);
  }
  const leaseUntil = Date.now() + LEASE_MS;
  await db.patch(job._id, { progress, leaseUntil, wake: leaseUntil });
  return { isAccepted: true };
};

// Their runners did not renew them while the scheduler watched for a whole lease, by its own clock.
const sweepJobs = async (frame, db, args) => {
  const jobs = await Promise.all(listOf(args, "jobs").map(async (one) => [one, await findJob(db, one.id)]));
  const swept = [];
  for (const [{ attempt, wake }, job] of jobs) {
    if (job?.lane === "running" && isAttempt(job, attempt) && job.wake === wake) {
      const state = await endAttempt(db, job, `the runner ${job.runner} ended, or was not heard of any more`);
      swept.push({ id: job._id, state });
    }
  }
  return swept;
};

// ---- made, cancelled, listed, forgotten ----

const createJob = async (frame, db, args) => {
  const path = bb.jobs.canonicalPath(textOf(args, "path"));
  const row = await bb.jobs.schedulable(db, "runAfter", path);
  if (row.visibility === "internal" && args.mayCallInternal === false) {
    bb.fail("FunctionNotFound", `Could not find function ${path}. Is it exported, and deployed?`);
  }
  const now = Date.now();
  const due = args.due === undefined ? now + Number(args.delayMs ?? 0) : Number(args.due);
  if (!Number.isFinite(due)) {
    refuse("The time of a job must be a number.");
  }
  const given = args.args ?? {};
  return db.insert("_jobs", bb.jobs.jobOf(row, { path, args: given, due, now, identity: args.identity ?? null }));
};

const cancelJob = async (frame, db, args) => {
  const job = await findJob(db, idOf(args));
  if (job === null) {
    return { state: "missing", hasChanged: false };
  }
  return { state: await bb.jobs.cancelJob(db, job._id), hasChanged: !bb.jobs.isOver(job) };
};

const inLane = (db, lane, from) =>
  db.query("_jobs").withIndex("by_lane", (q) =>
    from === null ? q.eq("lane", lane).gt("wake", null) : q.eq("lane", lane).gte("wake", from));

// The first ones of a lane, in the order of `wake`.
const dueJobs = async (frame, db, args) => {
  const lane = textOf(args, "lane");
  if (!LANES.has(lane)) {
    refuse(`There is no lane "${lane}".`);
  }
  const limit = Math.max(1, Math.min(Number(args.limit ?? PAGE_MAX), PAGE_MAX));
  const rows = await inLane(db, lane, args.from ?? null).take(limit);
  return {
    isDone: rows.length < limit,
    jobs: rows.map(({ _id, wake, attempt }) => ({ id: _id, wake, attempt: Number(attempt) })),
  };
};

const shownJob = ({ _id, path, kind, state, due, attempt, started, ended, error, cron, progress }) => ({
  id: _id, path, kind, state, due, attempt: Number(attempt), started, ended, error, cron, progress,
});

const jobs = async (frame, db, args) => {
  const limit = Math.max(1, Math.min(Number(args.limit ?? 100), PAGE_MAX));
  const query = typeof args.state === "string"
    ? db.query("_jobs").withIndex("by_state_due", (q) => q.eq("state", args.state))
    : db.query("_jobs");
  return (await query.order("desc").take(limit)).map(shownJob);
};

const cleanJobs = async (frame, db, args) => {
  const limit = Math.max(1, Math.min(Number(args.limit ?? 200), BATCH_MAX));
  const rows = await db
    .query("_jobs")
    .withIndex("by_ended", (q) => q.gt("ended", null).lt("ended", Date.now() - Number(args.keepMs)))
    .take(limit);
  if (rows.length > 0) {
    await db.retract(rows.map(({ _id }) => _id));
  }
  return { deleted: rows.length, isDone: rows.length < limit };
};

// ---- crons ----

const shownCron = ({ _id, name, path, schedule, missed, next, last, lastJob, runs, skipped }) => ({
  id: _id, name, path, schedule, missed, next, last, lastJob, runs: Number(runs), skipped: Number(skipped),
});

const crons = async (frame, db) => (await db.query("_crons").withIndex("by_key").collect()).map(shownCron);

const dueCrons = async (frame, db, args) => {
  const limit = Math.max(1, Math.min(Number(args.limit ?? PAGE_MAX), PAGE_MAX));
  const rows = await db
    .query("_crons")
    .withIndex("by_next", (q) => (args.from === undefined || args.from === null ? q.gt("next", null) : q.gte("next", args.from)))
    .take(limit);
  return { isDone: rows.length < limit, jobs: rows.map(({ _id, next }) => ({ id: _id, wake: next, attempt: 0 })) };
};

// Makes the job of one moment, unless the one before has not ended: never two runs of one cron at once.
const runCron = async (frame, db, args) => {
  const cron = db.normalizeId("_crons", textOf(args, "id")) === null ? null : await db.get("_crons", args.id);
  if (cron === null || cron.next !== args.next) {
    return { state: cron === null ? "missing" : "moved" };
  }
  const now = Date.now();
  const before = cron.lastJob === null ? null : await db.get("_jobs", cron.lastJob);
  const isBusy = before !== null && !bb.jobs.isOver(before);
  const catchesUp = cron.missed === "catchUp";
  if (isBusy && catchesUp) {
    return { state: "busy" };
  }
  const from = catchesUp ? Math.max(cron.next, now - CATCH_UP_MS) : Math.max(cron.next, now);
  const next = bb.nextRun(cron.schedule, from, cron.next);
  const isMissed = !catchesUp && now - cron.next > CRON_LATE_MS;
  const row = isBusy || isMissed ? null : await db.getByKey("_functions", cron.path);
  if (row === null) {
    await db.patch(cron._id, { next, skipped: cron.skipped + 1n });
    return { state: "skipped" };
  }
  const job = bb.jobs.jobOf(row, { path: cron.path, args: cron.args, due: cron.next, now, cron: cron.name });
  const lastJob = await db.insert("_jobs", job);
  await db.patch(cron._id, { next, last: cron.next, lastJob, runs: cron.runs + 1n });
  return { state: "made" };
};

// The clock was put back: what was computed from a time that has not come is computed anew.
const resetCrons = async (frame, db) => {
  const now = Date.now();
  let moved = 0;
  for (const cron of await db.query("_crons").collect()) {
    const next = bb.nextRun(cron.schedule, now, now);
    if (cron.next > next) {
      await db.patch(cron._id, { next });
      moved++;
    }
  }
  return { moved };
};

// ---- one of several does it ----

// `seen` is the beat that the caller has watched for a whole lease by its own clock: no clock is compared.
const takeLease = async (frame, db, args) => {
  const name = textOf(args, "name");
  const holder = textOf(args, "holder");
  const row = await db.getByKey("_leases", name);
  const beat = row?.beat ?? 0n;
  const isFree = row === null || row.holder === "" || (args.seen !== undefined && args.seen !== null && Number(args.seen) === Number(beat));
  if (!isFree && row.holder !== holder) {
    return { isHeld: false, holder: row.holder, beat: Number(beat) };
  }
  const isLeaving = args.isLeaving === true;
  const now = Date.now();
  const since = row?.holder === holder ? (row.since ?? now) : now;
  await db.put("_leases", name, { holder: isLeaving ? "" : holder, beat: beat + 1n, time: now, since });
  return { isHeld: !isLeaving, holder, beat: Number(beat) + 1 };
};

// Who does the work (nobody has the lease where one scheduler is alone, as in bb-solo), and how much there is: bounded reads, for the status. Counts end at COUNT_MAX ("1000+").
bb.schedulerStatus = async (frame, db) => {
  const now = Date.now();
  const count = async (...range) => {
    const counted = await bb.call(frame, op.COUNT, bb.PRIVILEGED, "_jobs", "by_state_due", range, COUNT_MAX + 1, false);
    return counted > COUNT_MAX ? `${COUNT_MAX}+` : counted;
  };
  const inState = (state) => ["eq", "state", state];
  const [lease, pending, due, running] = await Promise.all([
    db.getByKey("_leases", "scheduler"), count(inState("pending")),
    count(inState("pending"), ["lte", "due", now]), count(inState("running")),
  ]);
  const isHeld = lease !== null && lease.holder !== "";
  return {
    isLeased: lease !== null,
    active: isHeld ? lease.holder : null,
    since: isHeld && lease.since !== undefined ? new Date(lease.since).toISOString() : null,
    beatAgeMs: isHeld ? Math.max(0, now - lease.time) : null,
    jobs: { pending, due, running },
  };
};

const mutation = (run) => ({ kind: "mutation", run });
const query = (run) => ({ kind: "query", run });

bb.jobFunctions = Object.entries({
  runJob: mutation(runJob), failJob: mutation(failJob), queueActions: mutation(queueActions),
  requeueActions: mutation(requeueActions), startJob: mutation(startJob), finishJob: mutation(finishJob),
  renewJobs: mutation(renewJobs), progressJob: mutation(progressJob), jobMutation: mutation(jobMutation), sweepJobs: mutation(sweepJobs),
  createJob: mutation(createJob), cancelJob: mutation(cancelJob), cleanJobs: mutation(cleanJobs),
  runCron: mutation(runCron), resetCrons: mutation(resetCrons), takeLease: mutation(takeLease),
  dueJobs: query(dueJobs), lostJobs: query(lostJobs), dueCrons: query(dueCrons), jobs: query(jobs), crons: query(crons),
}).map(([name, found]) => [`_system:${name}`, found]);
