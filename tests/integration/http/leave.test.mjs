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
  test("calls that wait are dropped when their connection closes, with an Idempotency-Key too", async () => {
    const count = () => query(suite.url, "items:count", { group: "leave" });
    const calls = Array.from({ length: LEAVERS }, (_, n) =>
      send(suite.url, { path: "trouble:slow", args: { group: "leave", n } }, n % 2 === 0 ? { "idempotency-key": `leave-${n}` } : {}),
    );
    await Promise.all(calls.map(({ flushed }) => flushed));
    await new Promise((resolve) => setTimeout(resolve, 100));
    for (const call of calls) call.leave();
    const ran = await count();
    assert.ok(ran < LEAVERS / 2, `another client's query was answered after ${ran} of ${LEAVERS} calls that nobody waited for`);
    const all = await settled(count);
    assert.ok(all < LEAVERS / 2, `${all} of ${LEAVERS} calls ran though nobody waited for them`);
    // The keys of those that did not run are as good as new.
    const again = await post(suite.url, "/api/mutation", { path: "trouble:slow", args: { group: "leave", n: LEAVERS - 2 } }, { "idempotency-key": `leave-${LEAVERS - 2}` });
    assert.equal(again.body.status, "success", again.text);
    const status = await post(suite.url, "/api/function", { path: "_system:status", args: {} }, suite.admin);
    assert.equal(status.body.status, "success", status.text);
  });

  test("a call that runs is not touched when its client leaves", async () => {
    const call = send(suite.url, { path: "trouble:slow", args: { group: "stay", n: 1 } });
    await call.flushed;
    await new Promise((resolve) => setTimeout(resolve, 200));
    call.leave();
    await eventually(async () => (await query(suite.url, "items:count", { group: "stay" })) === 1);
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
      [of(BigInt(Date.now() + 60_000) * 1000n), "TxInFuture", /beyond the clock/],
      [of(BigInt(Date.now() + 1_000) * 1000n), "TxInFuture", /no transaction/],
      [of(2n ** 64n - 1n), "TxInFuture", /beyond the clock/],
    ];
    for (const [ts, code, text] of cases) {
      const answer = await at(ts);
      assert.equal(answer.status, 400, `${ts}: ${answer.text}`);
      assert.equal(answer.body.code, code, answer.text);
      assert.match(answer.body.message, text);
    }
    const { body } = await post(suite.url, "/api/query_ts", {});
    assert.equal((await at(body.ts)).body.status, "success");
  });
});
