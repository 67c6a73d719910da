// Console lines and errors of calls, from all workers, as `bitbend logs` shows them.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";

import { ROOT, eventually, startSuite } from "../integration/js/suite.mjs";

const FUNCTIONS = {
  "logs.ts": `
    import { mutation, query } from "./_generated/server";
    export const levels = query((ctx, { mark }: { mark: string }) => {
      console.debug(mark, "debug"); console.log(mark, { n: 1 }); console.info(mark, "info"); console.warn(mark, "warn"); console.error(mark, "error");
      return null;
    });
    export const fails = query((ctx, { mark }: { mark: string }): null => { console.log(mark); throw new Error("failed on purpose"); });
    export const line = query((ctx, { mark }: { mark: string }) => { console.log(mark); return null; });
    export const many = query((ctx, { mark }: { mark: string }) => { for (let i = 0; i < 1000; i++) console.log(mark, i); return null; });
    export const long = query((ctx, { mark }: { mark: string }) => { console.log(mark + "\\u00e4".repeat(5000)); return null; });
    export const add = mutation(async (ctx, { mark }: { mark: string }) => {
      const before = await ctx.db.getByKey("counters", "one");
      const value = ((before?.value as number | undefined) ?? 0) + 1;
      console.log(mark, value);
      await ctx.db.put("counters", "one", { value });
      return value;
    });
  `,
  "schema.ts": `import { defineSchema, defineTable } from "bitbend/server"; import { v } from "bitbend/values";
    export default defineSchema({ counters: defineTable({ value: v.number() }) });`,
};

describe("logs: what calls said", () => {
  let suite;
  let marks = 0;
  const newMark = () => `mark-${++marks}-of-the-test`;
  before(async () => {
    suite = await startSuite({ mode: "processes", memory: true, functions: FUNCTIONS, workers: 2 });
  });
  after(() => suite?.stop());

  /** The entries that have the mark in a line, once there are `count`. */
  const entriesOf = async (mark, count = 1) => {
    let found;
    await eventually(async () => {
      let cursor = "0";
      found = [];
      for (;;) {
        const answer = await suite.admin.logs({ cursor });
        found.push(...answer.entries.filter(({ lines }) => lines?.some(({ text }) => text.includes(mark))));
        if (answer.cursor === cursor || answer.entries.length === 0) return found.length >= count;
        cursor = answer.cursor;
      }
    }, { what: `${count} entries with ${mark}` });
    return found;
  };
  const cli = (...words) => spawn(process.execPath, [join(ROOT, "libs/js/bitbend/bin/bitbend.cjs"), ...words, "--url", suite.url, "--admin-key", suite.adminKey], { cwd: suite.dir });

  test("logs: each line has its level, in the order of the call", async () => {
    const mark = newMark();
    await suite.call("logs:levels", { mark });
    const [{ path, lines }] = await entriesOf(mark);
    assert.match(path, /^logs(\.js)?:levels$/);
    assert.deepEqual(lines.map(({ level }) => level.toUpperCase()), ["DEBUG", "LOG", "INFO", "WARN", "ERROR"]);
    assert.match(lines[1].text, /n: 1|"n":1/);
  });

  test("logs: a call that fails is there with its error and what it had said", async () => {
    const mark = newMark();
    await assert.rejects(suite.call("logs:fails", { mark }));
    const [{ error, lines }] = await entriesOf(mark);
    assert.match(error, /failed on purpose/);
    assert.equal(lines.length, 1);
  });

  test("logs: lines of all workers, each once, in the order of time", async () => {
    const mark = newMark();
    await Promise.all(Array.from({ length: 60 }, (_, n) => suite.call("logs:line", { mark: `${mark} ${n};` })));
    const entries = await entriesOf(mark, 60);
    assert.equal(entries.length, 60);
    assert.equal(new Set(entries.map(({ lines }) => lines[0].text)).size, 60);
    const answer = await suite.admin.logs({ cursor: "0" });
    assert.deepEqual(answer.cursor.split(".").length, 2, "one number for each worker");
    assert.ok(answer.cursor.split(".").every((part) => Number(part) > 0), `both workers ran calls: ${answer.cursor}`);
    const times = answer.entries.map(({ time }) => time);
    assert.deepEqual(times, [...times].sort((a, b) => a - b));
    assert.deepEqual((await suite.admin.logs({ cursor: answer.cursor })).entries, [], "nothing comes twice");
  });

  test("logs: a call that says too much is cut, and says so", async () => {
    const mark = newMark();
    await suite.call("logs:many", { mark });
    const [{ lines }] = await entriesOf(mark);
    assert.ok(lines.length <= 257, `${lines.length} lines`);
    assert.match(lines.at(-1).text, /dropped/);
    await suite.call("logs:long", { mark: `${mark}-long` });
    const [long] = await entriesOf(`${mark}-long`);
    assert.ok(Buffer.byteLength(long.lines[0].text) <= 4096);
    assert.doesNotMatch(long.lines[0].text, /\ufffd/, "it is cut between characters");
  });

  test("logs: a mutation that ran again has left no lines of the runs before", async () => {
    const mark = newMark();
    const values = await Promise.all(Array.from({ length: 40 }, () => suite.call("logs:add", { mark: `${mark};` })));
    const entries = await entriesOf(mark, 40);
    const said = entries.map(({ lines }) => lines.map(({ text }) => Number(text.split("; ")[1]))).flat();
    assert.equal(entries.length, 40);
    assert.deepEqual(said.sort((a, b) => a - b), values.sort((a, b) => a - b));
    assert.equal(new Set(said).size, 40);
  });

  test("logs: without the admin key there are none", async () => {
    const { status } = await suite.http("/api/admin/logs?cursor=0", { method: "GET" });
    assert.ok(status === 401 || status === 403, String(status));
  });

  test("logs: the command line shows what is there, and follows until Ctrl-C", async () => {
    const before = newMark();
    await suite.call("logs:levels", { mark: before });
    await entriesOf(before);
    const child = cli("logs", "--follow");
    let out = "";
    child.stdout.on("data", (chunk) => (out += chunk));
    const ended = new Promise((resolve) => child.on("close", resolve));
    try {
      await eventually(() => out.includes(before), { what: "the lines that were there" });
      const mark = newMark();
      await suite.call("logs:levels", { mark });
      await eventually(() => out.split(mark).length > 5, { what: "the new lines" });
      for (const level of ["DEBUG", "LOG", "INFO", "WARN", "ERROR"]) assert.match(out, new RegExp(`logs\\S*:levels \\[${level}\\] ${mark}`));
      assert.equal(out.split(mark).length, 6, "each line once");
    } finally {
      child.kill("SIGINT");
    }
    assert.equal(await ended, 0);
  });
});
