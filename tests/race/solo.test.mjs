// bb-solo built with ThreadSanitizer, under load from outside: any report fails the test.
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

process.env.BB_TEST_BUILD = "build/tsan";
const { ROOT, startSuite } = await import("../integration/js/suite.mjs");
const { eventually, mutation, query, subscribe } = await import("../integration/http/api.mjs");

test("no data race in the embedded suite under load, over a restart and a stop", async () => {
  const dir = mkdtempSync(join(tmpdir(), "bitbend-race-"));
  process.env.TSAN_OPTIONS = `log_path=${join(dir, "report")} suppressions='${join(ROOT, "tests/race/suppressions.txt")}'`;
  assert.ok(existsSync(join(ROOT, "build/tsan/bin/bb-solo")), "built by the race stage");
  const suite = await startSuite({
    mode: "solo",
    appDir: join(ROOT, "tests/integration/app"),
    options: { solo: { addon: join(ROOT, "build/release/bb_slot.node") } },
  });
  const { url } = suite;
  // Until it is answered, as clients do: this build is slow, and a call has 5 s.
  const surely = (call, path, args) => {
    const headers = call === mutation ? { "idempotency-key": randomUUID() } : {};
    return eventually(() => call(url, path, args, headers).then((value) => ({ value }))).then(({ value }) => value);
  };
  try {
    const streams = await Promise.all(Array.from({ length: 10 }, (_, i) => subscribe(url, "items:count", { group: `g${i % 3}` })));
    for (let round = 0; round < 2; round++) {
      await Promise.all(
        Array.from({ length: 16 }, async (_, client) => {
          for (let i = 0; i < 15; i++) {
            await surely(mutation, "items:add", { group: `g${i % 3}`, n: client * 100 + i });
            if (i % 3 === 0) await surely(mutation, "accounts:increment", { name: "hot" });
            await surely(query, "items:numbers", { group: `g${i % 3}` });
          }
        }),
      );
      if (round === 0) await suite.restart("solo", "SIGTERM");
    }
    for (const stream of streams) stream.close();
    assert.equal(await surely(query, "items:count", { group: "g0" }), 160);
  } finally {
    await suite.stop();
    const reports = readdirSync(dir).map((name) => readFileSync(join(dir, name), "utf8"));
    rmSync(dir, { recursive: true, force: true });
    assert.deepEqual(reports.map((text) => text.slice(0, 3000)), []);
  }
});
