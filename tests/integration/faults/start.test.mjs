// What keeps a suite from starting is said in a sentence that tells what to do.
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";

import { eventually } from "../http/api.mjs";
import { pssMb, treeOf } from "../../bench/processes.mjs";
import { ROOT, freePorts } from "../js/suite.mjs";

const build = join(ROOT, process.env.BB_TEST_BUILD ?? "build/release");
const solo = join(build, "bin/bb-solo");
const dir = mkdtempSync(join(tmpdir(), "bitbend-start-"));
after(() => rmSync(dir, { recursive: true, force: true }));

/** Runs a program that is expected to end by itself. */
function run(program, ...args) {
  const done = spawnSync(program, args, { encoding: "utf8", timeout: 90_000 });
  return { code: done.status, output: done.stdout + done.stderr };
}

/** Starts bb-solo; resolves with the child when its ready line came. */
const start = (...args) => startIn(process.env, ...args);

async function startIn(env, ...args) {
  const child = spawn(solo, [...args, "--admin-listen", "off"], { env, stdio: ["ignore", "pipe", "pipe"] });
  let text = "";
  await new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`not ready: ${text}`)), 90_000);
    const more = (chunk) => {
      text += chunk;
      if (!/^bitbend: ready /m.test(text)) return;
      clearTimeout(timer);
      resolve();
    };
    child.stdout.on("data", more);
    child.stderr.on("data", more);
    child.once("exit", (code) => reject(new Error(`ended with ${code}: ${text}`)));
  });
  child.text = () => text;
  return child;
}

async function stop(child, signal = "SIGTERM") {
  const ended = new Promise((resolve) => child.once("exit", (code, by) => resolve(code ?? by)));
  child.kill(signal);
  return await ended;
}

function isGone(pid) {
  try {
    process.kill(pid, 0);
    return false;
  } catch {
    return true;
  }
}

test("t21_ready_line: one ready line, a clean end on SIGINT, nothing left running", async () => {
  const [port] = await freePorts(1);
  const child = await start("--data", join(dir, "clean"), "--listen", `127.0.0.1:${port}`);
  assert.equal(child.text().match(/^bitbend: ready http/gm).length, 1);
  const tree = treeOf(child.pid);
  assert.ok(tree.length > 1, "there are slots");
  const dev = JSON.parse(readFileSync(join(dir, "clean/dev.json"), "utf8"));
  assert.deepEqual([dev.url, dev.pid], [`http://127.0.0.1:${port}`, child.pid]);
  assert.equal(statSync(join(dir, "clean/dev.json")).mode & 0o777, 0o600);
  assert.equal(await stop(child, "SIGINT"), 0, child.text());
  assert.throws(() => statSync(join(dir, "clean/dev.json")));
  // What the suite ended is there until init has noticed.
  await eventually(() => tree.every(isGone));
});

// How soon is for the benchmark to say.
test("t22_without_infrastructure: without a path to any other program, and none that runs, a suite is ready and answers", async () => {
  const [port] = await freePorts(1);
  const data = join(dir, "alone");
  const child = await startIn({}, "--data", data, "--listen", `127.0.0.1:${port}`);
  const names = treeOf(child.pid).map((pid) => readFileSync(`/proc/${pid}/comm`, "utf8").trim());
  assert.ok(names.every((name) => name.startsWith("bb-")), names.join());
  const { url, adminKey } = JSON.parse(readFileSync(join(data, "dev.json"), "utf8"));
  assert.equal((await fetch(`${url}/api/ping`)).status, 200);
  const headers = { "Content-Type": "application/json", Authorization: `BitBend ${adminKey}` };
  const body = JSON.stringify({ path: "_system:status", args: {} });
  const told = await (await fetch(`${url}/api/query`, { method: "POST", headers, body })).json();
  assert.equal(told.status, "success", JSON.stringify(told));
  assert.equal(await stop(child), 0, child.text());
});

test("p12_small_at_rest: a suite with its slots takes little memory", { skip: build.includes("release") ? false : "a build for tests takes more" }, async () => {
  const [port] = await freePorts(1);
  const child = await start("--data", join(dir, "at-rest"), "--listen", `127.0.0.1:${port}`, "--slots", "3");
  await eventually(() => treeOf(child.pid).length > 3);
  const mb = pssMb(child.pid);
  assert.ok(mb > 10 && mb <= 150, `${mb} MB`);
  assert.equal(await stop(child), 0, child.text());
});

test("a taken port is named; with --port-search the next free one is used", async () => {
  const [port] = await freePorts(1);
  const server = createServer().listen(port, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  const refused = run(solo, "--data", join(dir, "port"), "--listen", `127.0.0.1:${port}`, "--admin-listen", "off");
  assert.equal(refused.code, 1, refused.output);
  assert.match(refused.output, new RegExp(`127\\.0\\.0\\.1:${port}.*in use`));
  const child = await start("--data", join(dir, "port"), "--listen", `127.0.0.1:${port}`, "--port-search");
  assert.doesNotMatch(child.text(), new RegExp(`ready http://127.0.0.1:${port}$`, "m"));
  assert.equal(await stop(child), 0);
  server.close();
});

test("a second suite on one folder is refused, the first goes on", async () => {
  const [one, two] = await freePorts(2);
  const data = join(dir, "shared");
  const child = await start("--data", data, "--listen", `127.0.0.1:${one}`);
  const refused = run(solo, "--data", data, "--listen", `127.0.0.1:${two}`, "--admin-listen", "off");
  assert.equal(refused.code, 1, refused.output);
  assert.match(refused.output, /another|in use|running/i);
  assert.match(refused.output, new RegExp(data));
  assert.equal((await fetch(`http://127.0.0.1:${one}/api/ping`)).status, 200);
  assert.equal(await stop(child), 0);
});

test("a data folder of another version, or one that is something else, is refused", async () => {
  const [port] = await freePorts(1);
  const other = join(dir, "version");
  mkdirSync(other);
  writeFileSync(join(other, "VERSION"), "bitbend-data 999\ncluster 00000000000000000000000000000000\n");
  const version = run(solo, "--data", other, "--listen", `127.0.0.1:${port}`, "--admin-listen", "off");
  assert.equal(version.code, 1, version.output);
  assert.match(version.output, /version/i);
  const file = join(dir, "a-file");
  writeFileSync(file, "");
  const notDir = run(solo, "--data", file, "--listen", `127.0.0.1:${port}`, "--admin-listen", "off");
  assert.equal(notDir.code, 1, notDir.output);
  assert.match(notDir.output, new RegExp(file));
});

test("a full disk at start is said", { skip: process.getuid() !== 0 && "needs root to make a small file system" }, async () => {
  const [port] = await freePorts(1);
  const small = join(dir, "small");
  mkdirSync(small);
  if (spawnSync("mount", ["-t", "tmpfs", "-o", "size=4m", "tmpfs", small]).status !== 0) return;
  try {
    const full = run(solo, "--data", join(small, "data"), "--listen", `127.0.0.1:${port}`, "--admin-listen", "off");
    assert.equal(full.code, 1, full.output);
    assert.match(full.output, /space|full/i);
  } finally {
    spawnSync("umount", [small]);
  }
});

test("a missing part is named", async () => {
  const [port] = await freePorts(1);
  const missing = run(solo, "--data", join(dir, "missing"), "--node", join(dir, "no-node"), "--listen", `127.0.0.1:${port}`);
  assert.equal(missing.code, 1, missing.output);
  assert.match(missing.output, /no-node/);
});

test("bad options are answered with 2 and the name of the option; --help and --version with 0", () => {
  for (const program of ["solo", "gateway", "worker", "sequencer", "scheduler", "storage", "ctl"]) {
    const binary = join(build, `bin/bb-${program}`);
    const unknown = run(binary, "--nonsense", "1");
    assert.equal(unknown.code, 2, `${program}: ${unknown.output}`);
    assert.match(unknown.output, /nonsense/);
    const stray = run(binary, "data=elsewhere");
    assert.equal(stray.code, 2, `${program}: ${stray.output}`);
    assert.match(stray.output, program === "ctl" ? /the command/ : /data=elsewhere/);
    const help = run(binary, "--help");
    assert.equal(help.code, 0);
    assert.match(help.output, /--/);
    assert.equal(run(binary, "--version").code, 0);
  }
  for (const data of ["", "x".repeat(5000)]) {
    const nowhere = run(solo, "--data", data, "--admin-listen", "off");
    assert.equal(nowhere.code, 1);
    assert.match(nowhere.output, /name the data folder with --data/);
  }
  const bad = run(solo, "--slots", "many");
  assert.equal(bad.code, 2, bad.output);
  assert.match(bad.output, /slots.*many|many.*slots/);
});

test("p11_memory: with --memory nothing is kept", async () => {
  const [port] = await freePorts(1);
  const data = join(dir, "memory");
  const child = await start("--data", data, "--listen", `127.0.0.1:${port}`, "--memory");
  assert.throws(() => statSync(join(data, "raft")));
  assert.equal(await stop(child), 0);
});
