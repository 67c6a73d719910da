// One query at one moment gives the same bytes: asked again, at any gateway, once or live.
import assert from "node:assert/strict";
import { test } from "node:test";

import { startSuite, suiteMissing } from "../js/suite.mjs";

const FUNCTIONS = {
  "chance.ts": `
import { query } from "./_generated/server";
export const draw = query((_ctx, { n }) => [n, Math.random(), crypto.randomUUID(), Date.now()]);
export const drawToo = query((_ctx, { n }) => [n, Math.random(), crypto.randomUUID(), Date.now()]);`,
};

/** The first value of a subscription. */
async function live(url, path, args) {
  const stop = new AbortController();
  const response = await fetch(`${url}/api/subscribe?path=${path}&args=${encodeURIComponent(JSON.stringify(args))}`, { signal: stop.signal });
  let text = "";
  for await (const part of response.body.pipeThrough(new TextDecoderStream())) {
    text += part;
    const found = /^event: value\n(?:id: .*\n)?data: (.*)\n/m.exec(text);
    if (found === null) continue;
    stop.abort();
    return JSON.parse(found[1]).value;
  }
}

test("b15_determinism: a query at one moment gives the same bytes at any gateway, run once or live", { skip: suiteMissing() }, async (t) => {
  const suite = await startSuite({ mode: "processes", gateways: 2, workers: 2, functions: FUNCTIONS });
  t.after(() => suite.stop());
  const ask = async (url, path, args) => {
    const response = await fetch(`${url}/api/query`, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ path, args }) });
    return (await response.json()).value;
  };
  const [first, second] = suite.urls;
  const value = await ask(first, "chance:draw", { n: 1 });
  for (const url of [first, second]) {
    assert.deepEqual(await ask(url, "chance:draw", { n: 1 }), value);
    assert.deepEqual(await live(url, "chance:draw", { n: 1 }), value);
  }
  // Another query has other chance.
  assert.notEqual((await ask(first, "chance:draw", { n: 2 }))[1], value[1]);
  assert.notEqual((await ask(first, "chance:drawToo", { n: 1 }))[1], value[1]);
});
