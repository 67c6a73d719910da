// The suite ends at once when it is asked to, whoever waits for something.
import assert from "node:assert/strict";
import { test } from "node:test";

import { app, testModes } from "./modes.mjs";
import { startSuite } from "../js/suite.mjs";

for (const mode of testModes()) {
  test(`who waits for log lines does not hold up the end (${mode})`, async () => {
    const suite = await startSuite({ mode, appDir: app });
    const admin = { authorization: `BitBend ${suite.adminKey}` };
    const { cursor } = await (await fetch(`${suite.url}/api/admin/logs?cursor=0`, { headers: admin })).json();
    const waiting = fetch(`${suite.url}/api/admin/logs?cursor=${cursor}&wait=20000`, { headers: admin });
    const abort = new AbortController();
    const gone = fetch(`${suite.url}/api/admin/logs?cursor=${cursor}&wait=20000`, { headers: admin, signal: abort.signal }).catch(() => {});
    await new Promise((resolve) => setTimeout(resolve, 200));
    abort.abort();
    await gone;

    const startedAt = performance.now();
    await suite.stop();
    const took = performance.now() - startedAt;
    assert.ok(took < 15_000, `sooner than what they wait for: the end took ${Math.round(took)} ms`);
    const answer = await waiting;
    assert.equal(answer.status, 200);
    assert.deepEqual((await answer.json()).entries, []);
  });
}
