// One way of many is cut and lasts: from the sequencer to the storage node that leads, or from a worker to the
// sequencer. Another way is there, so every client goes on, and nothing is lost or doubled.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import { eventually } from "../http/api.mjs";
import { app } from "../http/modes.mjs";
import { startSuite } from "../js/suite.mjs";
import { verify, writers } from "./ledger.mjs";
import { Ways } from "./ways.mjs";

const CLIENTS = 6;
const STORAGES = ["storage", "storage2", "storage3"];

/** `body` registers tests of a cluster with so many sequencers. */
function inCluster(title, sequencers, body) {
  describe(`${title} (cluster)`, () => {
    const ways = new Ways();
    const parts = { ways };
    before(async () => {
      parts.suite = await startSuite({ mode: "cluster", appDir: app, ways, sequencers });
    });
    after(() => parts.suite?.stop());
    body(parts, helpers(parts));
  });
}

function helpers(parts) {
  const { ways } = parts;

  const status = async () => await (await fetch(`${parts.suite.url}/api/admin/status`, { headers: { authorization: `BitBend ${parts.suite.adminKey}` } })).json();
  async function leader() {
    return await eventually(async () => {
      const { storage } = await status();
      const found = storage.find(({ isUp, isLeader }) => isUp && isLeader);
      return STORAGES.find((name) => parts.suite.settings(name).advertise === found?.url);
    });
  }
  async function metric(name, of) {
    const text = await (await fetch(`http://${parts.suite.settings(of)["admin-listen"]}/metrics`)).text();
    return Number(new RegExp(`^${name} (\\d+)$`, "m").exec(text)?.[1] ?? 0);
  }
  /** Every client gets further by `more`. */
  async function allGoOn(load, more) {
    const counts = () => Array.from({ length: CLIENTS }, (_, client) => [...load.acknowledged].filter((n) => Math.floor(n / 1_000_000) === client).length);
    const begun = counts();
    await eventually(() => counts().every((count, client) => count >= begun[client] + more));
  }

  /** Load runs, `harm` is done and lasts, every client goes on; it is undone, and every client goes on. */
  async function through(t, name, harm, meanwhile = async () => {}) {
    const load = writers(parts.suite.urls, name, CLIENTS);
    try {
      await allGoOn(load, 5);
      load.takeGapMs();
      await harm();
      await allGoOn(load, 30);
      await meanwhile();
      await allGoOn(load, 30);
      t.diagnostic(`no write was acknowledged for ${load.takeGapMs()} ms`);
      ways.heal();
      await allGoOn(load, 10);
    } catch (error) {
      error.message += `\n${parts.suite.logs()}`;
      throw error;
    } finally {
      ways.heal();
      await load.stop();
    }
    await verify(parts.suite.url, name, load);
  }
  return { status, leader, metric, through };
}

inCluster("one way between two processes is cut", 1, (parts, { status, leader, metric, through }) => {
  const { ways } = parts;
  const passedOn = async () => await metric("bb_sequencer_passed_on_total", "sequencer");

  for (const rule of ["cut", "stall"]) {
    test(`b22_way_to_leader_${rule}: the sequencer does not reach the storage node that leads`, async (t) => {
      const begun = await passedOn();
      let cut = "";
      // Whoever leads: on a busy machine that may become another one.
      const harm = async () => {
        const now = await leader();
        if (now === cut) return;
        ways.heal();
        ways.set("sequencer", now, rule);
        cut = now;
      };
      await through(t, `leader-${rule}`, harm, async () => {
        await eventually(async () => {
          await harm();
          return (await passedOn()) > begun;
        });
      });
      // Straight again: batches come, and none by a follower.
      await eventually(async () => {
        const [passed, batches] = [await passedOn(), await metric("bb_sequencer_batches_total", "sequencer")];
        for (let n = 0; n < 3; n++) await parts.suite.call("items:add", { group: `straight-${rule}`, n });
        return (await passedOn()) === passed && (await metric("bb_sequencer_batches_total", "sequencer")) > batches;
      });
    });
    test(`b22_way_to_sequencer_${rule}: one worker does not reach the sequencer`, async (t) => {
      await through(t, `worker-${rule}`, () => ways.set("worker2", "sequencer", rule), async () => {
        await eventually(async () => (await status()).workers.some(({ isCut }) => isCut));
      });
      await eventually(async () => (await status()).workers.every(({ isCut }) => !isCut));
    });
  }
  test("b22_way_claim: a sequencer that starts gets its epoch by a follower", async (t) => {
    const cut = await leader();
    await through(t, "claim", async () => {
      ways.set("sequencer", cut, "cut");
      await parts.suite.restart("sequencer");
    });
  });
});

// The old one goes on answering, and so does not know that it was followed by another one.
inCluster("an active sequencer is cut off from all storage nodes", 2, (parts, { status, through }) => {
  const { ways } = parts;
  const SEQUENCERS = ["sequencer", "sequencer2"];
  const active = async () => {
    const { storage } = await status();
    const holder = storage.find(({ isLeader }) => isLeader)?.sequencer;
    return SEQUENCERS.find((name) => parts.suite.settings(name).advertise === holder);
  };

  test("b22_way_to_old_sequencer: a worker that hears the old one alone says that it is cut", async (t) => {
    let old;
    await through(
      t,
      "old",
      async () => {
        old = await eventually(active);
        for (const storage of STORAGES) ways.set(old, storage, "cut");
        ways.set("worker2", SEQUENCERS.find((name) => name !== old), "cut");
      },
      async () => {
        await eventually(async () => (await status()).workers.map(({ isCut }) => isCut).join() === "false,true");
        assert.notEqual(await active(), old);
      },
    );
    // It hears of its successor and ends.
    await parts.suite.child(old).exited;
    parts.suite.forget(old);
    await parts.suite.start(old);
    await eventually(async () => (await status()).workers.every(({ isCut }) => !isCut));
  });
});
