// What `make cluster` starts is whole: one gateway is as good as the other.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

import { openStream, post } from "../http/api.mjs";
import { ROOT, suiteMissing } from "../js/suite.mjs";

const END_MS = 60_000;

/** Resolves with the text that it printed, once that has the ready line. */
function ready(child) {
  let text = "";
  return new Promise((resolve, reject) => {
    child.stdout.on("data", (chunk) => {
      text += chunk;
      if (/: ready at /.test(text)) resolve(text);
    });
    child.stderr.on("data", (chunk) => (text += chunk));
    child.once("exit", () => reject(new Error(`it ended: ${text}`)));
  });
}

test("make cluster: a session that one gateway holds is changed at the other", { skip: suiteMissing(), timeout: 3 * END_MS }, async (t) => {
  const dir = mkdtempSync(join(tmpdir(), "bitbend-cluster-"));
  const child = spawn(process.execPath, [join(ROOT, "deploy/cluster/cluster.mjs"), "--data", dir, "--app", join(ROOT, "docs/examples/chat")], {
    env: { ...process.env, BB_BUILD: process.env.BB_TEST_BUILD ?? "build/release" },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const ended = new Promise((done) => child.once("exit", (code, signal) => done(code ?? signal)));
  t.after(async () => {
    child.kill("SIGTERM");
    await ended;
    rmSync(dir, { recursive: true, force: true });
  });
  await ready(child);
  const gateways = JSON.parse(readFileSync(join(dir, "ports.json"), "utf8")).gateway.map((port) => `http://127.0.0.1:${port}`);
  assert.equal(gateways.length, 2);
  for (const [holder, other] of [gateways, gateways.toReversed()]) {
    const stream = await openStream(`${holder}/api/sync`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ queries: [] }) });
    const { data } = await stream.next(({ event }) => event === "session");
    const answer = await post(other, `/api/sync/${data.session}`, { add: [{ id: 1, path: "channels:list", args: {} }] });
    assert.deepEqual([answer.status, answer.body], [200, { set: 2 }]);
    await stream.next(({ event, data: { set } }) => event === "changes" && set === 2);
    stream.close();
  }
});
