// Actions that misbehave hurt themselves only.
import assert from "node:assert/strict";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";

import { actionsMissing, eventually, startStand } from "./stand.mjs";

const FILES = {
  "bad.ts": `
    "use node";
    import { action } from "bitbend/server";
    import { spawn } from "node:child_process";
    import { writeFileSync, appendFileSync } from "node:fs";

    const sleep = (ms: number) => new Promise((done) => setTimeout(done, ms));
    let leaked: unknown[] = [];

    export const fine = action(async (_, { n }) => n * 2);
    export const exit = action(async () => { process.exit(3); });
    export const memory = action(async () => { for (;;) leaked.push(new Array(1e6).fill(leaked.length)); });
    export const buffers = action(async () => { const all = []; for (;;) { all.push(Buffer.alloc(64 << 20, 1)); await sleep(20); } });
    export const later = action(async () => { setTimeout(() => { throw new TypeError("thrown later"); }, 10); await sleep(60_000); });
    export const rejected = action(async () => { Promise.reject(new Error("nobody waits")); await sleep(60_000); });
    export const crash = action(async () => { process.kill(process.pid, "SIGSEGV"); await sleep(60_000); });
    export const fork = action(async (_, { file }) => {
      const child = spawn("sleep", ["1000"], { stdio: "ignore" });
      writeFileSync(file, String(child.pid));
      return child.pid;
    });
    export const flood = action(async () => { for (let i = 0; i < 200_000; i++) console.log("line " + i + " " + "x".repeat(50)); return "done"; });
    export const raw = action(async () => { process.stdout.write("past the console\\n"); await sleep(50); return null; });
    export const spin = action(async () => { for (;;); });
    export const polite = action(async (ctx, { file }) => {
      appendFileSync(file, "begun ");
      await new Promise<void>((done) => ctx.signal.addEventListener("abort", () => { appendFileSync(file, "told "); done(); }));
      throw new Error("stopped");
    });
    export const slow = action(async (_, { ms, file }) => { if (file) appendFileSync(file, "begun "); await sleep(ms); if (file) appendFileSync(file, "ended "); return "slept"; });
    export const env = action(async () => Object.keys(process.env).sort());
    export const timer = action(async () => { setInterval(() => {}, 10); return process.pid; });
  `,
};

describe("actions that misbehave", { skip: actionsMissing() }, () => {
  let stand;
  let dir;
  before(async () => {
    dir = mkdtempSync(join(tmpdir(), "bitbend-actions-"));
    stand = await startStand({ functions: FILES, runner: { "memory-mb": 96, "process-memory-mb": 450, slots: 8 } });
  });
  after(async () => {
    await stand?.stop();
    rmSync(dir, { recursive: true, force: true });
  });

  const call = async (path, args = {}, more = {}) => (await stand.http("/api/action", { body: { path, args, ...more } })).json;
  /** The failure of one beside others that go on. */
  async function failsAlone(path) {
    const others = [call("bad:slow", { ms: 600 }), call("bad:fine", { n: 4 })];
    const answer = await call(path);
    assert.deepEqual((await Promise.all(others)).map(({ value }) => value), ["slept", 8]);
    assert.equal(answer.status, "error");
    return answer;
  }
  const logged = async (text) => {
    const { entries } = await stand.admin.logs({ cursor: "0" });
    return entries.flatMap(({ lines, path }) => lines.map((line) => ({ ...line, path }))).filter((line) => line.text.includes(text));
  };

  test("process.exit ends one action", async () => {
    assert.match((await failsAlone("bad:exit")).errorMessage, /called process\.exit\(3\)/);
  });

  test("memory without end ends one action", async () => {
    const { code, errorMessage } = await failsAlone("bad:memory");
    assert.equal(code, "OutOfMemory");
    assert.match(errorMessage, /more than 96 MB/);
  });

  test("an error that nobody catches ends one action, and says where", async () => {
    assert.match((await failsAlone("bad:later")).errorMessage, /TypeError: thrown later\n {4}at .*bitbend\/bad\.ts:14/);
    assert.match((await failsAlone("bad:rejected")).errorMessage, /nobody waits/);
  });

  test("a crash of the process fails what ran in it; the next action runs", async () => {
    const file = join(dir, "beside");
    const beside = call("bad:slow", { ms: 60_000, file });
    await eventually(() => existsSync(file), { what: "the one beside it" });
    assert.match((await call("bad:crash")).errorMessage, /The process that ran the action ended \(SIGSEGV\)/);
    assert.match((await beside).errorMessage, /The process that ran the action ended/);
    assert.equal((await call("bad:fine", { n: 5 })).value, 10);
  });

  test("buffers beyond the limit of the process end it, and say why", async () => {
    const { code, errorMessage } = await call("bad:buffers");
    assert.equal(code, "OutOfMemory", errorMessage);
    assert.match(errorMessage, /more than 450 MB in all/);
    assert.equal((await call("bad:fine", { n: 6 })).value, 12);
  });

  test("floods of log lines are cut, with a note", async () => {
    assert.equal((await call("bad:flood")).value, "done");
    await eventually(async () => (await logged("log lines were dropped")).length > 0, { what: "the note" });
    const lines = await logged("line ");
    assert.ok(lines.length >= 100 && lines.length < 5000, `${lines.length} lines`);
    assert.ok(lines.every(({ path }) => path === "bad:flood"));
  });

  test("what is written past the console is logged, too", async () => {
    await call("bad:raw");
    await eventually(async () => (await logged("past the console")).length === 1, { what: "the line" });
  });

  test("a client that leaves cancels the action when it asked for that, and it is told", async () => {
    const file = join(dir, "polite");
    const leave = new AbortController();
    const asked = fetch(`${stand.url}/api/action`, { method: "POST", body: JSON.stringify({ path: "bad:polite", args: { file }, cancelOnDisconnect: true }), signal: leave.signal });
    await eventually(() => existsSync(file), { what: "the start" });
    leave.abort();
    await assert.rejects(asked);
    await eventually(() => readFileSync(file, "utf8") === "begun told ", { what: "the cancel" });
  });

  test("without that, it goes on", async () => {
    const file = join(dir, "slow");
    const leave = new AbortController();
    const asked = fetch(`${stand.url}/api/action`, { method: "POST", body: JSON.stringify({ path: "bad:slow", args: { file, ms: 500 } }), signal: leave.signal });
    await eventually(() => existsSync(file), { what: "the start" });
    leave.abort();
    await assert.rejects(asked);
    await eventually(() => readFileSync(file, "utf8") === "begun ended ", { what: "the end" });
  });

  test("one that hangs and listens to nothing is ended by a cancel", async () => {
    const leave = new AbortController();
    const asked = fetch(`${stand.url}/api/action`, { method: "POST", body: JSON.stringify({ path: "bad:spin", args: {}, cancelOnDisconnect: true }), signal: leave.signal });
    const running = async () => (await stand.admin.status()).gateway.actions;
    await eventually(async () => (await running()) === 1, { what: "the start" });
    await new Promise((done) => setTimeout(done, 300));
    leave.abort();
    await assert.rejects(asked);
    await eventually(async () => (await running()) === 0, { what: "the end" });
    assert.equal((await call("bad:fine", { n: 7 })).value, 14);
  });

  test("an action sees nothing of the runner's environment", async () => {
    const { value } = await call("bad:env");
    assert.ok(value.includes("NODE_ENV") && !value.some((name) => /BITBEND|ADMIN|KEY/.test(name)), value.join());
  });

  test("what it forked ends with the runner", async () => {
    const file = join(dir, "pid");
    const { value: pid } = await call("bad:fork", { file });
    assert.ok(existsSync(`/proc/${pid}`));
    const [runner] = stand.runners.splice(0, 1);
    runner.kill("SIGTERM");
    assert.equal(await runner.exited, 0);
    await eventually(() => !existsSync(`/proc/${pid}`) || readFileSync(`/proc/${pid}/stat`, "utf8").includes(") Z "), { what: "the end of the child" });
  });
});
