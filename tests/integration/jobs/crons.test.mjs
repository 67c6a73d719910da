// Crons: their rows follow the deployment, and their jobs the clock.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import { eventually, query } from "../http/api.mjs";
import { startSuite, suiteMissing } from "../js/suite.mjs";
import { functions } from "./app.mjs";

const cronsOf = (lines) => ({
  "crons.ts": `
import { cronJobs } from "bitbend/server";
import { internal } from "./_generated/api";
const crons = cronJobs();
${lines}
export default crons;
`,
});
const TICK = 'crons.interval("tick", { seconds: 1 }, internal.work.mark, { key: "tick" });';
// Half a day away, so that it does not run while the test does.
const HOUR = (Number(new Intl.DateTimeFormat("en-GB", { timeZone: "Europe/Berlin", hour: "2-digit", hourCycle: "h23" }).format()) + 12) % 24;
const NIGHTLY = `crons.cron("nightly", "30 ${HOUR} * * *", internal.work.mark, { key: "night" }, { timeZone: "Europe/Berlin", missed: "catchUp" });`;

describe("crons", { skip: suiteMissing() }, () => {
  let suite;
  before(async () => {
    suite = await startSuite({ mode: "solo", functions: { ...functions, ...cronsOf(`${TICK}\n${NIGHTLY}`) } });
  });
  after(() => suite?.stop());

  const runs = async () => (await query(suite.url, "work:runs", { key: "tick" })).length;
  const cron = async (name) => (await suite.call("_system:crons", {})).find((one) => one.name === name);
  const jobsOf = async (name) => (await query(suite.url, "work:allJobs", {})).filter((job) => job.cron === name);

  test("an interval runs again and again, on its grid; its row tells last and next", async () => {
    await eventually(async () => (await runs()) >= 3);
    const jobs = await jobsOf("tick");
    for (const job of jobs.slice(1)) assert.equal((job.due - jobs[0].due) % 1000, 0);
    const row = await cron("tick");
    assert.ok(row.next > row.last);
    assert.equal((row.next - row.last) % 1000, 0, "on the grid, where a slow machine let one pass, too");
    assert.ok(row.runs >= 3);
    assert.equal(row.path, "work:mark");
  });

  test("a cron in a time zone waits for its time", async () => {
    const { schedule, next, runs: count, missed } = await cron("nightly");
    assert.deepEqual(schedule, { type: "cron", expression: `30 ${HOUR} * * *`, timeZone: "Europe/Berlin" });
    assert.equal(missed, "catchUp");
    assert.equal(count, 0);
    const local = new Intl.DateTimeFormat("en-GB", { timeZone: "Europe/Berlin", hour: "2-digit", minute: "2-digit", hourCycle: "h23" }).format(next);
    assert.equal(local, `${String(HOUR).padStart(2, "0")}:30`);
    assert.ok(next > Date.now());
  });

  test("never two runs of one cron at once: the next moment is skipped while one runs", async () => {
    await suite.deploy(cronsOf(`${TICK}\ncrons.interval("slow", { seconds: 1 }, internal.work.slow, {});`));
    await eventually(async () => (await cron("slow")).skipped >= 1 && (await jobsOf("slow")).some(({ state }) => state === "failed"));
    const spans = (await jobsOf("slow")).filter(({ ended }) => ended !== null).map(({ started, ended }) => [started, ended]);
    for (let i = 1; i < spans.length; i++) assert.ok(spans[i][0] >= spans[i - 1][1], JSON.stringify(spans));
    const unended = (await jobsOf("slow")).filter(({ ended }) => ended === null);
    assert.ok(unended.length <= 1, `${unended.length} runs at once`);
  });

  test("a deployment changes crons: what is the same keeps its time, what is gone runs no more", async () => {
    const before = await cron("tick");
    const { crons } = await suite.deploy(cronsOf(TICK));
    assert.deepEqual(crons, { added: [], changed: [], removed: ["slow"] });
    assert.equal((await cron("tick")).id, before.id);
    assert.ok((await cron("tick")).runs >= before.runs);
    assert.equal(await cron("slow"), undefined);
    const last = await suite.deploy(cronsOf(""));
    assert.deepEqual(last.crons.removed, ["tick"]);
    const count = await runs();
    await new Promise((resolve) => setTimeout(resolve, 2200));
    assert.ok((await runs()) <= count + 1, "one that was made already may run");
  });

  test("what cannot be is refused at the deploy, and changes nothing", async () => {
    for (const [line, why] of [
      ['crons.interval("a", { seconds: 1 }, "work:nothing" as any);', /not there/],
      ['crons.interval("a", { seconds: 1 }, "work:runs" as any);', /a query/],
      ['crons.cron("a", "99 * * * *", internal.work.mark, { key: "a" });', /no minute/],
      ['crons.cron("a", "* * * * *", internal.work.mark, { key: "a" }, { timeZone: "Mars/Base" });', /no time zone/],
      ['crons.daily("a", { hourUTC: 25, minuteUTC: 0 }, internal.work.mark, { key: "a" });', /hourUTC/],
    ]) {
      await assert.rejects(() => suite.deploy(cronsOf(line)), why);
    }
    assert.deepEqual(await suite.call("_system:crons", {}), []);
  });
});
