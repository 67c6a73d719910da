// When a cron runs next. All in milliseconds since 1970; the time zone data are those of the pinned Node.js,
// so every host gives the same answer.
"use strict";

if (internals.isOwn) {
  return; // of the shared realm only
}

const { bb } = internals;
const { DateTimeFormat } = internals;

const MINUTE = 60000;
const HOUR = 3600000;
const DAY = 86400000;
const DAYS_SEARCHED = 366 * 8 + 2; // 29 February comes within eight years, also around 2100
const ZONES_KEPT = 64;
const WEEKDAYS = ["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"];
const MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const NICKNAMES = {
  "@hourly": "0 * * * *", "@daily": "0 0 * * *", "@midnight": "0 0 * * *", "@weekly": "0 0 * * 0",
  "@monthly": "0 0 1 * *", "@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *",
};
const FIELDS = [
  { name: "minute", min: 0, max: 59, names: [] },
  { name: "hour", min: 0, max: 23, names: [] },
  { name: "day of month", min: 1, max: 31, names: [] },
  { name: "month", min: 1, max: 12, names: MONTHS },
  { name: "day of week", min: 0, max: 7, names: WEEKDAYS.map((day) => day.slice(0, 3)) },
];

const refuse = (message) => bb.fail("BadRequest", message);

// ---- expressions ----

const numberOf = (text, { name, min, max, names }) => {
  const named = names.indexOf(text.toLowerCase());
  const value = named >= 0 ? named + min : /^\d{1,2}$/.test(text) ? Number(text) : NaN;
  if (!(value >= min && value <= max)) {
    refuse(`"${text}" is no ${name} (${min} to ${max}).`);
  }
  return value;
};

// "*", "5", "1-5", each with "/step".
const addPart = (values, part, field) => {
  const [range, step, more] = part.split("/");
  const by = step === undefined ? 1 : /^\d{1,2}$/.test(step) ? Number(step) : 0;
  if (by < 1 || more !== undefined || range === "") {
    refuse(`"${part}" is no ${field.name}.`);
  }
  const [first, last, tooMany] = range.split("-");
  if (tooMany !== undefined) {
    refuse(`"${part}" is no ${field.name}.`);
  }
  const low = range === "*" ? field.min : numberOf(first, field);
  const high = range === "*" ? field.max : last !== undefined ? numberOf(last, field) : step === undefined ? low : field.max;
  if (high < low) {
    refuse(`"${part}": a range of ${field.name} goes upwards.`);
  }
  for (let value = low; value <= high; value += by) {
    values.add(value);
  }
};

const parseField = (text, field) => {
  const values = new Set();
  text.split(",").forEach((part) => addPart(values, part, field));
  return values;
};

const sorted = (values) => [...values].sort((a, b) => a - b);

const parseExpression = (text) => {
  const parts = (NICKNAMES[text.trim().toLowerCase()] ?? text).trim().split(/\s+/);
  if (parts.length !== 5) {
    refuse(`a cron expression has five fields, such as "0 16 1 * *"; this one is "${text}".`);
  }
  const [minute, hour, day, month, weekday] = parts.map((part, i) => parseField(part, FIELDS[i]));
  if (weekday.has(7)) {
    weekday.add(0);
  }
  const spec = {
    minutes: sorted(minute), hours: sorted(hour), isEveryHour: hour.size === 24, minute, day, month, weekday,
    // As everywhere: when both are restricted, a day fits that fits one of them.
    isDayAny: parts[2].startsWith("*"), isWeekdayAny: parts[4].startsWith("*"),
  };
  const longest = Math.max(...[...month].map((m) => [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31][m - 1]));
  if (spec.isWeekdayAny && Math.min(...day) > longest) {
    refuse(`"${text}" names a day that no such month has.`);
  }
  return spec;
};

// ---- time zones ----

const zones = new Map();

const formatOf = (zone) => {
  let format = zones.get(zone);
  if (format === undefined) {
    try {
      format = new DateTimeFormat("en-US", {
        timeZone: zone, calendar: "gregory", numberingSystem: "latn", hourCycle: "h23",
        year: "numeric", month: "numeric", day: "numeric", hour: "numeric", minute: "numeric", second: "numeric",
      });
    } catch {
      refuse(`"${zone}" is no time zone. Names are those of the IANA, such as "Europe/Berlin" or "UTC".`);
    }
    if (zones.size >= ZONES_KEPT) {
      zones.clear();
    }
    zones.set(zone, format);
  }
  return format;
};

// Local minus universal time.
const offsetAt = (zone, time) => {
  if (zone === "UTC") {
    return 0;
  }
  const parts = {};
  for (const { type, value } of formatOf(zone).formatToParts(time)) {
    parts[type] = Number(value);
  }
  const local = Date.UTC(parts.year, parts.month - 1, parts.day, parts.hour, parts.minute, parts.second);
  return local - Math.floor(time / 1000) * 1000;
};

// The moments at which clocks show `local`: none when they are put forward over it, two when put back.
const momentsOf = (zone, local) => {
  const offsets = [offsetAt(zone, local - DAY), offsetAt(zone, local + DAY)];
  const found = new Set();
  for (const offset of offsets) {
    if (offsetAt(zone, local - offset) === offset) {
      found.add(local - offset);
    }
  }
  return { moments: sorted(found), shifted: local - offsets[0] };
};

// ---- the next one ----

const fitsDay = (spec, date) => {
  if (!spec.month.has(date.getUTCMonth() + 1)) {
    return false;
  }
  const day = spec.day.has(date.getUTCDate());
  const weekday = spec.weekday.has(date.getUTCDay());
  return spec.isDayAny ? weekday && day : spec.isWeekdayAny ? day : day || weekday;
};

// Where every hour is meant, each hour that passes counts, also the one that comes twice.
const firstMinute = (spec, zone, midnight, after) => {
  const offsets = [offsetAt(zone, midnight - DAY), offsetAt(zone, midnight + DAY)];
  const end = midnight + DAY - Math.min(...offsets);
  let time = Math.max(midnight - Math.max(...offsets), (Math.floor(after / MINUTE) + 1) * MINUTE);
  for (; time < end; time += MINUTE) {
    const local = time + offsetAt(zone, time);
    if (Math.floor(local / DAY) * DAY === midnight && spec.minute.has(Math.floor(local / MINUTE) % 60)) {
      return time;
    }
  }
  return null;
};

// A time of day that is left out runs when the clocks have passed it, one that comes twice the first time.
const firstTime = (spec, zone, midnight, after) => {
  const offset = offsetAt(zone, after);
  let best = null;
  for (const hour of spec.hours) {
    for (const minute of spec.minutes) {
      const local = midnight + hour * HOUR + minute * MINUTE;
      if (local - offset < after - 3 * HOUR) {
        continue;
      }
      const { moments, shifted } = momentsOf(zone, local);
      const moment = moments.length === 0 ? shifted : moments[0];
      if (moment > after && (best === null || moment < best)) {
        best = moment;
      } else if (best !== null && moment > best + 3 * HOUR) {
        return best;
      }
    }
  }
  return best;
};

const nextOfExpression = (spec, zone, after) => {
  const first = spec.isEveryHour ? firstMinute : firstTime;
  const today = Math.floor((after + offsetAt(zone, after)) / DAY) * DAY;
  // Yesterday as well: clocks that are put back around midnight show it again.
  for (let day = -1; day <= DAYS_SEARCHED; day++) {
    const midnight = today + day * DAY;
    const found = fitsDay(spec, new Date(midnight)) ? first(spec, zone, midnight, after) : null;
    if (found !== null) {
      return found;
    }
  }
  return refuse("the expression names a day that never comes.");
};

// ---- schedules as crons.ts gives them ----

const EXPRESSIONS = {
  hourly: ({ minuteUTC }) => `${minuteUTC} * * * *`,
  daily: ({ hourUTC, minuteUTC }) => `${minuteUTC} ${hourUTC} * * *`,
  weekly: ({ dayOfWeek, hourUTC, minuteUTC }) => `${minuteUTC} ${hourUTC} * * ${WEEKDAYS.indexOf(dayOfWeek)}`,
  monthly: ({ day, hourUTC, minuteUTC }) => `${minuteUTC} ${hourUTC} ${day} * *`,
  cron: ({ cronExpr, cron }) => String(cronExpr ?? cron),
};

const periodOf = ({ seconds = 0, minutes = 0, hours = 0 }) => {
  const period = (Number(seconds) + Number(minutes) * 60 + Number(hours) * 3600) * 1000;
  return Number.isInteger(period) && period >= 1000 ? period : refuse("an interval is a whole number of seconds above 0.");
};

// { type: "interval", period } or { type: "cron", expression, timeZone }; refuses what cannot be.
bb.readSchedule = (schedule, timeZone) => {
  if (schedule?.type === "interval") {
    return { type: "interval", period: periodOf(schedule) };
  }
  const make = Object.hasOwn(EXPRESSIONS, String(schedule?.type)) ? EXPRESSIONS[schedule.type] : undefined;
  if (make === undefined) {
    refuse(`"${String(schedule?.type)}" is no kind of schedule.`);
  }
  const read = { type: "cron", expression: make(schedule).trim(), timeZone: timeZone ?? "UTC" };
  parseExpression(read.expression);
  offsetAt(read.timeZone, 0);
  return read;
};

// The first moment after `after`. An interval goes on from `from`, one of its moments.
bb.nextRun = (schedule, after, from) => {
  if (schedule.type === "interval") {
    return from > after ? from : from + (Math.floor((after - from) / schedule.period) + 1) * schedule.period;
  }
  return nextOfExpression(parseExpression(schedule.expression), schedule.timeZone, after);
};
