/** Jobs that run again and again: the default export of `crons.ts`. */

import { encodeValue } from "../values/encode.js";
import { getFunctionName } from "./references.js";

const DAYS = ["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"];

class Crons {
  constructor() {
    this.isCrons = true;
    this.jobs = new Map();
  }

  interval(name, schedule, reference, args, options) {
    const units = ["seconds", "minutes", "hours"].filter((unit) => schedule?.[unit] !== undefined);
    if (units.length !== 1 || !isWhole(schedule[units[0]], 1, Number.MAX_SAFE_INTEGER)) {
      throw new TypeError(`Cron "${name}": an interval is { seconds }, { minutes } or { hours }, a whole number above 0.`);
    }
    const seconds = schedule[units[0]] * { seconds: 1, minutes: 60, hours: 3600 }[units[0]];
    return this.add(name, { type: "interval", seconds }, reference, args, options);
  }

  hourly(name, { minuteUTC }, reference, args, options) {
    checkNumber(name, "minuteUTC", minuteUTC, 0, 59);
    return this.add(name, { type: "hourly", minuteUTC }, reference, args, options);
  }

  daily(name, { hourUTC, minuteUTC }, reference, args, options) {
    checkTime(name, hourUTC, minuteUTC);
    return this.add(name, { type: "daily", hourUTC, minuteUTC }, reference, args, options);
  }

  weekly(name, { dayOfWeek, hourUTC, minuteUTC }, reference, args, options) {
    if (!DAYS.includes(dayOfWeek)) throw new TypeError(`Cron "${name}": dayOfWeek is one of ${DAYS.join(", ")}.`);
    checkTime(name, hourUTC, minuteUTC);
    return this.add(name, { type: "weekly", dayOfWeek, hourUTC, minuteUTC }, reference, args, options);
  }

  monthly(name, { day, hourUTC, minuteUTC }, reference, args, options) {
    checkNumber(name, "day", day, 1, 31);
    checkTime(name, hourUTC, minuteUTC);
    return this.add(name, { type: "monthly", day, hourUTC, minuteUTC }, reference, args, options);
  }

  /** Five fields: minute, hour, day, month, day of week; in UTC, or in the time zone that the options name. */
  cron(name, cronExpr, reference, args, options) {
    if (typeof cronExpr !== "string" || (!cronExpr.startsWith("@") && cronExpr.trim().split(/\s+/).length !== 5)) {
      throw new TypeError(`Cron "${name}": the expression has five fields, such as "0 16 1 * *".`);
    }
    return this.add(name, { type: "cron", cronExpr }, reference, args, options);
  }

  add(name, schedule, reference, args = {}, options = {}) {
    if (typeof name !== "string" || name === "") throw new TypeError("A cron needs a name.");
    if (this.jobs.has(name)) throw new TypeError(`Two crons are named "${name}".`);
    const { timeZone, missed } = checkOptions(name, schedule, options);
    this.jobs.set(name, { name: getFunctionName(reference), args: [encodeValue(args, "args")], schedule, timeZone, missed });
    return this;
  }

  export() {
    return JSON.stringify(Object.fromEntries(this.jobs));
  }
}

export function cronJobs() {
  return new Crons();
}

function checkOptions(name, schedule, { timeZone, missed }) {
  if (timeZone !== undefined && (typeof timeZone !== "string" || schedule.type !== "cron")) {
    throw new TypeError(`Cron "${name}": timeZone is the IANA name of a zone, and belongs to a cron expression.`);
  }
  if (missed !== undefined && missed !== "skip" && missed !== "catchUp") {
    throw new TypeError(`Cron "${name}": missed is "skip" or "catchUp".`);
  }
  return { timeZone, missed };
}

function isWhole(value, min, max) {
  return Number.isInteger(value) && value >= min && value <= max;
}

function checkNumber(name, field, value, min, max) {
  if (!isWhole(value, min, max)) throw new TypeError(`Cron "${name}": ${field} is a whole number from ${min} to ${max}.`);
}

function checkTime(name, hourUTC, minuteUTC) {
  checkNumber(name, "hourUTC", hourUTC, 0, 23);
  checkNumber(name, "minuteUTC", minuteUTC, 0, 59);
}
