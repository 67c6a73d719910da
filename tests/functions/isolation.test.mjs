// Whatever one call leaves behind, by any channel that is known, a later call in the same slot does not find.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import { startSuite } from "../integration/js/suite.mjs";
import { makeApp } from "./app.mjs";

const CHANNELS = [
  "moduleVariable", "moduleMap", "privateStatic", "globalProperty", "everyIntrinsic", "everyMethod", "regexpPrototype", "regexpFrozen",
  "regexpFlag", "regexpStatics", "regexpLiteral", "symbolRegistry", "templateObject", "errorHooks", "stackTraceLimit", "stackTraceLimitFrozen", "consoleState", "environment",
  "privateFieldsStampedOnIntrinsics", "contextOfTheCall", "promiseLeftRunning", "regexpsOfTheRuntime", "webassemblyMemory",
];

describe("isolation: nothing is smuggled from call to call", () => {
  let app, suite;
  const ask = (path, args = {}) => suite.http("/api/query", { body: { path, args } });
  const callIn = async (module, name, args) => {
    const { json, text } = await ask(`${module}:${name}`, args);
    assert.equal(json?.status, "success", json?.errorMessage ?? text);
    return json.value;
  };
  const call = (name, args) => callIn("smuggle", name, args);
  before(async () => {
    app = await makeApp();
    suite = await startSuite({ memory: true, appDir: app.dir, options: { solo: { slots: 1, "results-bytes": 0 } } });
  });
  after(async () => {
    await suite?.stop();
    app?.remove();
  });

  test("every channel has its test", async () => assert.deepEqual(await call("names"), CHANNELS));
  for (const name of CHANNELS) {
    test(`isolation: ${name}`, async () => {
      assert.equal(await call("look", { name }), 0);
      for (let i = 0; i < 3; i++) await call("put", { name });
      assert.equal(await call("look", { name }), 0);
    });
    // There nothing is frozen: what it leaves behind may well break its own call.
    test(`isolation in contexts: ${name}`, async () => {
      assert.equal(await callIn("smuggleContext", "look", { name }), 0);
      for (let i = 0; i < 3; i++) await ask("smuggleContext:put", { name });
      assert.equal(await callIn("smuggleContext", "look", { name }), 0);
      assert.equal(await call("look", { name }), 0);
    });
  }
});
