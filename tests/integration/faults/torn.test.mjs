// What a crash may leave at the end of the log, and what only a broken disk leaves: the node starts with all
// that was acknowledged, or it refuses with a sentence. It never starts with less.
import assert from "node:assert/strict";
import { cpSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";

import { eventually } from "../http/api.mjs";
import { app } from "../http/modes.mjs";
import { startSuite } from "../js/suite.mjs";
import { verify, writers } from "./ledger.mjs";

const BLOCK = 4096;

/** The segment that was being written: its path, bytes and where what was written ends. */
function openSegment(data) {
  const dir = join(data, "raft");
  const segments = readdirSync(dir)
    .filter((name) => name.startsWith("open-"))
    .map((name) => {
      const path = join(dir, name);
      const bytes = readFileSync(path);
      let end = bytes.length;
      while (end > 0 && bytes[end - 1] === 0) end--;
      return { path, bytes, end };
    });
  return segments.filter(({ end }) => end > BLOCK).sort((a, b) => (a.path < b.path ? 1 : -1))[0];
}

describe("the end of the log after a crash (processes)", () => {
  let suite;
  let load;
  let saved;
  before(async () => {
    // Nothing is flushed meanwhile: the log alone has what was acknowledged.
    suite = await startSuite({ mode: "processes", appDir: app, options: { storage: { "flush-ms": 60000 } } });
    load = writers(suite.url, "torn", 6);
    await eventually(() => load.acknowledged.size > 150);
    await suite.kill("storage");
    const stopped = load.stop();
    load.early = new Set(load.acknowledged); // what comes later is acknowledged by another life of the folder
    saved = join(suite.dir, "saved");
    cpSync(join(suite.dir, "data"), saved, { recursive: true });
    await suite.start("storage");
    await stopped;
  });
  after(() => suite?.stop());

  /** Starts on the saved folder after `harm`; what the node said, and whether it serves. */
  async function startAfter(harm) {
    await suite.kill();
    const data = join(suite.dir, "data");
    rmSync(data, { recursive: true });
    cpSync(saved, data, { recursive: true });
    const segment = openSegment(data);
    assert.ok(segment, "there is a segment with entries");
    harm(segment);
    writeFileSync(segment.path, segment.bytes);
    const child = suite.startWith("storage", {});
    const said = await Promise.race([child.ready.then(() => "ready"), child.exited]);
    if (said === "ready") await suite.start();
    return said;
  }
  /** All that was acknowledged before the copy was made is there. */
  async function hasAll() {
    const early = { acknowledged: load.early, sent: load.sent };
    await verify(suite.url, "torn", early);
  }

  test("b22_torn_tail: half a write after the last entry is cut off", async () => {
    for (const size of [7, 100, 5 * BLOCK + 13]) {
      const said = await startAfter(({ bytes, end }) => {
        const at = Math.ceil(end / 8) * 8;
        // The beginning of what a batch looks like, then noise.
        bytes.copy(bytes, at, 8, 8 + Math.min(size, 24));
        for (let i = 24; i < size; i++) bytes[at + i] = (i * 37 + 11) & 255;
      });
      assert.equal(said, "ready", `${size} bytes: ${suite.logs()}`);
      await hasAll();
    }
  });

  test("b22_damaged_log: a damaged entry with whole ones after it is refused, and nothing is changed", async () => {
    for (const share of [0.1, 0.5, 0.9]) {
      const said = await startAfter(({ bytes, end }) => {
        bytes[8 + Math.floor((end - 8) * share)] ^= 0x40;
      });
      assert.notEqual(said, "ready", `a log damaged at ${share} was taken`);
      assert.match(suite.logs(), /bb-storage: .*damaged/);
    }
    assert.equal(await startAfter(() => {}), "ready");
    await hasAll();
  });
});
