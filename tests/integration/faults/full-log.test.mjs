// The disk of a log alone is full, and stays so, while the data has room: the node ends by itself and says what to do,
// nothing acknowledged is lost, and when there is space again a start is all that is needed.
import assert from "node:assert/strict";
import { cpSync, mkdtempSync, readFileSync, renameSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";

import { app } from "../http/modes.mjs";
import { eventually as wait, startSuite } from "../js/suite.mjs";
import { canMount, keepFull, mount, unmount } from "./disks.mjs";
import { verify, writers } from "./ledger.mjs";

const NODES = ["storage", "storage2", "storage3"];
const SKIP = !canMount() && "needs the right to make a small file system";
const LOG_MB = 320; // a start needs 128, and the log may have grown before
const BODY = "x".repeat(200_000);
const eventually = (probe, what) => wait(probe, { what });

async function more(load, count = 30) {
  const before = load.acknowledged.size;
  await eventually(() => load.acknowledged.size > before + count, "writes that go on");
}

const log = (suite, name) => readFileSync(join(suite.dir, `${name}.log`), "utf8").trim();

/** The part ends by itself, and is not started while its disk is full. */
async function endsOf(suite, name) {
  assert.match(await suite.child(name).exited, /^exit code 7[12]$/, suite.logs());
  suite.forget(name);
  assert.match(log(suite, name).split("\n").at(-1), /^bitbend: the log in .* cannot go on: append failed \(.*its disk has \d+ MB free\)\. The process ends here; free some space, at least 128 MB, and start it again\.$/);
  assert.equal(await suite.startWith(name, {}).exited, "exit code 1", suite.logs());
  assert.match(log(suite, name), /has \d+ MB free and the log needs \d+ MB to start: free some space/);
}

describe("one of several storage nodes", { skip: SKIP }, () => {
  const base = mkdtempSync(join(tmpdir(), "bitbend-full-"));
  const data = (name) => join(base, name);
  const logDisk = (name) => join(data(name), "raft");
  let suite;
  before(async () => {
    for (const name of NODES) mount(logDisk(name), LOG_MB);
    const options = Object.fromEntries(NODES.map((name) => [name, { data: data(name) }]));
    suite = await startSuite({ mode: "cluster", appDir: app, options, sequencers: 1, workers: 1, gateways: 1 });
  });
  after(async () => {
    await suite?.stop();
    for (const name of NODES) unmount(logDisk(name));
    rmSync(base, { recursive: true });
  });

  async function leader() {
    const { storage } = await suite.admin.status();
    const found = storage.find(({ isUp, isLeader }) => isUp && isLeader);
    return NODES.find((name) => suite.settings(name).listen === found?.url);
  }

  for (const role of ["leads", "follows"]) {
    test(`b22_full_log_${role}: the log of the node that ${role} is full; it ends and the others go on`, async (t) => {
      const load = writers(suite.url, role, 8, BODY);
      t.after(() => load.stop());
      await more(load);
      const leads = await eventually(leader, "a storage node that leads");
      const name = role === "leads" ? leads : NODES.find((one) => one !== leads);
      const free = keepFull(logDisk(name));
      t.after(free);
      await endsOf(suite, name);
      await more(load);
      free();
      await suite.start(name);
      await more(load);
      await load.stop();
      await verify(suite.url, role, load);
    });
  }
});

// There are no others: a cut of the log, which gives space back, meets the full disk too.
describe("the only storage node", { skip: SKIP }, () => {
  /** As an operator would do it who gives the log a disk of its own. */
  async function moveLog(suite) {
    const dir = join(suite.dir, "data/raft");
    await suite.kill(undefined, "SIGTERM");
    renameSync(dir, `${dir}-old`);
    mount(dir, LOG_MB);
    cpSync(`${dir}-old`, dir, { recursive: true });
    await suite.start();
    return dir;
  }

  for (const [mode, name] of [["processes", "storage"], ["solo", "solo"]]) {
    test(`b22_full_log_alone_${mode}: its log is full; calls wait until it has ended, was given space and started`, async (t) => {
      const suite = await startSuite({ mode, appDir: app });
      let dir;
      t.after(async () => {
        if (dir) unmount(dir);
        await suite.stop();
      });
      dir = await moveLog(suite);
      const load = writers(suite.url, mode, 8, BODY);
      t.after(() => load.stop());
      await more(load);
      const free = keepFull(dir);
      t.after(free);
      await endsOf(suite, name);
      free();
      await suite.start(name);
      await more(load);
      await load.stop();
      await verify(suite.url, mode, load);
    });
  }
});
