// What clients were told, held against what is there afterwards.
import assert from "node:assert/strict";

import { eventually, post, query } from "../http/api.mjs";

/**
 * Clients that add numbers with keys of their own until told to stop; what was acknowledged is noted, and how long none was.
 * `urls`: one gateway or several, of which the next one is asked when one does not answer. `body`: what each document carries besides.
 */
export function writers(urls, group, count, body) {
  const gateways = [urls].flat();
  const state = { acknowledged: new Set(), sent: new Set(), stopped: false, unknown: 0, lastAt: performance.now(), gapMs: 0 };
  const acknowledge = (n) => {
    const now = performance.now();
    state.gapMs = Math.max(state.gapMs, now - state.lastAt);
    state.lastAt = now;
    state.acknowledged.add(n);
  };
  /** The longest time without an acknowledgement since the last call. */
  state.takeGapMs = () => {
    const gap = Math.round(state.gapMs);
    state.gapMs = 0;
    return gap;
  };
  const clients = Array.from({ length: count }, async (_, client) => {
    for (let i = 0; !state.stopped; i++) {
      const n = client * 1_000_000 + i;
      state.sent.add(n);
      // The same key until an answer comes: exactly once over every kill.
      for (let attempt = client; ; attempt++) {
        try {
          const answer = await post(gateways[attempt % gateways.length], "/api/mutation", { path: "items:add", args: { group, n, body } }, { "idempotency-key": `${group}-${n}` });
          if (answer.status === 200) {
            assert.equal(answer.body.status, "success", answer.text);
            acknowledge(n);
            break;
          }
          assert.equal(answer.status, 503, answer.text);
          assert.ok(answer.headers.get("retry-after"), answer.text);
        } catch (error) {
          if (error instanceof assert.AssertionError) throw error;
          state.unknown++;
        }
        if (state.stopped) return;
        await new Promise((resolve) => setTimeout(resolve, 30));
      }
    }
  });
  state.stop = async () => {
    state.stopped = true;
    await Promise.all(clients);
  };
  return state;
}

/** All that was acknowledged is there, once, and nothing else. */
export async function verify(url, group, state) {
  const numbers = [];
  for (let page = null; page === null || page.length > 0; numbers.push(...page)) {
    page = await eventually(() => query(url, "items:numbers", { group, above: numbers.at(-1) ?? -1, take: 60 }));
  }
  const found = new Set(numbers);
  assert.equal(found.size, numbers.length, "something was applied twice");
  for (const n of state.acknowledged) assert.ok(found.has(n), `acknowledged ${n} is lost`);
  for (const n of found) assert.ok(state.sent.has(n), `${n} was never sent`);
}
