// New code is made ready while the slot has nothing to do, and nothing of that is seen.

import assert from "node:assert/strict";
import { test } from "node:test";

import { STATUS, Slot, makeModules, noticed, start } from "./harness.js";

const FILES = {
  "pure.js": `exports.twice = (n) => 2 * n;`,
  "state.js": `
    const { twice } = require("./pure.js");
    let calls = 0;
    console.log("loaded", Date.now(), Math.random() < 2);
    exports.count = query(() => twice(++calls));`,
  "broken.js": `throw new Error("not today");`,
  "after.js": `exports.answer = query(() => 42);`,
};

const warmSlot = async (t, files) => {
  const slot = new Slot();
  t.after(() => slot.stop());
  await slot.ready;
  await slot.mutation("_system:deploy", { modules: makeModules({ "after.js": FILES["after.js"] }) });
  const rows = makeModules(files).map(({ path, source }) => ({ path, source: Buffer.from(source), sourceMap: Buffer.alloc(0) }));
  slot.deployModules(rows);
  await noticed(slot, `${rows.length} modules are ready`);
  return slot;
};

test("all modules are made ready, also those after one that throws", async (t) => {
  const slot = await warmSlot(t, FILES);
  assert.equal((await slot.query("after:answer")).value, 42);
  assert.match((await slot.query("broken:x")).error, /not today/);
});

test("state and log lines of that are not seen by calls", async (t) => {
  const slot = await warmSlot(t, FILES);
  for (let i = 0; i < 2; i++) {
    const { value, logs, status } = await slot.query("state:count");
    assert.equal(status, STATUS.OK);
    assert.equal(value, 2);
    assert.deepEqual(logs, ["LOG loaded 1790000000000 true"]);
  }
});

test("a call that comes meanwhile is served", async (t) => {
  const files = Object.fromEntries(Array.from({ length: 60 }, (_, n) => [`m${n}.js`, `exports.n = query(() => ${n});`]));
  const slot = await start(files);
  t.after(() => slot.stop());
  const answers = await Promise.all([7, 59, 0].map((n) => slot.query(`m${n}:n`)));
  assert.deepEqual(answers.map(({ value }) => value), [7, 59, 0]);
  await noticed(slot, "modules are ready");
});

test("where modules are left to the calls that need them, a slow one holds up no other", async (t) => {
  const slot = new Slot({ hello: { noWarm: true } });
  t.after(() => slot.stop());
  await slot.ready;
  await slot.mutation("_system:deploy", { modules: makeModules({ "after.js": FILES["after.js"] }) });
  const files = { "after.js": FILES["after.js"], "slow.js": "for (;;) {}" };
  slot.deployModules(makeModules(files).map(({ path, source }) => ({ path, source: Buffer.from(source), sourceMap: Buffer.alloc(0) })));
  for (let i = 0; i < 50; i++) assert.equal((await slot.query("after:answer")).value, 42);
  assert.deepEqual(slot.notices.filter(({ text }) => text.includes("ready")), []);
});
