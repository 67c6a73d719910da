// A sequencer and its standby: one dies or is paused under load, the other goes on, nothing is lost or
// doubled, and the old one can do no harm when it wakes.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";

import { eventually } from "../http/api.mjs";
import { app } from "../http/modes.mjs";
import { ROOT, startSuite } from "../js/suite.mjs";
import { verify, writers } from "./ledger.mjs";

const generous = 60_000; // on a machine that does other things too; the target is 3 s
const ctl = join(ROOT, process.env.BB_TEST_BUILD ?? "build/release", "bin/bb-ctl");

/** What each sequencer says of itself, by name. */
function statusOf(suite) {
  const names = suite.names.filter((name) => name.startsWith("sequencer"));
  const urls = names.map((name) => suite.settings(name).listen).join(",");
  const out = spawnSync(ctl, ["status", "--json", "--sequencer", urls], { encoding: "utf8" });
  return Object.fromEntries(JSON.parse(out.stdout).map((line, i) => [names[i], line]));
}

describe("a standby takes over", () => {
  let suite;
  before(async () => {
    suite = await startSuite({ mode: "processes", appDir: app, sequencers: 2 });
  });
  after(() => suite?.stop());

  const loadOf = (t, group) => {
    const load = writers(suite.url, group, 8);
    t.after(() => load.stop());
    return load;
  };
  const active = async () => await eventually(() => Object.entries(statusOf(suite)).find(([, status]) => status.isActive)?.[0], generous);

  test("p13_standby: the one that waits says so, and names the active one", async () => {
    const name = await active();
    const other = name === "sequencer" ? "sequencer2" : "sequencer";
    const status = await eventually(() => {
      const found = statusOf(suite)[other];
      return found.isStandby && found;
    }, generous);
    assert.equal(status.holder, suite.settings(name).listen);
    assert.equal(status.isActive, false);
  });

  test("p13_take_over_kill: kill -9 of the active one, twice, under load", async (t) => {
    const load = loadOf(t, "take-over-kill");
    await eventually(() => load.acknowledged.size > 20, generous);
    for (let round = 0; round < 2; round++) {
      const name = await active();
      load.takeGapMs();
      await suite.kill(name);
      const size = load.acknowledged.size;
      await eventually(() => load.acknowledged.size > size + 20, generous);
      t.diagnostic(`no write was acknowledged for ${load.takeGapMs()} ms`);
      await suite.start(name); // as the standby of the other one
    }
    await load.stop();
    await verify(suite.url, "take-over-kill", load);
  });

  test("p13_take_over_pause: a paused one that wakes is fenced and ends", async (t) => {
    const load = loadOf(t, "take-over-pause");
    await eventually(() => load.acknowledged.size > 20, generous);
    const name = await active();
    load.takeGapMs();
    const child = suite.child(name);
    child.kill("SIGSTOP");
    const size = load.acknowledged.size;
    try {
      await eventually(() => load.acknowledged.size > size + 20, generous);
      t.diagnostic(`no write was acknowledged for ${load.takeGapMs()} ms`);
    } finally {
      child.kill("SIGCONT");
    }
    assert.equal(await child.exited, "exit code 1");
    assert.match(suite.logs(), /sequencer\.fenced/);
    suite.forget(name);
    await suite.start(name);
    await load.stop();
    await verify(suite.url, "take-over-pause", load);
  });

  test("p13_take_over_storage: storage is killed with the active sequencer and comes back", async (t) => {
    const load = loadOf(t, "take-over-storage");
    await eventually(() => load.acknowledged.size > 20, generous);
    const name = await active();
    await Promise.all([suite.kill(name), suite.kill("storage")]);
    await suite.start("storage");
    const size = load.acknowledged.size;
    await eventually(() => load.acknowledged.size > size + 20, generous);
    t.diagnostic(`no write was acknowledged for ${load.takeGapMs()} ms`);
    await suite.start(name);
    await load.stop();
    await verify(suite.url, "take-over-storage", load);
  });
});
