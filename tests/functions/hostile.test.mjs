// What a hostile function reaches: nothing. And what the process that it runs in may do: next to nothing.
import assert from "node:assert/strict";
import { existsSync, readFileSync, readdirSync, readlinkSync } from "node:fs";
import { after, before, describe, test } from "node:test";

import { untilTold } from "../integration/http/api.mjs";
import { eventually, startSuite } from "../integration/js/suite.mjs";
import { makeApp } from "./app.mjs";

describe("hostile: functions", () => {
  let app, suite;
  const ask = async (kind, name, args = {}) => (await untilTold(() => suite.http(`/api/${kind}`, { body: { path: `hostile:${name}`, args } }))).json;
  const value = async (kind, name, args) => {
    const answer = await ask(kind, name, args);
    assert.equal(answer.status, "success", answer.errorMessage);
    return answer.value;
  };
  before(async () => {
    app = await makeApp();
    suite = await startSuite({ memory: true, appDir: app.dir, options: { solo: { slots: 2, "results-bytes": 0 } } });
  });
  after(async () => {
    await suite?.stop();
    app?.remove();
  });

  test("b1_not_node: the realm has nothing of Node.js, and process has env only", async () => {
    assert.deepEqual(await value("query", "globals"), []);
    assert.deepEqual(await value("query", "process_"), [["env"], ["env"], 0, true]);
  });
  test("hostile: no code comes from strings", async () => {
    const answers = await value("query", "code");
    assert.deepEqual(answers.slice(0, 6), new Array(6).fill("EvalError"));
    for (const answer of answers.slice(6)) assert.match(answer, /Error$/);
  });
  test("hostile: stack frames lead nowhere", async () => {
    const [assigned, type, showsInside, caller] = await value("query", "frames");
    assert.deepEqual([assigned, type, showsInside], ["TypeError", "string", "false"]);
    assert.match(caller, /none|TypeError/);
  });
  test("hostile: the database's objects are frozen and lead to no constructor", async () => assert.deepEqual(await value("mutation", "objects"), []));
  test("hostile: operations with any arguments are refused with an error, and leave nothing", async () => {
    // In parts, so that each ends within the time of a transaction on a slow machine, too.
    let calls = 0;
    for (let from = 0, isLast = false; !isLast; from += 4) {
      const answer = await ask("mutation", "malformed", { from, to: from + 4 });
      assert.equal(answer.code, "UserError", JSON.stringify(answer).slice(0, 500));
      assert.ok(!answer.errorData.names.includes("InternalError"), answer.errorData.names.join(" "));
      calls += answer.errorData.calls;
      isLast = answer.errorData.isLast;
    }
    assert.ok(calls > 10000, `${calls} calls`);
    assert.equal((await suite.http("/api/query", { body: { path: "limits:count", args: { group: "reentered" } } })).json.value, 0);
  });
  test("hostile: system tables and functions, internal functions and forged ones are out of reach", async () => {
    const answers = await value("mutation", "system");
    for (const [i, answer] of answers.entries()) assert.match(String(answer), /Error$|^no insert$/, `attempt ${i}: ${JSON.stringify(answer)}`);
    assert.equal((await ask("query", "secret")).code, "FunctionNotFound");
    assert.equal((await suite.admin.status()).status ?? "ok", "ok");
  });
  test("hostile: an error cannot pass for the suite's own", async () => {
    for (const code of ["InternalError", "OutcomeUnknown", "Overloaded", "Conflict", "NeedsIdentity", "Pending", "Ok", "nonsense"]) {
      const { status, json } = await suite.http("/api/query", { body: { path: "hostile:forgedError", args: { code } } });
      assert.deepEqual([status, json.status, json.code], [200, "error", "ServerError"], code);
    }
  });
  test("hostile: results are data, whatever they pretend to be", async () => {
    assert.deepEqual(await value("query", "strangeResult"), { a: { b: [1, { c: "d" }] }, list: [1, 2], "__proto__x": 1 });
    const { text } = await suite.http("/api/query", { body: { path: "hostile:pollutedResult", args: {} } });
    assert.match(text, /__proto__/);
    assert.equal({}.isAdmin, undefined);
  });
  test("hostile: what goes on after the answer has no effect", async () => {
    assert.equal(await value("mutation", "afterTheEnd"), "answered");
    assert.equal((await suite.http("/api/query", { body: { path: "limits:count", args: { group: "late" } } })).json.value, 0);
  });
  test("hostile: a slot's process has no rights, no network, no files and little memory", { skip: !existsSync("/proc/self/status") && "no /proc" }, async () => {
    const holds = /worker\.sandbox holds=(\S+)/.exec(suite.logs())?.[1] ?? "";
    const statusOf = (pid) => Object.fromEntries(readFileSync(`/proc/${pid}/status`, "utf8").split("\n").map((line) => line.split(/:\s*/)));
    // One that has just come in the place of another is sealed before it gets a call, not before it is seen.
    const isSealed = (pid) => existsSync(`/proc/${pid}/status`) && statusOf(pid).Seccomp === "2";
    await eventually(() => suite.slotPids().length === 2 && suite.slotPids().every(isSealed), { what: "seccomp in both slots" });
    for (const pid of suite.slotPids()) {
      const status = statusOf(pid);
      if (holds.includes("no-new-privs")) assert.equal(status.NoNewPrivs, "1");
      if (holds.includes("uid")) assert.deepEqual([status.Uid, status.Gid, status.Groups.trim()], ["65534\t65534\t65534\t65534", "65534\t65534\t65534\t65534", ""]);
      if (/uid|no-capabilities/.test(holds)) assert.deepEqual([status.CapEff, status.CapBnd], ["0000000000000000", "0000000000000000"]);
      if (holds.includes("namespaces")) for (const ns of ["net", "pid", "mnt", "ipc", "uts"]) assert.notEqual(readlinkSync(`/proc/${pid}/ns/${ns}`), readlinkSync(`/proc/self/ns/${ns}`), ns);
      const limits = readFileSync(`/proc/${pid}/limits`, "utf8");
      assert.match(limits, /Max core file size\s+0\s+0/);
      assert.match(limits, /Max open files\s+64\s+64/);
      assert.match(limits, /Max data size\s+\d+\s+\d+/);
      // The one socket is its supervisor's; nothing is open for writing but what it inherited.
      const open = readdirSync(`/proc/${pid}/fd`).map((fd) => [Number(fd), readlinkSync(`/proc/${pid}/fd/${fd}`)]);
      assert.deepEqual(open.filter(([, to]) => to.startsWith("socket:")).map(([fd]) => fd), [3]);
      for (const [fd, to] of open.filter(([fd, to]) => fd > 3 && to.startsWith("/") && to !== "/dev/null")) {
        const flags = parseInt(/flags:\s*(\d+)/.exec(readFileSync(`/proc/${pid}/fdinfo/${fd}`, "utf8"))[1], 8);
        assert.equal(flags & 3, 0, `${to} is open for writing`);
      }
    }
  });

  // Last: it ends a slot.
  test("hostile: what getters of a result or an error begin ends with their call, and disturbs no other", async () => {
    for (const [name, outcome] of [["lateOfResult", { value: { a: "begun" } }], ["lateOfError", { code: "ServerError" }], ["lateForEver", { code: "FunctionTimeout" }]]) {
      // More often than there are slots.
      for (let i = 0; i < (name === "lateForEver" ? 1 : 4); i++) {
        const answer = await ask("query", name);
        assert.deepEqual(Object.fromEntries(Object.keys(outcome).map((key) => [key, answer[key]])), outcome, JSON.stringify(answer));
        const next = await ask("query", "globals");
        assert.deepEqual([next.status, next.value, next.logLines], ["success", [], []], next.errorMessage);
      }
    }
  });
});
