// kill -9 of each process, and of all at once, under load: what was acknowledged is there afterwards,
// nothing is applied twice, and subscriptions go on.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import { eventually, mutation, query, subscribe } from "../http/api.mjs";
import { app } from "../http/modes.mjs";
import { treeOf } from "../../bench/processes.mjs";
import { startSuite } from "../js/suite.mjs";
import { verify, writers } from "./ledger.mjs";

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

describe("kill -9 under load (processes)", () => {
  let suite;
  before(async () => {
    suite = await startSuite({ mode: "processes", appDir: app });
  });
  after(() => suite?.stop());

  for (const role of ["worker", "gateway", "sequencer", "storage"]) {
    test(`b28_kill_${role}: nothing acknowledged is lost, the load goes on`, async () => {
      const group = `kill-${role}`;
      const load = writers(suite.url, group, 8);
      await eventually(() => load.acknowledged.size > 20);
      for (let round = 0; round < 2; round++) {
        await suite.kill(role);
        await pause(150);
        await suite.start(role);
        const before = load.acknowledged.size;
        await eventually(() => load.acknowledged.size > before + 20);
      }
      await load.stop();
      await verify(suite.url, group, load);
    });
  }

  test("b22_kill_all: everything at once", async () => {
    const group = "kill-all";
    const load = writers(suite.url, group, 8);
    await eventually(() => load.acknowledged.size > 20);
    await suite.kill();
    await suite.start();
    const before = load.acknowledged.size;
    await eventually(() => load.acknowledged.size > before + 20);
    await load.stop();
    await verify(suite.url, group, load);
  });
});

describe("kill -9 of the embedded suite", () => {
  let suite;
  before(async () => {
    suite = await startSuite({ mode: "solo", appDir: app });
  });
  after(() => suite?.stop());

  test("b22_kill_solo: under load, several times", async () => {
    const group = "kill-solo";
    const load = writers(suite.url, group, 8);
    for (let round = 0; round < 3; round++) {
      const before = load.acknowledged.size;
      await eventually(() => load.acknowledged.size > before + 30);
      await suite.kill("solo");
      await suite.start("solo");
    }
    const before = load.acknowledged.size;
    await eventually(() => load.acknowledged.size > before + 10);
    await load.stop();
    await verify(suite.url, group, load);
  });

  test("a killed slot fails nobody and subscriptions go on", async () => {
    const stream = await subscribe(suite.url, "items:count", { group: "slots" });
    await stream.next((event) => event.data.value === 0);
    const load = writers(suite.url, "slots", 4);
    for (let round = 0; round < 3; round++) {
      for (const pid of treeOf(suite.pid()).slice(1)) {
        try {
          process.kill(pid, "SIGKILL");
        } catch {
          // gone already
        }
      }
      const before = load.acknowledged.size;
      await eventually(() => load.acknowledged.size > before + 10);
    }
    await load.stop();
    assert.equal(load.unknown, 0);
    await verify(suite.url, "slots", load);
    const total = await query(suite.url, "items:count", { group: "slots" });
    await stream.next((event) => event.data.value === total);
    stream.close();
  });

  test("a planned stop and start keeps everything and is quick", async () => {
    await mutation(suite.url, "items:add", { group: "planned", n: 1 });
    await suite.restart("solo", "SIGTERM");
    assert.deepEqual(await eventually(() => query(suite.url, "items:numbers", { group: "planned" })), [1]);
  });
});
