// When crons run next: the runtime's own file, with the time zone data of the Node.js that slots run.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";

import { ROOT } from "../js/suite.mjs";

const bb = { fail: (_code, message) => { throw new Error(message); } };
new Function("internals", readFileSync(join(ROOT, "services/worker/runtime/55_cron.js"), "utf8"))({ bb, DateTimeFormat: Intl.DateTimeFormat });

const next = (schedule, after, timeZone) => new Date(bb.nextRun(bb.readSchedule(schedule, timeZone), Date.parse(after), 0)).toISOString().replace(".000Z", "Z");
const cron = (expression, after, timeZone) => next({ type: "cron", cronExpr: expression }, after, timeZone);
const series = (expression, after, timeZone, count) => {
  const found = [];
  for (let at = after; found.length < count; ) found.push((at = cron(expression, at, timeZone)));
  return found;
};

test("expressions: lists, ranges, steps, names", () => {
  const cases = [
    ["0 16 1 * *", "2026-01-01T16:00:00Z", "2026-02-01T16:00:00Z"],
    ["*/15 * * * *", "2026-01-01T10:14:59Z", "2026-01-01T10:15:00Z"],
    ["*/15 * * * *", "2026-01-01T10:45:00Z", "2026-01-01T11:00:00Z"],
    ["5,35 8-10 * * mon-fri", "2026-01-02T10:35:00Z", "2026-01-05T08:05:00Z"],
    ["0 0 * * 7", "2026-01-01T00:00:00Z", "2026-01-04T00:00:00Z"],
    ["0 0 13 * fri", "2026-02-01T00:00:00Z", "2026-02-06T00:00:00Z"],
    ["0 12 * jan,jul *", "2026-01-31T12:00:00Z", "2026-07-01T12:00:00Z"],
    ["@daily", "2026-12-31T12:00:00Z", "2027-01-01T00:00:00Z"],
    ["10/20 * * * *", "2026-01-01T00:31:00Z", "2026-01-01T00:50:00Z"],
  ];
  for (const [expression, after, expected] of cases) assert.equal(cron(expression, after), expected, `${expression} after ${after}`);
});

test("month ends and leap years", () => {
  assert.deepEqual(series("0 9 31 * *", "2026-01-01T00:00:00Z", "UTC", 4), ["2026-01-31T09:00:00Z", "2026-03-31T09:00:00Z", "2026-05-31T09:00:00Z", "2026-07-31T09:00:00Z"]);
  assert.equal(cron("0 0 29 2 *", "2026-03-01T00:00:00Z"), "2028-02-29T00:00:00Z");
  assert.equal(cron("0 0 29 2 *", "2097-03-01T00:00:00Z"), "2104-02-29T00:00:00Z"); // 2100 is none
});

test("a time of day that clocks leave out runs when they have passed it, one that comes twice runs once", () => {
  assert.deepEqual(series("30 2 * * *", "2026-03-28T12:00:00Z", "Europe/Berlin", 2), ["2026-03-29T01:30:00Z", "2026-03-30T00:30:00Z"]);
  assert.deepEqual(series("30 2 * * *", "2026-10-24T12:00:00Z", "Europe/Berlin", 2), ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]);
  assert.deepEqual(series("30 1 * * *", "2026-10-31T12:00:00Z", "America/New_York", 2), ["2026-11-01T05:30:00Z", "2026-11-02T06:30:00Z"]);
});

test("where every hour is meant, each hour that passes counts", () => {
  assert.deepEqual(series("0 * * * *", "2026-10-24T23:30:00Z", "Europe/Berlin", 4), ["2026-10-25T00:00:00Z", "2026-10-25T01:00:00Z", "2026-10-25T02:00:00Z", "2026-10-25T03:00:00Z"]);
  assert.deepEqual(series("0 * * * *", "2026-03-29T00:30:00Z", "Europe/Berlin", 2), ["2026-03-29T01:00:00Z", "2026-03-29T02:00:00Z"]);
});

test("zones with odd offsets and with the day line", () => {
  assert.equal(cron("0 6 * * *", "2026-06-01T00:00:00Z", "Asia/Kathmandu"), "2026-06-01T00:15:00Z");
  assert.equal(cron("0 6 * * *", "2026-06-01T00:00:00Z", "Pacific/Kiritimati"), "2026-06-01T16:00:00Z");
  assert.equal(cron("0 0 1 1 *", "2026-06-01T00:00:00Z", "Pacific/Kiritimati"), "2026-12-31T10:00:00Z");
  assert.equal(cron("0 2 * * *", "2026-10-03T12:00:00Z", "Australia/Lord_Howe"), "2026-10-03T15:30:00Z"); // put forward by half an hour
});

test("a series never stands still and never goes back, in any zone", () => {
  for (const zone of ["UTC", "Europe/Berlin", "America/Sao_Paulo", "Australia/Lord_Howe", "Africa/Casablanca", "Asia/Tehran"]) {
    for (const expression of ["30 2 * * *", "*/20 * * * *", "0 0,12 * * 1", "59 23 28-31 * *"]) {
      const found = series(expression, "2026-03-20T00:00:00Z", zone, 60);
      for (let i = 1; i < found.length; i++) assert.ok(found[i] > found[i - 1], `${expression} in ${zone}: ${found[i - 1]}, ${found[i]}`);
    }
  }
});

test("the named schedules and intervals", () => {
  assert.equal(next({ type: "hourly", minuteUTC: 7 }, "2026-01-01T10:07:00Z"), "2026-01-01T11:07:00Z");
  assert.equal(next({ type: "daily", hourUTC: 3, minuteUTC: 0 }, "2026-01-01T10:00:00Z"), "2026-01-02T03:00:00Z");
  assert.equal(next({ type: "weekly", dayOfWeek: "monday", hourUTC: 3, minuteUTC: 0 }, "2026-01-01T10:00:00Z"), "2026-01-05T03:00:00Z");
  assert.equal(next({ type: "monthly", day: 30, hourUTC: 3, minuteUTC: 0 }, "2026-01-31T10:00:00Z"), "2026-03-30T03:00:00Z");
  const every = bb.readSchedule({ type: "interval", seconds: 10 });
  assert.equal(bb.nextRun(every, 1000, 500), 10500);
  assert.equal(bb.nextRun(every, 95000, 500), 100500);
  assert.equal(bb.nextRun(every, 100, 500), 500);
});

test("what is no schedule is refused with the reason", () => {
  const refused = [
    ["61 * * * *", /"61" is no minute/], ["* 24 * * *", /hour/], ["* * 0 * *", /day of month/], ["* * * 13 *", /month/], ["* * * * 8", /day of week/],
    ["5-1 * * * *", /upwards/], ["*/0 * * * *", /minute/], ["* * *", /five fields/], ["a * * * *", /"a" is no minute/], ["0 0 31 2 *", /no such month/], ["1-2-3 * * * *", /minute/],
  ];
  for (const [expression, why] of refused) assert.throws(() => cron(expression, "2026-01-01T00:00:00Z"), why, expression);
  assert.throws(() => cron("* * * * *", "2026-01-01T00:00:00Z", "Europe/Nowhere"), /is no time zone/);
  assert.throws(() => bb.readSchedule({ type: "interval", seconds: 0 }), /above 0/);
  assert.throws(() => bb.readSchedule({ type: "sometimes" }), /no kind of schedule/);
});
