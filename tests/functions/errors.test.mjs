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
  test("errors: an error is told with its class, its place and what stands behind it", async () => {
    const at = String.raw`(\n    at .*bitbend/errors\.ts:\d+:\d+\)?)+`;
    for (const [what, text] of [
      ["ownClass", `Uncaught Mine: of a class of its own${at}`],
      ["cause", String.raw`Uncaught Error: outer${at}\n    \[cause\] RangeError: inner${at}\n    \[cause\] \{"code": 7\}`],
      ["several", String.raw`Uncaught AggregateError: .*\n    \[error\] Error: one${at}\n    \[error\] Error: two${at}`],
      ["disposed", String.raw`Uncaught SuppressedError: .*${at}\n    \[error\] Error: at the end${at}\n    \[suppressed\] Error: in between${at}`],
      ["circle", String.raw`Uncaught Error: round${at}(\n    \[cause\] Error: (again|round)${at}){2,8}`],
      ["symbol", String.raw`Uncaught Error: Symbol\(mark\)`],
      ["resultGetter", `Uncaught Error: in the result${at}`],
    ]) {
      const { code, errorMessage } = await ask("query", "throws", { what });
      assert.equal(code, "ServerError");
      assert.match(errorMessage, new RegExp(`Server Error\n${text}$`), what);
      assert.doesNotMatch(errorMessage, /_deps|bitbend-out/, what);
    }
    const { errorMessage } = await ask("query", "throws", { what: "linesInMessage" });
    assert.equal(errorMessage.match(/forged/g).length, 1, errorMessage);
  });
  test("errors: what comes out of a context of its own has its lines, its cause and those of its caller", async () => {
    const at = (file) => String.raw`\n    at [^\n]*bitbend/${file}\.ts:\d+:\d+\)?`;
    for (const [name, text] of [
      ["fails", `Uncaught RangeError: in a context of its own${at("inContext")}${at("inContext")}${at("errors")}\n    \\[cause\\] TypeError: the reason${at("inContext")}${at("inContext")}`],
      ["asksWrongly", `Table "nothing" is not declared[^\n]*${at("inContext")}${at("errors")}`],
    ]) {
      assert.match((await ask("query", "fromContext", { name })).errorMessage, new RegExp(`${text}$`), name);
    }
    assert.deepEqual((await ask("query", "caughtFromContext")).value, [true, true, "the reason"]);
  });
  test("errors: a frozen error has its data, and data that cannot be sent says why", async () => {
    const frozen = await ask("query", "throws", { what: "frozen" });
    assert.deepEqual([frozen.code, frozen.errorData], ["UserError", { code: "frozen" }]);
    for (const [what, text] of [["dataGetter", /its data cannot be sent: a getter of it threw Error: not to be had\)/], ["dataTooLarge", /its data cannot be sent: it has 2097157 bytes, the limit is 1048576\)/]]) {
      const { code, errorData, errorMessage } = await ask("query", "throws", { what });
      assert.deepEqual([code, errorData], ["UserError", undefined]);
      assert.match(errorMessage, text);
    }
  });
  test("errors: a long text is cut between characters, whether an error or not was thrown", async () => {
    for (const what of ["longText", "longError"]) {
      const { errorMessage } = await ask("query", "throws", { what });
      assert.match(errorMessage, /Uncaught Error: \u00e9+\.\.\. \(62\d{5} bytes more\)/u, what);
      assert.ok(errorMessage.length < 20000, `${what}: ${errorMessage.length}`);
    }
  });
  test("errors: what is not there says why, and what to use", async () => {
    for (const [name, args, text] of [
      ["throws", { what: "intl" }, /ReferenceError: Intl is not defined \(.*no locale.*use an action\)/],
      ["writes", {}, /ctx\.db\.insert is not a function \(a query only reads: make the function a mutation\)/],
      ["schedules", {}, /reading 'runAfter'\) \(only mutations and actions have ctx\.scheduler\)/],
    ]) {
      assert.match((await ask("query", name, args)).errorMessage, text);
    }
  });
});
