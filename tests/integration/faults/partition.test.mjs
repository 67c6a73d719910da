// The links between three storage nodes are cut in every way: a leader alone, a follower alone, all apart, one
// direction only, two that do not see each other, a link that flaps. Whoever has a majority goes on, and
// nothing acknowledged is lost or doubled.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import { eventually } from "../http/api.mjs";
import { app } from "../http/modes.mjs";
import { startSuite } from "../js/suite.mjs";
import { verify, writers } from "./ledger.mjs";
import { Network } from "./proxy.mjs";

const NODES = [1, 2, 3];
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

describe("links between three storage nodes are cut (cluster)", () => {
  const network = new Network();
  let suite;
  before(async () => {
    suite = await startSuite({ mode: "cluster", appDir: app, network });
  });
  after(() => suite?.stop());

  /** The node that leads, by what most nodes say. */
  async function leader() {
    const found = await eventually(async () => {
      const { storage } = await (await fetch(`${suite.url}/api/admin/status`, { headers: suite.headers ?? { authorization: `BitBend ${suite.adminKey}` } })).json();
      const at = storage.findIndex(({ isUp, isLeader }) => isUp && isLeader);
      return at < 0 ? undefined : at + 1;
    });
    return found;
  }
  const others = (id) => NODES.filter((one) => one !== id);

  /** Load runs, `harm` is done and undone, the load goes on; `stops`: no majority is left meanwhile. */
  async function through(name, harm, { stops = false, ms = 1500 } = {}) {
    const load = writers(suite.url, name, 6);
    try {
      await eventually(() => load.acknowledged.size > 20);
      await harm();
      if (stops) {
        await pause(ms);
        // What was acknowledged before may still be on its way here.
        let before;
        await eventually(async () => {
          before = load.acknowledged.size;
          await pause(300);
          return load.acknowledged.size === before;
        });
        await pause(1000);
        assert.equal(load.acknowledged.size, before, "something was acknowledged without a majority");
      } else {
        const before = load.acknowledged.size;
        await eventually(() => load.acknowledged.size > before + 50);
        await pause(ms);
      }
      network.heal();
      const before = load.acknowledged.size;
      await eventually(() => load.acknowledged.size > before + 50);
    } catch (error) {
      error.message += `\n${suite.logs()}`;
      throw error;
    } finally {
      network.heal();
      await load.stop();
    }
    await verify(suite.url, name, load);
    return load;
  }

  test("b22_partition_leader: the leader alone; the other two go on", async () => {
    const old = await leader();
    await through("leader", () => network.isolate(old, NODES));
  });
  test("b22_partition_stall: the leader's links stay and carry nothing", async () => {
    const old = await leader();
    await through("stall", () => network.isolate(old, NODES, "stall"));
  });
  test("b22_partition_follower: a follower alone changes nothing", async () => {
    const [one] = others(await leader());
    await through("follower", () => network.isolate(one, NODES));
  });
  test("b22_partition_all: all apart; nothing is acknowledged until they meet again", async () => {
    await through("all", () => NODES.forEach((id) => network.isolate(id, NODES)), { stops: true });
  });
  test("b22_partition_one_way: what the leader sends does not arrive", async () => {
    const old = await leader();
    await through("one-way", () => others(old).forEach((one) => network.set(old, one, "stall")));
  });
  test("b22_partition_pair: the two followers do not see each other", async () => {
    const [one, two] = others(await leader());
    await through("pair", () => network.both(one, two, "cut"));
  });
  test("b22_partition_flapping: a link of the leader comes and goes, and a node is killed meanwhile", async () => {
    const old = await leader();
    const [one, two] = others(old);
    await through("flapping", async () => {
      for (let i = 0; i < 4; i++) {
        network.both(old, one, i % 2 === 0 ? "cut" : "open");
        await pause(200);
      }
      const name = two === 1 ? "storage" : `storage${two}`;
      await suite.kill(name);
      await suite.start(name);
    });
  });
});
