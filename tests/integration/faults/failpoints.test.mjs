// Each named moment before and after a write, a sync or a message: the process ends there under load, starts
// again, and nothing acknowledged is lost or doubled.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";

import { eventually, mutation } from "../http/api.mjs";
import { app } from "../http/modes.mjs";
import { ROOT, startSuite } from "../js/suite.mjs";
import { verify, writers } from "./ledger.mjs";

const PARTS = { log: "storage", storage: "storage", feed: "storage", store: "storage", sequencer: "sequencer", worker: "worker", gateway: "gateway" };
const points = [...readFileSync(join(ROOT, "libs/env/include/bb/failpoint.h"), "utf8").matchAll(/X\(\w+, "([a-z.]+)"\)/g)].map(([, name]) => name);
const partOf = (point) => PARTS[point.split(".")[0]];
/** Some points are reached at the start already; the others shall be reached in the middle of the load. */
const timesOf = (point) => (/^(log\.snapshot|sequencer\.claim)/.test(point) ? 1 : 3);
/** Those that a light load under way does not reach have tests of their own. */
const isRare = (point) => /^(log\.snapshot|feed\.segment|store\.sync)/.test(point);

describe("the process ends at a named point (processes)", () => {
  let suite;
  before(async () => {
    suite = await startSuite({ mode: "processes", appDir: app, options: { storage: { "flush-ms": 300 } } });
  });
  after(() => suite?.stop());

  /** `point` is reached by the part that has it, under load; then it starts as usual and the load goes on. */
  async function dieAt(point, load) {
    const part = partOf(point);
    await suite.kill(part, "SIGTERM");
    const child = suite.startWith(part, { failpoint: `${point}:${timesOf(point)}` });
    assert.equal(await child.exited, "SIGKILL", `${point} was not reached`);
    await suite.start(part);
    const acknowledged = load.acknowledged.size;
    await eventually(() => load.acknowledged.size > acknowledged + 10);
  }

  test("there are points of every part", () => {
    assert.ok(points.length >= 30);
    for (const point of points) assert.ok(partOf(point), `${point} is of no part`);
    assert.equal(new Set(points).size, points.length);
  });

  for (const part of new Set(Object.values(PARTS))) {
    test(`b22_failpoints_${part}: nothing acknowledged is lost, nothing is done twice`, async (t) => {
      for (const point of points.filter((one) => partOf(one) === part && !isRare(one))) {
        const load = writers(suite.url, point, 6);
        try {
          await dieAt(point, load);
        } catch (error) {
          error.message = `${point}: ${error.message}\n${suite.logs()}`;
          throw error;
        } finally {
          await load.stop();
        }
        await verify(suite.url, point, load);
        t.diagnostic(`${point}: ${load.acknowledged.size} acknowledged`);
      }
    });
  }

  test("b22_failpoints_store_sync: while the data is synced, which happens at rest", async () => {
    const point = "store.sync.after";
    await suite.kill("storage", "SIGTERM");
    const child = suite.startWith("storage", { failpoint: point });
    const load = writers(suite.url, point, 2);
    await eventually(() => load.acknowledged.size > 10);
    await load.stop();
    assert.equal(await child.exited, "SIGKILL", `${point} was not reached`);
    await suite.start("storage");
    await verify(suite.url, point, load);
  });

  test("b22_failpoints_log_snapshot: while the log is cut", async () => {
    for (const point of ["log.snapshot.before", "log.snapshot.after"]) {
      const load = writers(suite.url, point, 6, "x".repeat(200_000)); // the log is cut when it has grown by 16 MB
      await dieAt(point, load).finally(() => load.stop());
      await verify(suite.url, point, load);
    }
  });

  test("b22_failpoints_feed_segment: while the first segment is made", async () => {
    for (const point of ["feed.segment.before", "feed.segment.after"]) {
      const fresh = await startSuite({ mode: "processes" });
      try {
        await fresh.kill("storage", "SIGTERM");
        const child = fresh.startWith("storage", { failpoint: point });
        await child.ready;
        const first = fresh.deployApp(app).catch((error) => error); // whatever became of it
        assert.equal(await child.exited, "SIGKILL", `${point} was not reached`);
        await fresh.start("storage");
        await first;
        await eventually(() => fresh.deployApp(app));
        await mutation(fresh.url, "items:add", { group: point, n: 1 });
      } finally {
        await fresh.stop();
      }
    }
  });

  test("an unknown point is refused with the list of those that are", async () => {
    await suite.kill("worker", "SIGTERM");
    const child = suite.startWith("worker", { failpoint: "worker.lunch" });
    assert.equal(await child.exited, "exit code 2");
    assert.match(suite.logs(), /no failpoint "worker\.lunch"; there are: .*worker\.reply\.after/);
    await suite.start("worker");
    await mutation(suite.url, "items:add", { group: "after", n: 1 });
  });
});
