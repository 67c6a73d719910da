// Errors name the line that was written, through async frames and sub-transactions; validators name the field.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import { startSuite } from "../integration/js/suite.mjs";
import { makeApp } from "./app.mjs";

describe("errors of functions", () => {
  let app, suite;
  const ask = async (kind, name, args = {}) => (await suite.http(`/api/${kind}`, { body: { path: `errors:${name}`, args } })).json;
  before(async () => {
    app = await makeApp();
    suite = await startSuite({ memory: true, appDir: app.dir });
  });
  after(async () => {
    await suite?.stop();
    app?.remove();
  });

  test("errors: a stack goes through async frames, with file, line and column", async () => {
    const { code, errorMessage } = await ask("query", "throwsDeep");
    assert.equal(code, "ServerError");
    assert.match(errorMessage, /Uncaught RangeError: deep inside\n {4}at deep \(bitbend\/errors\.ts:10:9\)\n {4}at async deep \(bitbend\/errors\.ts:9:\d+\)/);
    assert.match(errorMessage, /at async bitbend\/errors\.ts:12:\d+/);
    assert.doesNotMatch(errorMessage, /runtime|bitbend:|node_modules/);
  });
  test("errors: and through sub-transactions", async () => {
    const { errorMessage } = await ask("mutation", "outer", { what: "boom" });
    for (const line of [10, 18, 24]) assert.match(errorMessage, new RegExp(`bitbend/errors\\.ts:${line}:\\d+`), `line ${line} of\n${errorMessage}`);
  });
  test("errors: data survives a sub-transaction, caught or not, and what it wrote is undone", async () => {
    const thrown = await ask("mutation", "outer", { what: "data" });
    assert.deepEqual([thrown.code, thrown.errorData], ["UserError", { at: ["1", "AQI="], code: "full" }]);
    const caught = await ask("mutation", "catches");
    assert.equal(caught.value[1], "full");
    assert.match(JSON.stringify(caught.logLines), /\[ERROR\] caught full/);
    assert.equal((await suite.http("/api/query", { body: { path: "limits:count", args: { group: "errors" } } })).json.value, 0);
  });
  test("errors: what the database refuses names the line that asked", async () => {
    const { code, errorMessage } = await ask("query", "fromTheHost");
    assert.equal(code, "IndexNotFound");
    assert.match(errorMessage, /things.*by_nothing|by_nothing.*things/);
    assert.match(errorMessage, /bitbend\/errors\.ts:39:\d+/);
  });
  test("errors: validators name the path of the field, what was expected and what was found", async () => {
    for (const [args, text] of [
      [{ list: [{ id: "x", n: 1 }] }, /args\.list\[0\]\.id: expected an id of table "things", found .*"x"/],
      [{ list: [{ id: 7, n: 1 }] }, /args\.list\[0\]\.id: expected an id of table "things", found .*7/],
      [{ list: [], more: { a: 1 } }, /args\.more\.a: expected int64 \(a bigint\), found .*1/],
      [{ list: {} }, /args\.list: expected an array, found object/],
      [{}, /args\.list: expected an array.*, found nothing/],
      [{ list: [], extra: 1 }, /args: expected only the fields list, more, found the field "extra"/],
    ]) {
      const { code, errorMessage } = await ask("query", "checked", args);
      assert.equal(code, "ArgumentValidation");
      assert.match(errorMessage, text);
    }
    const { code, errorMessage } = await ask("query", "checked", { list: [] });
    assert.equal(code, "ReturnValidation");
    assert.match(errorMessage, /result\.ok\[1\]: expected boolean, found .*1/);
  });
});
