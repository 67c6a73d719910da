// What an operator sees of a data folder and does to one that serves, by bb-ctl alone.
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";

import { ROOT, freePorts } from "../js/suite.mjs";

const build = join(ROOT, process.env.BB_TEST_BUILD ?? "build/release");
const dir = mkdtempSync(join(tmpdir(), "bitbend-inspect-"));
after(() => rmSync(dir, { recursive: true, force: true }));

function ctl(...args) {
  const done = spawnSync(join(build, "bin/bb-ctl"), args, { encoding: "utf8", timeout: 120_000 });
  return { code: done.status, out: done.stdout, error: done.stderr };
}

async function start(program, ...args) {
  const child = spawn(join(build, "bin", program), args, { stdio: ["ignore", "pipe", "pipe"] });
  let text = "";
  child.stdout.on("data", (chunk) => (text += chunk));
  child.stderr.on("data", (chunk) => (text += chunk));
  child.text = () => text;
  return child;
}

async function stop(child) {
  const ended = new Promise((resolve) => child.once("exit", (code, by) => resolve(code ?? by)));
  child.kill("SIGTERM");
  return await ended;
}

/** Asks until the node answers: on a machine that stands still for seconds a connection counts as lost. */
async function until(answer) {
  for (let i = 0; i < 600; i++) {
    const result = answer();
    if (result.code === 0) return result;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(JSON.stringify(answer()));
}

test("inspect, hash and compact", async (t) => {
  const [storagePort, sequencerPort] = await freePorts(2);
  const url = `tcp://127.0.0.1:${storagePort}`;
  const data = join(dir, "data");
  const storage = await start("bb-storage", "--data", data, "--listen", url, "--admin-listen", "off");
  const sequencer = await start("bb-sequencer", "--storage", url, "--listen", `tcp://127.0.0.1:${sequencerPort}`, "--admin-listen", "off");
  let hash;

  await t.test("the sequencer has claimed an epoch; the node tells the hash of what it holds", async () => {
    await until(() => {
      const info = ctl("status", "--storage", url, "--json");
      return { code: info.code === 0 && JSON.parse(info.out)[0].epoch === 1 ? 0 : 1, info };
    });
    const result = await until(() => ctl("hash", "--storage", url, "--json"));
    hash = JSON.parse(result.out).hash;
    assert.match(hash, /^[0-9a-f]{16}$/);
  });

  await t.test("compact answers with the sizes", async () => {
    const result = await until(() => ctl("compact", "--storage", url, "--json"));
    const { beforeBytes, afterBytes } = JSON.parse(result.out);
    // What was still in memory goes into the new file, so that a small one may grow.
    assert.ok(beforeBytes > 0 && afterBytes > 0, result.out);
  });

  await t.test("nobody there, or nothing named: a sentence", () => {
    assert.equal(ctl("hash").code, 2);
    assert.match(ctl("hash").error, /--storage tcp/);
    assert.equal(ctl("compact", "--storage", "tcp://127.0.0.1:1").code, 1);
    assert.match(ctl("compact", "--storage", "tcp://127.0.0.1:1").error, /PeerGone/);
  });

  await t.test("members: what is waited for is said, and what is no url is refused", () => {
    const dead = ctl("members", "--storage", "tcp://127.0.0.1:1");
    assert.equal(dead.code, 1);
    assert.match(dead.error, /waiting for tcp:\/\/127\.0\.0\.1:1 to answer\n.*no storage node answers at tcp:/s);
    for (const args of [["--storage", url, "add", "3", "127.0.0.1:3", "127.0.0.1:4"], ["--storage", "127.0.0.1:3"]]) {
      const refused = ctl("members", ...args);
      assert.equal(refused.code, 2);
      assert.match(refused.error, /127\.0\.0\.1:3 is no url of a storage node: it is tcp:/);
    }
    assert.match(ctl("members", "--storage", url).out, /voter/);
  });

  await t.test("a folder in use is not looked at", () => {
    const busy = ctl("inspect", data);
    assert.equal(busy.code, 1);
    assert.match(busy.error, /stop it, or inspect a copy/);
  });

  assert.equal(await stop(sequencer), 0, sequencer.text());
  assert.equal(await stop(storage), 0, storage.text());

  await t.test("a stopped one tells its log, data and feed", () => {
    const result = ctl("inspect", data, "--entries", "--json");
    assert.equal(result.code, 0, result.error + result.out);
    const seen = JSON.parse(result.out);
    assert.match(seen.version, /^bitbend-data \d+\ncluster [0-9a-f]{32}/);
    assert.ok(seen.log.term >= 1);
    const kinds = seen.log.entries.map((entry) => entry.kind);
    assert.ok(kinds.includes("claim"), kinds.join());
    assert.equal(seen.data.epoch, 1);
    assert.equal(seen.data.hash, hash, "the hash of the node that ran");
    assert.ok(Array.isArray(seen.feed.segments));
    const text = ctl("inspect", data);
    assert.equal(text.code, 0);
    assert.match(text.out, /lastTx/);
    assert.equal(JSON.parse(ctl("inspect", data, "--part", "log", "--json").out).data, undefined);
    assert.equal(ctl("inspect", data, "--part", "nothing").code, 2);
    assert.equal(ctl("inspect", dir).code, 1);
  });

  await t.test("looking changes nothing, and a copy that is damaged is told", () => {
    const before = readdirSync(data, { recursive: true }).sort().join();
    const copy = join(dir, "copy");
    cpSync(data, copy, { recursive: true });
    const closed = readdirSync(join(copy, "raft")).find((name) => /^\d+-\d+$/.test(name));
    const file = join(copy, "raft", closed);
    const bytes = readFileSync(file);
    bytes[bytes.length - 1] ^= 1;
    writeFileSync(file, bytes);
    const log = ctl("inspect", copy, "--part", "log");
    assert.equal(log.code, 1);
    assert.match(log.out, /checksum/);
    const metadata = join(copy, "raft/metadata1");
    const other = readFileSync(metadata);
    other[20] ^= 1; // its term: later by 2^32, which no node promised
    writeFileSync(metadata, other);
    assert.match(ctl("inspect", copy, "--part", "log").out, /the file ballot says term \d+, vote \d+: it or metadata1 and 2 are damaged/);
    const mdb = join(copy, "store/data.mdb");
    const pages = readFileSync(mdb);
    const used = Array.from({ length: pages.length / 4096 }, (_, page) => page).filter((page) => page > 1 && pages.readBigUInt64LE(page * 4096) === BigInt(page));
    const told = used.filter((page) => {
      const other = Buffer.from(pages);
      other.fill(0x5a, page * 4096, (page + 1) * 4096);
      writeFileSync(mdb, other);
      const { code, out } = ctl("inspect", copy, "--part", "data");
      assert.ok(code === 0 || code === 1, `page ${page}: ${code} ${out}`); // it may have been free
      if (code === 1) assert.match(out, new RegExp(`damage .*data\\.mdb .*damaged at byte ${page * 4096} `));
      return code === 1;
    });
    assert.ok(told.length > 0, `${used}`);
    writeFileSync(mdb, pages);
    pages.fill(0x5a, 0, 8192);
    writeFileSync(mdb, pages);
    const rubbish = ctl("inspect", copy, "--part", "data");
    assert.equal(rubbish.code, 1, rubbish.out);
    assert.match(rubbish.out, /data\.mdb .* is damaged at byte 0: neither of its first two pages/);
    writeFileSync(mdb, readFileSync(join(data, "store/data.mdb")));
    truncateSync(mdb, 8192);
    const cut = ctl("inspect", copy, "--part", "data");
    assert.equal(cut.code, 1, cut.out);
    assert.match(cut.out, /damaged at byte \d+ .*the file ends before it/);
    assert.equal(readdirSync(data, { recursive: true }).sort().join(), before);
  });

  await t.test("b22_cut_data: a node whose data file was cut short ends with a sentence", async () => {
    const copy = join(dir, "cut");
    cpSync(data, copy, { recursive: true });
    truncateSync(join(copy, "store/data.mdb"), 8192);
    const node = await start("bb-storage", "--data", copy, "--listen", url, "--admin-listen", "off");
    const code = await new Promise((resolve) => node.once("exit", (code, by) => resolve(code ?? by)));
    assert.ok(code === 73 || code === 1, `${code}: ${node.text()}`);
    assert.match(node.text(), /data\.mdb cannot be read at byte \d+: it was cut short.*replace this node|bb-storage: .*data/);
  });
});
