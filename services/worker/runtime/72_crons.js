// The crons of a deployment: the default export of crons.js against the rows of _crons.
"use strict";

if (internals.isOwn) {
  return; // of the shared realm only
}

const { bb } = internals;

const CRONS_MAX = 1000;
const POLICIES = new Set(["skip", "catchUp"]);

const refuse = (message) => bb.fail("BadRequest", `Deploy refused: crons.ts: ${message}`);

// The JSON form of values (convex_encoded_json).
const bytesOf = (text) => Uint8Array.from(atob(text), (character) => character.charCodeAt(0)).buffer;

const decode = (json) => {
  if (typeof json !== "object" || json === null) {
    return json;
  }
  if (Array.isArray(json)) {
    return json.map(decode);
  }
  const [key, text] = Object.entries(json)[0] ?? [];
  switch (key) {
    case "$integer":
      return new DataView(bytesOf(text)).getBigInt64(0, true);
    case "$float":
      return new DataView(bytesOf(text)).getFloat64(0, true);
    case "$bytes":
      return bytesOf(text);
    default:
      return Object.fromEntries(Object.entries(json).map(([name, value]) => [name, decode(value)]));
  }
};

const readCron = (name, given, functions) => {
  const path = bb.jobs.canonicalPath(String(given?.name));
  const found = functions.find(({ _key }) => _key === path);
  if (found === undefined || (found.kind !== "mutation" && found.kind !== "action")) {
    refuse(`"${name}" runs ${path}, which is ${found === undefined ? "not there" : `a ${found.kind}`}. It must be a mutation or an action.`);
  }
  const missed = given.missed ?? "skip";
  if (!POLICIES.has(missed)) {
    refuse(`"${name}": missed is "skip" or "catchUp", not ${String(missed)}.`);
  }
  try {
    const schedule = bb.readSchedule(given.schedule, given.timeZone);
    return { name, path, args: decode(given.args?.[0] ?? {}), schedule, missed };
  } catch (error) {
    return refuse(`"${name}": ${error.message}`);
  }
};

// Rows-to-be of what cronJobs() exports; `functions` are those of the same deployment.
bb.readCrons = (crons, functions) => {
  if (typeof crons?.export !== "function") {
    refuse("its default export must be what cronJobs() returned.");
  }
  const entries = Object.entries(JSON.parse(crons.export()));
  if (entries.length > CRONS_MAX) {
    refuse(`it declares ${entries.length} crons, the limit is ${CRONS_MAX}.`);
  }
  return entries.map(([name, given]) => readCron(name, given, functions));
};

const isSame = (row, { path, args, schedule, missed }) =>
  row.path === path && row.missed === missed && bb.textOf(row.args) === bb.textOf(args) &&
  bb.textOf(row.schedule) === bb.textOf(schedule);

// An interval begins with the deployment that declares it, the others at their first moment after it.
const firstRun = (schedule, now) => (schedule.type === "interval" ? now : bb.nextRun(schedule, now, now));

bb.planCrons = (plan, wanted, known) => {
  const now = Date.now();
  for (const cron of wanted) {
    const row = known.get(cron.name);
    if (row !== undefined && isSame(row, cron)) {
      continue;
    }
    const keepsTime = row !== undefined && bb.textOf(row.schedule) === bb.textOf(cron.schedule);
    plan.put("_crons", cron.name, {
      ...cron, next: keepsTime ? row.next : firstRun(cron.schedule, now), last: row?.last ?? null,
      lastJob: row?.lastJob ?? null, runs: row?.runs ?? 0n, skipped: row?.skipped ?? 0n,
    });
    (row === undefined ? plan.crons.added : plan.crons.changed).push(cron.name);
  }
  const names = new Set(wanted.map(({ name }) => name));
  for (const name of known.keys()) {
    if (!names.has(name)) {
      plan.drop("_crons", name);
      plan.crons.removed.push(name);
    }
  }
};
