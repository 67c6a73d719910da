/** `bitbend jobs`: what was scheduled, what became of it; cancels one. */

import { connect } from "../app.js";
import { numberOption, usageError } from "../options.js";
import { CliError } from "../output.js";

const LIMIT_DEFAULT = 50;
const WATCH_MS = 500;
const STATES = ["pending", "running", "done", "failed", "cancelled"];

export async function run({ output, appDir, options, positionals }) {
  const admin = connect(appDir, options);
  const [what, id] = positionals;
  if (what === "cancel" && id !== undefined) return await cancel(output, admin, id);
  if (what !== undefined) throw usageError(`"${what}" is not what jobs can do.`, "Usage: bitbend jobs [--state STATE] [--watch] | jobs cancel ID");
  if (options.state !== undefined && !STATES.includes(options.state)) throw usageError(`There is no state "${options.state}".`, `States are ${STATES.join(", ")}.`);
  const asked = { limit: numberOption(options, "limit", 1, 1000) ?? LIMIT_DEFAULT, ...(options.state && { state: options.state }) };
  if (options.watch) return await watch(output, admin, asked);
  const jobs = await admin.call("_system:jobs", asked);
  if (output.isJson) return jobs.forEach((job) => output.json(job));
  if (jobs.length === 0) return output.line("No jobs: functions make them with ctx.scheduler, and crons do.");
  output.table(["job", "runs", "state", "due", "started", "ended", "attempt", "error"], jobs.map(rowOf));
}

/** Each job when it is new or has changed, until Ctrl-C. */
async function watch(output, admin, asked) {
  const seen = new Map();
  for (;;) {
    const jobs = (await admin.call("_system:jobs", asked)).reverse();
    for (const job of jobs) {
      const text = JSON.stringify(job);
      if (seen.get(job.id) === text) continue;
      if (output.isJson) output.json(job);
      else output.line(rowOf(job).filter((cell) => cell !== "").join("  "));
      seen.set(job.id, text);
    }
    const ids = new Set(jobs.map(({ id }) => id));
    for (const id of seen.keys()) if (!ids.has(id)) seen.delete(id);
    await new Promise((resolve) => setTimeout(resolve, WATCH_MS));
  }
}

async function cancel(output, admin, id) {
  const { state, hasChanged } = await admin.call("_system:cancelJob", { id });
  if (output.isJson) output.json({ id, state });
  else if (hasChanged) output.line(`${id} is cancelled.`);
  else if (state === "missing") throw new CliError(`There is no job ${id}. "bitbend jobs" shows their ids.`);
  else output.line(`${id} has ended already: ${state}.`);
}

export const shownTime = (ms) => (ms === null || ms === undefined ? "" : new Date(ms).toISOString());

const rowOf = ({ id, path, state, due, started, ended, attempt, error }) =>
  [id, path, state, shownTime(due), shownTime(started), shownTime(ended), String(attempt), (error ?? "").split("\n")[0]];
