// Slots are copies of one process that is ready: what becomes of them and of calls when that process dies or hangs, and
// that a copy is as good as a process that was started for itself.
import assert from "node:assert/strict";
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { after, before, describe, test } from "node:test";

import { untilTold } from "../integration/http/api.mjs";
import { eventually, startSuite } from "../integration/js/suite.mjs";
import { makeApp } from "./app.mjs";

const optionsOf = (options) => ({ solo: options, worker: options });
const count = (text, what) => text.split(what).length - 1;

function tell(pid, signal) {
  try {
    process.kill(pid, signal);
  } catch {
    // it has ended meanwhile
  }
}

for (const mode of ["solo", "processes"]) describe(`zygote, ${mode}`, () => {
  let app, suite;
  const ask = async (name, args = {}) => (await suite.http("/api/query", { body: { path: `limits:${name}`, args } })).json;
  const works = async () => assert.equal((await untilTold(() => ask("ok"))).value, "ok");
  const zygote = () => suite.zygotePids()[0];
  before(async () => {
    app = await makeApp();
    suite = await startSuite({ mode, memory: true, appDir: app.dir, options: optionsOf({ slots: 2, "results-bytes": 0 }) });
  });
  after(async () => {
    await suite?.stop();
    app?.remove();
  });

  /** Ends a slot; resolves when another one stands in its place. */
  const replaceSlot = async () => {
    const old = suite.slotPids()[0];
    const ready = count(suite.logs(), "worker.slot_ready");
    tell(old, "SIGKILL");
    await eventually(() => count(suite.logs(), "worker.slot_ready") > ready, { what: "another slot" });
    await eventually(() => suite.slotPids().length === 2, { what: "two slots" });
  };

  test("slots and the zygote are children of the supervisor, and no slot has what is the zygote's", async () => {
    await eventually(() => suite.slotPids().length === 2, { what: "two slots" });
    const parentOf = (pid) => /PPid:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))[1];
    for (const pid of suite.slotPids()) {
      assert.equal(parentOf(pid), parentOf(zygote()));
      assert.match(readFileSync(`/proc/${pid}/comm`, "utf8"), /^bb-slot/);
      const open = readdirSync(`/proc/${pid}/fd`).map(Number);
      // What it inherited, its socket, and what wakes its watchdog.
      assert.ok(open.length <= 5 && Math.max(...open) <= 4, `descriptors ${open}`);
    }
    await works();
  });

  test("when it is killed, its slots go on, and the next slot is made by another one", async () => {
    const [first, slots] = [zygote(), suite.slotPids()];
    tell(first, "SIGKILL");
    await eventually(() => zygote() !== undefined && zygote() !== first, { what: "another zygote" });
    assert.deepEqual(suite.slotPids().filter((pid) => slots.includes(pid)), slots);
    await works();
    await replaceSlot();
    await works();
  });

  test("when it hangs, calls go on, and it is replaced", async () => {
    const first = zygote();
    await eventually(() => count(suite.logs(), "worker.zygote_ready") > 1, { what: "the zygote" });
    tell(first, "SIGSTOP");
    tell(suite.slotPids()[0], "SIGKILL");
    await works();
    await eventually(() => suite.logs().includes("worker.zygote_hangs"), { what: "somebody to see it" });
    await eventually(() => zygote() !== first && suite.slotPids().length === 2, { what: "another zygote, and its slot" });
    await works();
  });

  test("a slot and the zygote that die together are replaced", async () => {
    const ready = count(suite.logs(), "worker.slot_ready");
    tell(suite.slotPids()[0], "SIGKILL");
    tell(zygote(), "SIGKILL");
    await works();
    await eventually(() => count(suite.logs(), "worker.slot_ready") > ready && suite.slotPids().length === 2, { what: "both" });
    await works();
  });

  test("no process is left when the supervisor is killed", async () => {
    const all = [...suite.slotPids(), zygote()];
    const loops = suite.http("/api/query", { body: { path: "limits:stubbornLoop", args: {} } }).catch(() => {});
    await suite.kill();
    await loops;
    const isAlive = (pid) => existsSync(`/proc/${pid}`) && !/State:\s+Z/.test(readFileSync(`/proc/${pid}/status`, "utf8"));
    await eventually(() => !all.some((pid) => isAlive(pid)), { what: "the end of slots and zygote" });
  });
});

test("without a zygote slots start as they did", async (t) => {
  const app = await makeApp();
  t.after(() => app.remove());
  const suite = await startSuite({ memory: true, appDir: app.dir, options: optionsOf({ slots: 2, "slot-start": "exec" }) });
  t.after(() => suite.stop());
  const { json } = await suite.http("/api/query", { body: { path: "limits:ok", args: {} } });
  assert.deepEqual([json.value, suite.zygotePids()], ["ok", []]);
});
