// Parts of the runner by themselves: options, archives, floods of lines.
import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

import { pack } from "../../../libs/js/bitbend/cli/archive.js";
import { createLimiter } from "../../../services/runner/child/limiter.js";
import { unpack } from "../../../services/runner/code.js";
import { parseOptions } from "../../../services/runner/options.js";

test("options come from flags, the environment and their defaults; what is missing or wrong is said", () => {
  const env = { BITBEND_RUNNER_SLOTS: "3", BITBEND_ADMIN_KEY: "k" };
  const options = parseOptions(["--nats", "nats://h:1", "--gateway=http://a/, http://b", "--data", "d"], env);
  assert.deepEqual(options.gateways, ["http://a", "http://b"]);
  assert.equal(options.slots, 3);
  assert.equal(options["admin-key"], "k");
  assert.throws(() => parseOptions([], env), /--nats is missing/);
  assert.throws(() => parseOptions(["--colour", "red"], env), /--colour is no option/);
  assert.throws(() => parseOptions(["--slots"], env), /--slots needs a value/);
  assert.throws(() => parseOptions(["--slots", "many"], env), /many is no number from 1 to 1000/);
});

test("an archive is unpacked as it was packed, and never outside of its folder", async (t) => {
  const dir = mkdtempSync(join(tmpdir(), "bitbend-archive-"));
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  const files = [{ path: "a.js", bytes: Buffer.from("1;") }, { path: "sub/run", bytes: Buffer.from([0, 255, 10]), mode: 0o755 }, { path: "empty", bytes: Buffer.alloc(0) }];
  const { bytes, hash, parts } = pack("functions", files);
  assert.match(hash, /^[0-9a-f]{64}$/);
  assert.equal(parts, 1);
  await unpack(bytes, dir);
  for (const file of files) assert.deepEqual(readFileSync(join(dir, file.path)), file.bytes);
  assert.equal(statSync(join(dir, "sub/run")).mode & 0o777, 0o755);
  await assert.rejects(unpack(pack("evil", [{ path: "../out", bytes: Buffer.from("x") }]).bytes, dir), /damaged at \.\.\/out/);
  await assert.rejects(unpack(Buffer.from("no archive"), dir));
});

test("a flood of lines is cut to a burst and a trickle, and tells how many it dropped", () => {
  let now = 0;
  const sent = [];
  const limiter = createLimiter((lines) => sent.push(...lines), () => now);
  const flood = (count) => limiter.add(Array.from({ length: count }, (_, i) => ({ level: "log", text: String(i), time: now })));
  flood(5000);
  limiter.end();
  assert.equal(sent.filter(({ level }) => level === "log").length, 1000);
  assert.match(sent.at(-1).text, /^4000 log lines were dropped/);
  now = 2000;
  flood(500);
  limiter.end();
  assert.equal(sent.filter(({ level }) => level === "log").length, 1200);
  limiter.add([{ level: "log", text: "x".repeat(100_000), time: now }]);
  now = 3000;
  limiter.add([{ level: "log", text: "y".repeat(100_000), time: now }]);
  limiter.end();
  assert.ok(sent.every(({ text }) => text.length < 20_000));
});
