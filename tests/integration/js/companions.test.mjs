/** What `bitbend dev` starts besides the suite: nats-server and a runner. They come back, and they end with it. */

import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

import { actionsMissing } from "../actions/stand.mjs";
import { eventually, freePorts, ROOT, slotPids } from "./suite.mjs";

const PROGRAM = join(ROOT, "libs/js/bitbend/bin/bitbend.cjs");
const APP = 'import { action } from "./_generated/server";\nexport const hello = action({ args: {}, handler: () => `hello from ${process.version} ${process.env.GREETING}` });\n';

/** Pids of processes whose command line names this folder. */
function processesOf(dir) {
  const lines = execFileSync("ps", ["-eo", "pid=,args="], { encoding: "utf8" }).split("\n").filter((line) => line.includes(dir));
  const pidOf = (part) => Number(lines.find((line) => line.includes(part))?.trim().split(/\s+/)[0] ?? 0);
  return { count: lines.length, nats: pidOf("nats-server"), runner: pidOf("runner/main.js"), solo: pidOf("bb-solo") };
}

/** What a server that is spoken to without a token answers. */
function askWithoutToken(port) {
  return new Promise((done) => {
    const socket = connect(port, "127.0.0.1", () => socket.write('CONNECT {"verbose":false}\r\nSUB > 1\r\nPING\r\n'));
    let text = "";
    socket.on("data", (bytes) => (text += bytes));
    socket.on("error", () => {}).on("close", () => done(text));
  });
}

test("p10_embedded_mode: dev starts nats-server and a runner, starts them again, and takes them along", { skip: actionsMissing() }, async (t) => {
  const dir = mkdtempSync(join(tmpdir(), "bitbend-dev-"));
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  mkdirSync(join(dir, "bitbend"));
  writeFileSync(join(dir, "bitbend/a.ts"), APP);
  const [port] = await freePorts(1);
  let out = "";
  const startDev = async () => {
    out = "";
    const child = spawn(process.execPath, [PROGRAM, "dev", "--port", String(port)], { cwd: dir });
    t.after(() => child.kill("SIGTERM"));
    for (const stream of [child.stdout, child.stderr]) stream.setEncoding("utf8").on("data", (text) => (out += text));
    await eventually(() => out.includes("BitBend is ready"), { timeoutMs: 60_000, what: "dev" });
    return child;
  };
  const endDev = async (child) => {
    const ended = new Promise((done) => child.once("exit", done));
    child.kill("SIGINT");
    assert.equal(await ended, 0, out);
    assert.equal(processesOf(dir).count, 0, "nothing is left running");
  };
  const dev = await startDev();
  const { url, adminKey } = JSON.parse(readFileSync(join(dir, ".bitbend/dev.json"), "utf8"));
  const call = async (path, body) => {
    const response = await fetch(url + path, { method: "POST", headers: { Authorization: `BitBend ${adminKey}` }, body: JSON.stringify(body) });
    return await response.json();
  };
  const hello = () => call("/api/action", { path: "a:hello", args: {} });
  await call("/api/mutation", { path: "_system:changeEnvironment", args: { changes: [{ name: "GREETING", value: "and hi" }] } });
  const answers = (what) => eventually(async () => (await hello()).value?.startsWith(`hello from ${"v24."}`), { what });
  await answers("an action's answer");
  assert.match((await hello()).value, / and hi$/, "actions have the deployment's variables");

  // Nobody else on this computer can listen, or read what opens the server.
  const conf = join(dir, ".bitbend/nats/server.conf");
  assert.equal(statSync(conf).mode & 0o777, 0o600);
  const natsPort = Number(/listen: "127\.0\.0\.1:(\d+)"/.exec(readFileSync(conf, "utf8"))[1]);
  assert.match(await askWithoutToken(natsPort), /Authorization Violation/);
  const token = /token: "(\w+)"/.exec(readFileSync(conf, "utf8"))[1];
  const status = await (await fetch(`${url}/api/admin/status`, { headers: { Authorization: `BitBend ${adminKey}` } })).text();
  const seen = execFileSync("ps", ["-eo", "args"], { encoding: "utf8" }) + out + status + ["suite.log", "runner.log", "nats.log"].map((name) => readFileSync(join(dir, ".bitbend", name), "utf8")).join("");
  assert.ok(!seen.includes(token), "the token is in no command line, log or status");

  const before = processesOf(dir);
  assert.ok(before.solo > 0 && before.nats > 0 && before.runner > 0);
  assert.ok(slotPids(before.solo).length > 0, "and slots");
  process.kill(before.runner, "SIGKILL");
  await eventually(() => ![0, before.runner].includes(processesOf(dir).runner), { what: "the next runner" });
  await answers("an answer of the next runner");
  process.kill(before.nats, "SIGKILL");
  await eventually(() => ![0, before.nats].includes(processesOf(dir).nats), { what: "the next nats-server" });
  await answers("an answer through the next nats-server");
  assert.match(out, /The runner ended \(SIGKILL\); starting it again/);
  assert.match(out, /nats-server ended \(SIGKILL\); starting it again/);

  await endDev(dev);
  const again = await startDev();
  await eventually(async () => (await hello()).value?.endsWith(" and hi"), { timeoutMs: 60_000, what: "an answer after the restart, from what was kept" });
  again.kill("SIGKILL");
  await eventually(() => processesOf(dir).count === 0, { what: "the end of all that a killed one had started" });
});
