// Data larger than memory: what storage holds of its own (without the pages of its data file, which the kernel takes back as
// it likes) does not grow with the data. MEMORY_DATA_MB says how much is written.
import assert from "node:assert/strict";
import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";

import { post, query } from "../http/api.mjs";
import { app } from "../http/modes.mjs";
import { startSuite } from "../js/suite.mjs";

const MB = 1024 * 1024;
const DATA_MB = Number(process.env.MEMORY_DATA_MB ?? 96);
const BODY = 96 * 1024;
const WRITERS = 8;
const MEMTABLE_MB = 4;

const anonymousMb = (pid) => Number(/^RssAnon:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))[1]) / 1024;

describe("data larger than memory", () => {
  let suite;
  before(async () => {
    suite = await startSuite({ mode: "processes", appDir: app, options: { storage: { "memtable-bytes": `${MEMTABLE_MB}M`, "retention-bytes": "32M" }, worker: { "cache-bytes": "32M" } } });
  });
  after(() => suite?.stop());

  /** Writes `megabytes` more; refusals of a store that has to catch up are waited for, as any client does. */
  let next = 0;
  async function write(megabytes) {
    const end = next + Math.ceil((megabytes * MB) / BODY);
    await Promise.all(Array.from({ length: WRITERS }, async () => {
      while (next < end) {
        const n = next++;
        const body = `${n} `.padEnd(BODY, "abcdefghijklmnopqrstuvwxyz");
        for (;;) {
          const { status, body: answer, text } = await post(suite.url, "/api/mutation", { path: "items:add", args: { group: "large", n, body } });
          if (status === 200) {
            assert.equal(answer.status, "success", text);
            break;
          }
          assert.equal(status, 503, text);
          await new Promise((resolve) => setTimeout(resolve, 50));
        }
      }
    }));
  }

  test("b24_larger_than_memory: storage's own memory does not follow the data", async (t) => {
    await write(DATA_MB / 3);
    const first = anonymousMb(suite.pid("storage"));
    await write((2 * DATA_MB) / 3);
    const last = anonymousMb(suite.pid("storage"));
    const file = statSync(join(suite.settings("storage").data, "store/data.mdb")).size / MB;
    t.diagnostic(`${first.toFixed(0)} MB after a third of the data, ${last.toFixed(0)} MB after all; the data file has ${file.toFixed(0)} MB, the worker ${anonymousMb(suite.pid("worker")).toFixed(0)} MB`);
    assert.ok(file > DATA_MB * 0.9, `${file} MB in the file`);
    assert.ok(last < first + DATA_MB / 3, `${first} MB, then ${last} MB`);
    assert.equal(await query(suite.url, "items:count", { group: "large" }), next);
    await suite.restart("storage");
    const again = anonymousMb(suite.pid("storage"));
    t.diagnostic(`${again.toFixed(0)} MB after a restart`);
    assert.ok(again < first + DATA_MB / 3, `${again} MB after a restart`);
  });
});
