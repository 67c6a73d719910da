// How long the outcome of a mutation answers its client's key, and what becomes of the key then.
import assert from "node:assert/strict";
import { test } from "node:test";

import { eventually, mutation, post, query } from "./api.mjs";
import { inEachMode } from "./modes.mjs";

const SECONDS = 4;
const ROWS = 300; // more than one batch
const uuid = "123e4567-e89b-42d3-a456-426614174000";
const keyOf = (ms, n) => `${ms.toString(36)}-${uuid}-${n}`;

/** What `use` gives for a key of now; once more when the machine was so slow that the key was old before the end. */
async function withinItsTime(use) {
  for (;;) {
    const now = Date.now();
    const found = await use(now);
    if (Date.now() - now < SECONDS * 1000) return found;
  }
}

inEachMode("outcomes", (suite) => {
  const send = (group, n, key) => post(suite.url, "/api/mutation", { path: "items:add", args: { group, n } }, { "idempotency-key": key });
  const count = (group) => query(suite.url, "items:count", { group });
  const rows = () => query(suite.url, "_system:tableData", { table: "_requests", limit: 1000 }, suite.admin).then(({ page }) => page.length);

  test("they are removed in batches after their time, and their keys are refused if they say when they were made", async () => {
    const [made, first, again] = await withinItsTime(async (now) => [now, await send(`kept ${now}`, 1, keyOf(now, 1)), await send(`kept ${now}`, 1, keyOf(now, 1))]);
    assert.equal(first.body.status, "success", first.text);
    assert.deepEqual(again.body.tx, first.body.tx);
    assert.equal(await count(`kept ${made}`), 1);
    for (let n = 0; n < ROWS; n += 50) {
      await Promise.all(Array.from({ length: 50 }, (_, i) => send("many", n + i, `opaque-${n + i}`)));
    }
    assert.ok((await rows()) > 0);
    await eventually(async () => {
      await mutation(suite.url, "items:add", { group: "clock", n: 0 }); // time is the time of transactions
      return (await rows()) === 0;
    }, 60_000);
    const late = await send(`kept ${made}`, 1, keyOf(made, 1));
    assert.deepEqual([late.status, late.body.code], [410, "IdempotencyKeyExpired"], late.text);
    assert.equal(await count(`kept ${made}`), 1);
    assert.equal(await count("many"), ROWS);
  });

  test("a value that is too large to be kept is not taken for null when the key is sent again", async () => {
    const ask = (size, key) => post(suite.url, "/api/mutation", { path: "items:addAndSay", args: { group: "said", size } }, { "idempotency-key": key });
    for (const [size, isKept] of [[0, true], [60_000, true], [70_000, false]]) {
      const answers = await withinItsTime(async (now) => [await ask(size, keyOf(now, size)), await ask(size, keyOf(now, size))]);
      const [first, again] = answers.map(({ body }) => body);
      assert.equal(again.tx, first.tx);
      assert.equal("valueKept" in first, false);
      assert.deepEqual([again.value, again.valueKept], isKept ? [first.value, undefined] : [null, false]);
    }
  });

  test("a key that was never used is refused when it is old or from the future, and taken when it is new", async () => {
    const old = await send("ages", 1, keyOf(Date.now() - (SECONDS + 60) * 1000, 1));
    assert.deepEqual([old.status, old.body.code], [410, "IdempotencyKeyExpired"], old.text);
    const early = await send("ages", 2, keyOf(Date.now() + 3600_000, 2));
    assert.deepEqual([early.status, early.body.code], [400, "BadRequest"], early.text);
    const fresh = await withinItsTime((now) => send(`new ${now}`, 3, keyOf(now, 3)));
    assert.equal(fresh.body.status, "success", fresh.text);
    assert.equal(await count("ages"), 0);
  });
}, { options: { solo: { "outcome-seconds": SECONDS }, worker: { "outcome-seconds": SECONDS } } });
