// The command line on jobs and crons.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";

import { eventually, mutation, query } from "../http/api.mjs";
import { ROOT, startSuite, suiteMissing } from "../js/suite.mjs";
import { functions } from "./app.mjs";

describe("bitbend jobs and crons", { skip: suiteMissing() }, () => {
  let suite;
  before(async () => {
    const crons = 'import { cronJobs } from "bitbend/server";\nimport { internal } from "./_generated/api";\nconst crons = cronJobs();\ncrons.cron("nightly", "0 3 * * *", internal.work.mark, { key: "night" });\nexport default crons;\n';
    suite = await startSuite({ mode: "solo", functions: { ...functions, "crons.ts": crons } });
  });
  after(() => suite?.stop());

  const cli = (...args) => {
    const env = { ...process.env, BITBEND_URL: suite.url, BITBEND_ADMIN_KEY: suite.adminKey };
    const { status, stdout, stderr } = spawnSync(process.execPath, [join(ROOT, "libs/js/bitbend/bin/bitbend.cjs"), ...args], { encoding: "utf8", env, cwd: suite.dir });
    return { status, out: stdout, err: stderr, lines: stdout.trim().split("\n") };
  };
  const schedule = async (path, args, more) => (await mutation(suite.url, "work:schedule", { path, args, ...more }))[0];
  const ended = (id) => eventually(async () => (await query(suite.url, "work:job", { id })).ended !== null);

  test("jobs are listed with state and error, and cancelled", async () => {
    const bad = await schedule("work:fail", { key: "cli" });
    const later = await schedule("work:mark", { key: "cli" }, { delay: 60_000 });
    await ended(bad);
    const listed = cli("jobs", "--json").lines.map((line) => JSON.parse(line));
    assert.equal(listed.find(({ id }) => id === bad).state, "failed");
    assert.equal(listed.find(({ id }) => id === later).state, "pending");
    assert.match(cli("jobs").out, /no way: cli/);
    assert.match(cli("jobs", "cancel", later).out, /is cancelled/);
    assert.match(cli("jobs", "cancel", later).out, /ended already: cancelled/);
    assert.equal(cli("jobs", "--state", "pending").lines.length, 1);
    assert.equal(cli("jobs", "cancel", "nothing").status, 1);
    assert.notEqual(cli("jobs", "--state", "odd").status, 0);
  });

  test("the error of a job shows no value of the environment, as log lines do not", async () => {
    const secret = "sk-abcdef0123456789";
    assert.equal(cli("env", "set", "JOB_KEY", secret).status, 0);
    const ids = [await schedule("work:leak", {}), await schedule("work:leakLate", {}), await schedule("work:leakThrown", {})];
    await Promise.all(ids.map(ended));
    const [{ error }, { error: cut }, { error: thrown }] = await Promise.all(ids.map((id) => query(suite.url, "work:job", { id })));
    assert.equal(error, "refused with [JOB_KEY]");
    assert.ok(cut.startsWith("x".repeat(8000)) && !cut.includes("sk-"), cut.slice(8000));
    assert.match(thrown, /^\{"text": "x{975}\[JOB_KEY\]\.\.\.$/, "of what is no Error the text is cut before");
    assert.ok(!cli("logs").out.includes("sk-abc"));
  });

  test("the status says who schedules, what waits, and that there is no NATS", async () => {
    const first = await schedule("work:mark", { key: "status" }, { delay: 3_600_000, count: 2 });
    const { deployment, gateway } = JSON.parse(cli("status", "--json").out);
    assert.equal(deployment.scheduler.isLeased, false, "bb-solo schedules by itself");
    assert.ok(deployment.scheduler.jobs.pending >= 2);
    assert.equal(deployment.scheduler.jobs.due, 0);
    assert.equal(deployment.crons, 1);
    assert.deepEqual([gateway.nats, gateway.actions, gateway.runners], [{ isConfigured: false }, 0, []]);
    assert.match(cli("status").out, /scheduler\n(.*\n)*? +isLeased +false\n +jobs\n +due +0\n +pending +\d/);
    assert.match(cli("jobs", "cancel", first).out, /is cancelled/);
  });

  test("crons are listed with schedule and next run", () => {
    const [cron] = cli("crons", "--json").lines.map((line) => JSON.parse(line));
    assert.equal(cron.name, "nightly");
    assert.ok(cron.next > Date.now());
    assert.match(cli("crons").out, /0 3 \* \* \* \(UTC\)/);
  });

  test("log lines of a job bear the name of its function", async () => {
    const id = await schedule("work:fail", { key: "logged" });
    await ended(id);
    const line = await eventually(() => cli("logs").lines.find((one) => one.includes("no way: logged")));
    assert.match(cli("logs").out, /work:fail/);
    assert.doesNotMatch(line, /_system:runJob/);
  });
});
