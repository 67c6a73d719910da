// Disks of storage nodes that fill up while they run: nothing acknowledged is lost, the
// last line says what to do, and when there is space again a start is all that is needed. And disks that are taken
// away for repair: the processes of functions do not hold them.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";

import { app } from "../http/modes.mjs";
import { eventually as wait, startSuite } from "../js/suite.mjs";
import { canMount, fill, mount, unmount } from "./disks.mjs";
import { verify, writers } from "./ledger.mjs";

const NODES = ["storage", "storage2", "storage3"];
const eventually = (probe, what) => wait(probe, { what });

describe("storage nodes whose disks are full", { skip: !canMount() && "needs the right to make a small file system" }, () => {
  const base = mkdtempSync(join(tmpdir(), "bitbend-full-"));
  const disk = (name) => join(base, `disk-${name}`);
  let suite;
  before(async () => {
    for (const name of NODES) mount(disk(name), 400);
    const options = Object.fromEntries(NODES.map((name) => [name, { data: join(disk(name), "data") }]));
    suite = await startSuite({ mode: "cluster", appDir: app, options, sequencers: 1, workers: 1, gateways: 1 });
  });
  after(async () => {
    await suite?.stop();
    for (const dir of NODES.map(disk)) unmount(dir);
    rmSync(base, { recursive: true });
  });

  const log = (name) => readFileSync(join(suite.dir, `${name}.log`), "utf8");
  async function more(load, count = 30) {
    const before = load.acknowledged.size;
    await eventually(() => load.acknowledged.size > before + count, "writes that go on");
  }
  /** The nodes end by themselves, each with one of these codes. */
  async function ended(names, codes) {
    for (const name of names) {
      assert.match(await suite.child(name).exited, codes, suite.logs());
      suite.forget(name);
      assert.match(log(name).trim().split("\n").at(-1), /cannot go on: .*(space|No space)/);
    }
  }

  test("b22_full_disks: the disks of most nodes are full; calls wait, and go on when there is space again", async (t) => {
    const load = writers(suite.url, "all", 8, "x".repeat(1000));
    t.after(() => load.stop());
    await more(load);
    const frees = ["storage", "storage3"].map((name) => fill(disk(name)));
    await ended(["storage", "storage3"], /^exit code 7[123]$/);
    const refused = suite.startWith("storage", {});
    assert.equal(await refused.exited, "exit code 1", suite.logs());
    assert.match(log("storage"), /bb-storage: the disk of .* has 0 MB free and the log needs \d+ MB to start: free some space/);
    for (const free of frees) free();
    await suite.start();
    await more(load);
    await load.stop();
    await verify(suite.url, "all", load);
  });
});

test("a file system that is unmounted is not held by slots", { skip: !canMount() && "needs the right to mount" }, async () => {
  const shared = mkdtempSync(join(tmpdir(), "bitbend-shared-"));
  const disk = join(shared, "disk");
  // As where systemd began: what the host mounts and unmounts is told to others.
  for (const words of [["--bind", shared, shared], ["--make-shared", shared]]) spawnSync("mount", words);
  let suite;
  try {
    mount(disk, 1);
    suite = await startSuite({ appDir: app });
    const held = () => [...suite.slotPids(), ...suite.zygotePids()].filter((pid) => readFileSync(`/proc/${pid}/mountinfo`, "utf8").includes(` ${disk} `));
    assert.notEqual(suite.slotPids().length, 0);
    assert.equal(spawnSync("umount", [disk]).status, 0);
    assert.deepEqual(held(), []);
  } finally {
    await suite?.stop();
    for (const dir of [disk, shared]) unmount(dir);
    rmSync(shared, { recursive: true });
  }
});
