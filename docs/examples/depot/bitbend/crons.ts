import { cronJobs } from "bitbend/server";

import { internal } from "./_generated/api";

const crons = cronJobs();
crons.interval("sweep reminders", { seconds: 5 }, internal.reminders.sweep, {});
export default crons;
