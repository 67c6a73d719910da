// Actions through every door: the client, the npm package `convex` as it is, the command line, /api/function.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { createRequire } from "node:module";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { promisify } from "node:util";

import { ROOT } from "../js/suite.mjs";
import { actionsMissing, eventually, startStand } from "./stand.mjs";

const require = createRequire(join(ROOT, "tests/package.json"));

const FILES = {
  "a.ts": `
    import { action } from "bitbend/server";
    import { BitBendError, v } from "bitbend/values";
    export const add = action({ args: { a: v.number(), b: v.number() }, returns: v.number(), handler: async (_, { a, b }) => { console.log("adding", a, b); return a + b; } });
    export const no = action(async () => { throw new BitBendError({ reason: "no" }); });
    export const slow = action(async () => { await new Promise((done) => setTimeout(done, 300)); return "slow"; });
    export const lies = action({ returns: v.number(), handler: async () => "text" as any });
  `,
};

describe("actions by clients", { skip: actionsMissing() }, () => {
  let stand;
  before(async () => {
    stand = await startStand({ functions: FILES });
  });
  after(() => stand?.stop());

  test("client.action: results, errors with data", async () => {
    const client = stand.client();
    assert.equal(await client.action("a:add", { a: 1, b: 2 }), 3);
    await assert.rejects(client.action("a:no"), (error) => error.data?.reason === "no");
    await assert.rejects(client.action("a:lies"), (error) => error.code === "ReturnValidation");
  });

  test("ConvexHttpClient.action, unmodified", async () => {
    const { ConvexHttpClient } = require("convex/browser");
    const { makeFunctionReference } = require("convex/server");
    const client = new ConvexHttpClient(stand.url);
    assert.equal(await client.action(makeFunctionReference("a:add"), { a: 4, b: 5 }), 9);
    await assert.rejects(client.action(makeFunctionReference("a:no"), {}), (error) => error.data?.reason === "no");
  });

  test("ConvexClient.action, over its WebSocket, unmodified; several at once", async () => {
    const { ConvexClient } = require("convex/browser");
    const { makeFunctionReference } = require("convex/server");
    const client = new ConvexClient(stand.url, { webSocketConstructor: require("ws") });
    try {
      const slow = client.action(makeFunctionReference("a:slow"), {});
      assert.equal(await client.action(makeFunctionReference("a:add"), { a: 6, b: 7 }), 13);
      assert.equal(await slow, "slow");
      await assert.rejects(client.action(makeFunctionReference("a:no"), {}), (error) => error.data?.reason === "no");
      await assert.rejects(client.action(makeFunctionReference("a:nothing"), {}), /Could not find function/);
    } finally {
      await client.close();
    }
  });

  test("bitbend run shows the result and the log lines", async () => {
    const { stdout, stderr } = await promisify(execFile)(process.execPath, [join(ROOT, "libs/js/bitbend/bin/bitbend.cjs"), "run", "a:add", '{"a":2,"b":40}', "--url", stand.url, "--admin-key", stand.adminKey]);
    assert.match(stdout, /42/);
    assert.match(stderr, /\[LOG\] adding 2 40/);
  });

  test("/api/function and /api/run take actions, too", async () => {
    assert.equal((await stand.http("/api/function", { body: { path: "a:add", args: { a: 1, b: 1 } } })).json.value, 2);
    assert.equal((await stand.http("/api/run/a/add", { body: { args: { a: 2, b: 1 } } })).json.value, 3);
    const { entries } = await stand.admin.logs({ cursor: "0" });
    assert.deepEqual(entries.filter(({ path, status }) => path === "a:add" && status === "WrongKind"), [], "no slot was asked to run one");
  });

  test("?wait=false gives the id of a job, which ends", async () => {
    const { json } = await stand.http("/api/action?wait=false", { body: { path: "a:add", args: { a: 20, b: 1 } } });
    assert.equal(json.status, "success", JSON.stringify(json));
    const job = () => stand.call("_system:tableData", { table: "_jobs" }).then(({ page }) => page.find(({ _id }) => _id === json.value));
    await eventually(async () => (await job())?.state === "done", { what: "the job" });
    assert.equal((await job()).result, 21);
  });

  test("bitbend logs shows lines of actions", async () => {
    const { entries } = await eventually(async () => {
      const logs = await stand.admin.logs({ cursor: "0" });
      return logs.entries.some(({ path, kind }) => path === "a:add" && kind === "action") && logs;
    });
    assert.ok(entries.some(({ lines }) => lines.some(({ text }) => text === "adding 1 2")));
  });
});
