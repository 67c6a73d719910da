/** `bitbend crons`: when each cron runs next and has run last. */

import { connect } from "../app.js";
import { shownTime } from "./jobs.js";

export async function run({ output, appDir, options }) {
  const crons = await connect(appDir, options).call("_system:crons");
  if (output.isJson) return crons.forEach((cron) => output.json(cron));
  if (crons.length === 0) return output.line("No crons: declare some in crons.ts.");
  output.table(
    ["cron", "runs", "schedule", "next", "last", "times", "skipped"],
    crons.map(({ name, path, schedule, missed, next, last, runs, skipped }) => [
      name, path, scheduleText(schedule, missed), shownTime(next), shownTime(last), String(runs), String(skipped),
    ]),
  );
}

function scheduleText({ type, period, expression, timeZone }, missed) {
  const text = type === "interval" ? `each ${period / 1000} s` : `${expression} (${timeZone})`;
  return missed === "skip" ? text : `${text}, catches up`;
}
