// What becomes of calls whose client goes away: those that have not begun do not run.
import assert from "node:assert/strict";
import { request } from "node:http";
import { test } from "node:test";

import { eventually, post, query } from "./api.mjs";
import { inEachMode } from "./modes.mjs";

const LEAVERS = 80;

/** Sends a call on a connection of its own; `leave()` closes it. */
function send(url, body, headers = {}) {
  const { hostname, port } = new URL(url);
  const text = JSON.stringify(body);
  const sent = request({ hostname, port, method: "POST", path: "/api/mutation", agent: false, headers: { "content-type": "application/json", ...headers } });
  sent.on("error", () => {});
  sent.end(text);
  return { flushed: new Promise((resolve) => sent.on("finish", resolve)), leave: () => sent.destroy() };
}

/** The value of `look` when it has been the same for a while. */
async function settled(look) {
  for (let last = await look(); ; ) {
    await new Promise((resolve) => setTimeout(resolve, 1500));
    const now = await look();
    if (now === last) return now;
    last = now;
  }
}

inEachMode("clients that leave", (suite) => {
  /** Of many calls whose clients leave at once: how many ran. */
  async function sendAndLeave(group) {
    // "Overloaded" while calls that were left still hold the slots, or slots start anew.
    const count = () => eventually(() => query(suite.url, "items:count", { group }).then((n) => [n])).then(([n]) => n);
    const calls = Array.from({ length: LEAVERS }, (_, n) =>
      send(suite.url, { path: "trouble:slow", args: { group, n } }, n % 2 === 0 ? { "idempotency-key": `${group}-${n}` } : {}),
    );
    await Promise.all(calls.map(({ flushed }) => flushed));
    await new Promise((resolve) => setTimeout(resolve, 100));
    for (const call of calls) call.leave();
    return { ran: await count(), all: await settled(count) };
  }

  test("calls that wait are dropped when their connection closes, with an Idempotency-Key too", async () => {
    // A machine that stands still at the wrong moment lets them run before they are left.
    let group;
    let outcome = { all: LEAVERS };
    for (let attempt = 1; attempt <= 5 && outcome.all >= LEAVERS / 2; attempt++) {
      group = `leave ${attempt}`;
      outcome = await sendAndLeave(group);
    }
    const { ran, all } = outcome;
    assert.ok(ran < LEAVERS / 2, `another client's query was answered after ${ran} of ${LEAVERS} calls that nobody waited for`);
    assert.ok(all < LEAVERS / 2, `${all} of ${LEAVERS} calls ran though nobody waited for them`);
    // The keys of those that did not run are as good as new.
    // What the others began goes on meanwhile: a busy machine may have no time left for this one, and is asked again.
    let again;
    for (let left = 8; left > 0 && again?.body.status !== "success"; left--) {
      again = await post(suite.url, "/api/mutation", { path: "trouble:slow", args: { group, n: LEAVERS - 2 } }, { "idempotency-key": `${group}-${LEAVERS - 2}` });
      if (again.body.status !== "success") assert.match(again.body.code, /^(FunctionTimeout|Overloaded)$/, again.text);
    }
    assert.equal(again.body.status, "success", again.text);
    const status = await post(suite.url, "/api/function", { path: "_system:status", args: {} }, suite.admin);
    assert.equal(status.body.status, "success", status.text);
  });

  test("a call that runs is not touched when its client leaves", async () => {
    // It has begun by then, unless the machine is very slow: the next one is left later.
    for (let ms = 200; ; ms *= 3) {
      const group = `stay ${ms}`;
      const call = send(suite.url, { path: "trouble:slow", args: { group, n: 1 } });
      await call.flushed;
      await new Promise((resolve) => setTimeout(resolve, ms));
      call.leave();
      const hasRun = await eventually(async () => (await query(suite.url, "items:count", { group })) === 1, 5000).catch(() => false);
      if (hasRun) break;
      assert.ok(ms < 5000, "a call did not run to its end");
    }
  });

  test("query_at_ts refuses a moment that does not exist", async () => {
    const at = (ts) => post(suite.url, "/api/query_at_ts", { path: "items:count", args: { group: "leave" }, ts });
    const of = (tx) => {
      const bytes = Buffer.alloc(8);
      bytes.writeBigUInt64LE(tx);
      return bytes.toString("base64");
    };
    const cases = [
      [of(0n), "BadRequest", /`ts` is 0/],
      ["", "BadRequest", /8 bytes as base64/],
      ["AAAA", "BadRequest", /8 bytes as base64/],
      ["?", "BadRequest", /8 bytes as base64/],
      [7, "BadRequest", /no text field `ts`/],
      [undefined, "BadRequest", /no text field `ts`/],
      [() => of(BigInt(Date.now() + 60_000) * 1000n), "TxInFuture", /beyond the clock/],
      [() => of(BigInt(Date.now() + 1_000) * 1000n), "TxInFuture", /no transaction/],
      [of(2n ** 64n - 1n), "TxInFuture", /beyond the clock/],
    ];
    for (const [ts, code, text] of cases) {
      const answer = await at(typeof ts === "function" ? ts() : ts);
      assert.equal(answer.status, 400, `${ts}: ${answer.text}`);
      assert.equal(answer.body.code, code, answer.text);
      assert.match(answer.body.message, text);
    }
    const { body } = await post(suite.url, "/api/query_ts", {});
    assert.equal((await at(body.ts)).body.status, "success");
  });
});
