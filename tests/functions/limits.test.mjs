// Every limit has an error of its own, and afterwards the slot, or the one that took its place, serves on.
import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { after, before, describe, test } from "node:test";

import { untilTold } from "../integration/http/api.mjs";
import { eventually, startSuite } from "../integration/js/suite.mjs";
import { makeApp } from "./app.mjs";

/** Is one of its threads on a processor, or waiting for one? */
function runsNow(pid) {
  try {
    return readdirSync(`/proc/${pid}/task`).some((thread) => / R /.test(readFileSync(`/proc/${pid}/task/${thread}/stat`, "utf8").replace(/\(.*\)/, "")));
  } catch {
    return false; // it has ended
  }
}

describe("limits", () => {
  let app, suite;
  /** Asks again when the machine is too busy, as a client does; or too busy for what is not about time (`isTimed`). */
  const ask = async (kind, name, args = {}, isTimed = false) => {
    for (let left = 6; ; left--) {
      const { json } = await untilTold(() => suite.http(`/api/${kind}`, { body: { path: `limits:${name}`, args } }));
      if (isTimed || json?.code !== "FunctionTimeout" || left === 0) return json;
    }
  };
  const works = async () => {
    const all = await Promise.all(Array.from({ length: 8 }, () => ask("query", "ok")));
    assert.deepEqual(all.map(({ value }) => value), new Array(8).fill("ok"));
  };
  const leavesNothing = async (group) => assert.equal((await ask("query", "count", { group })).value, 0);
  before(async () => {
    app = await makeApp();
    suite = await startSuite({ mode: "processes", memory: true, appDir: app.dir, options: { worker: { slots: 6, "heap-mb": 64, "results-bytes": 0 } } });
  });
  after(async () => {
    await suite?.stop();
    app?.remove();
  });

  test("b16_limits: what runs for ever is stopped, whatever it is busy with, and others go on", async () => {
    const names = ["loop", "microtasks", "regexp", "parses", "reads"];
    const running = Promise.all(names.map((name) => ask(name === "loop" ? "mutation" : "query", name, {}, true)));
    assert.equal((await ask("query", "ok")).value, "ok");
    (await running).forEach((answer, i) => {
      assert.equal(answer.code, "FunctionTimeout", `${names[i]}: ${JSON.stringify(answer)}`);
      assert.match(answer.errorMessage, /time|5 s|longer/, names[i]);
    });
    await works();
    await leavesNothing("time");
  });
  test("b16_limits: getters of a result or of what was thrown, sorts and large numbers are stopped, too", async () => {
    const names = ["stubbornLoop", "getter", "thrownGetter", "bigInts", "sorts"];
    const answers = await Promise.all(names.map((name) => ask("query", name, {}, true)));
    answers.forEach((answer, i) => assert.equal(answer.code, "FunctionTimeout", `${names[i]}: ${JSON.stringify(answer)}`));
    await works();
  });

  for (const [kind, name] of [["query", "heap"], ["query", "mapGrows"], ["query", "oneAllocation"], ["mutation", "heapInMutation"]]) {
    test(`b16_limits: memory: ${name}`, async () => {
      const answer = await ask(kind, name);
      assert.equal(answer.code, "OutOfMemory", JSON.stringify(answer));
      assert.match(answer.errorMessage, /memory/);
      await works();
      await leavesNothing("memory");
    });
  }
  for (const [name, text] of [
    ["jsonTooLong", /RangeError: JSON\.parse: 10000003 characters/], ["buffers", /RangeError: Array buffer allocation failed/],
    ["oneBuffer", /RangeError/], ["stringDoubles", /RangeError: Invalid string length/], ["recursion", /RangeError: Maximum call stack/],
    ["mutualRecursion", /RangeError: Maximum call stack/],
  ]) {
    test(`b16_limits: refused with an error in the function: ${name}`, async () => {
      const answer = await ask("query", name);
      assert.equal(answer.code, "ServerError", JSON.stringify(answer));
      assert.match(answer.errorMessage, text);
      assert.match(answer.errorMessage, /bitbend\/limits\.ts:\d+:\d+/);
      await works();
    });
  }

  for (const [name, code, text] of [
    ["documentTooLarge", "DocumentTooLarge", /1,?048,?576|1 MiB/], ["tooManyFields", "NotEncodable", /1,?024/], ["tooDeep", "NotEncodable", /16/],
    ["tooManyWrites", "WriteLimit", /16,?000/], ["tooManyBytesWritten", "WriteLimit", /bytes/], ["caughtLimit", "WriteLimit", /bytes/],
  ]) {
    test(`b17_limits: nothing is left of a mutation beyond its limit: ${name}`, async () => {
      const answer = await ask("mutation", name);
      assert.equal(answer.code, code, JSON.stringify(answer).slice(0, 300));
      assert.match(answer.errorMessage, text);
      for (const group of ["large", "writes"]) await leavesNothing(group);
    });
  }
  test("b17_limits: what a call reads is limited in ranges and in bytes", async () => {
    for (let from = 0; from < 20; from++) await suite.call("limits:fill", { group: "bulk", from, count: 1, size: 1e6 });
    const ranges = await ask("query", "tooManyReads");
    assert.deepEqual([ranges.code, /4,?096/.test(ranges.errorMessage)], ["ReadLimit", true], ranges.errorMessage);
    const bytes = await ask("query", "tooManyBytesRead");
    assert.deepEqual([bytes.code, /bytes|MiB/.test(bytes.errorMessage)], ["ReadLimit", true], bytes.errorMessage);
  });

  test("b17_limits: result, log lines, promises that never settle and nested calls", async () => {
    const result = await ask("query", "resultTooLarge");
    assert.deepEqual([result.code, /16777216/.test(result.errorMessage)], ["ResultTooLarge", true], result.errorMessage);
    const { value, logLines } = await ask("query", "logs");
    assert.deepEqual([value, logLines.length], ["logged", 257]);
    assert.match(JSON.stringify(logLines.at(-1)), /dropped/);
    const never = await ask("query", "neverSettles");
    assert.deepEqual([never.code, /limits:neverSettles awaits a promise/.test(never.errorMessage)], ["NeverResolved", true], never.errorMessage);
    assert.equal((await ask("query", "nested", { depth: 8 })).value, 8);
    const deep = await ask("query", "nested", { depth: 9 });
    assert.deepEqual([deep.code, /8 levels/.test(deep.errorMessage)], ["NotAvailableHere", true], deep.errorMessage);
  });

  test("a slot that is killed is replaced at once, and its call runs on another one", async () => {
    const before = suite.slotPids();
    const calls = Array.from({ length: 40 }, () => ask("query", "ok"));
    for (const pid of before) tell(pid, "SIGKILL"); // spares, too, in whose place none need come
    for (const answer of await Promise.all(calls)) assert.equal(answer.value, "ok", JSON.stringify(answer));
    await eventually(() => suite.slotPids().filter((pid) => !before.includes(pid)).length >= 6, { what: "as many new slots as --slots" });
    await works();
  });
});

test("b16_limits: a call over which the engine gives up twice is told so", async (t) => {
  const app = await makeApp();
  t.after(() => app.remove());
  // In a namespace of its own a slot is its first process, which no signal of others ends but SIGKILL.
  const suite = await startSuite({ memory: true, appDir: app.dir, options: { solo: { slots: 3, sandbox: "off", "results-bytes": 0 } } });
  t.after(() => suite.stop());
  // Only slots that stood before: one that starts in the place of another is busy, too. The call may be given to such
  // a one, which nobody stops: then it is made again.
  let json = await callAndStop(suite);
  for (let i = 0; i < 4 && json.code === "FunctionTimeout"; i++) json = await callAndStop(suite);
  assert.equal(json.code, "OutOfMemory", JSON.stringify(json));
  assert.match(json.errorMessage, /engine gave up on this function twice/);
});

function tell(pid, signal) {
  try {
    process.kill(pid, signal);
  } catch {
    // it has been replaced meanwhile
  }
}

/** Each slot that runs the call is stopped; the answer. */
async function callAndStop(suite) {
  const slots = await eventually(() => suite.slotPids().length === 3 && suite.slotPids());
  const answer = suite.http("/api/query", { body: { path: "limits:stubbornLoop", args: {} } });
  let isOver = false;
  void answer.then(() => (isOver = true));
  while (!isOver) {
    for (const pid of suite.slotPids().filter((one) => slots.includes(one) && runsNow(one))) tell(pid, "SIGTRAP");
    await new Promise((done) => setTimeout(done, 50));
  }
  return (await answer).json;
}
