/**
 * Random mutations, queries and subscriptions while processes are killed and paused; afterwards a model
 * that runs everything in the order of tx tells whether each answer was right.
 *
 * ORACLE_SEED: the choices of a run (random by default; printed). ORACLE_SECONDS: length of the load per
 * way to run the suite.
 */
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test } from "node:test";

import { app } from "../http/modes.mjs";
import { startSuite, suiteMissing } from "../js/suite.mjs";
import { toLines } from "./oracle/history.mjs";
import { record } from "./oracle/load.mjs";
import { verify } from "./oracle/verify.mjs";

const seed = Number(process.env.ORACLE_SEED ?? Math.floor(Math.random() * 2 ** 32));
const seconds = Number(process.env.ORACLE_SECONDS ?? 10);
const check = fileURLToPath(new URL("../../../build/release/test/check", import.meta.url));
function none(violations) {
  assert.ok(violations, "there is a history to judge");
  assert.deepEqual(violations.slice(0, 5), [], `${violations.length} violations with ORACLE_SEED=${seed}`);
}

/** What tests/checkers says of a history: lines, none when all is right. */
function judge(history) {
  const folder = mkdtempSync(join(tmpdir(), "bitbend-history-"));
  try {
    const file = join(folder, "history.jsonl");
    writeFileSync(file, toLines(history));
    const { status, stdout, stderr, error } = spawnSync(check, [file], { encoding: "utf8" });
    assert.ok(status === 0 || status === 1, `${check} runs: ${error ?? stderr}`);
    return stdout.split("\n").slice(1).filter((line) => line !== "");
  } finally {
    rmSync(folder, { recursive: true });
  }
}

for (const mode of ["solo", "processes"]) {
  describe(`random load and faults (${mode})`, { skip: suiteMissing() }, () => {
    let history;
    let found;

    test("the load ends, every call is answered, every subscription settles", async (t) => {
      t.diagnostic(`ORACLE_SEED=${seed} ORACLE_SECONDS=${seconds}`);
      const suite = await startSuite({ mode, appDir: app, gateways: 2 });
      t.after(() => suite.stop());
      try {
        history = await record(suite, { seed, seconds });
      } catch (error) {
        error.message += `\nORACLE_SEED=${seed}\n${suite.logs()}`;
        throw error;
      }
      found = verify(history);
      const pushes = history.seen.filter(({ from }) => from.startsWith("subscription")).length;
      const views = history.seen.filter(({ from }) => from.startsWith("session")).length;
      t.diagnostic(`${history.mutations.length} mutations, ${history.looks.length} looks, ${history.failures.length} failures, ${history.seen.length - pushes - views} queries, ${pushes} pushes, ${views} results in views of sessions, ${history.repeats.length} repeats`);
      t.diagnostic(`faults: ${history.faults.join(", ")}`);
      assert.ok(history.mutations.length > 50 && pushes > 100 && views > 100 && history.faults.length > 1, "there was load");
    });
    test("b13_serializable_oracle: each mutation saw the state just before its tx, in real-time order", () => none(found?.serializable));
    test("b18_as_of_oracle: each pushed value and each answer is the query at its tx", () => none(found?.asOf));
    test("b19_one_moment_oracle: all that a session shows is its queries at one tx, and its tx never goes back", () => none(found?.asOf.filter((text) => text.startsWith("session"))));
    test("b22_acknowledged_oracle: nothing acknowledged is lost, nothing is applied twice", () => none(found?.lost));

    test("b13_serializable_cycles: the checkers of the simulator find no cycle, no anomaly and nothing done twice", () => {
      assert.ok(history, "there is a history to judge");
      assert.deepEqual(judge(history).slice(0, 5), [], `ORACLE_SEED=${seed}`);
      const copy = structuredClone(history);
      const twice = copy.mutations.find(({ name, value }) => name === "append" && value.reads.length > 0);
      copy.mutations.push({ ...twice, key: `${twice.key}-again`, tx: copy.mutations.at(-1).tx + 1 });
      assert.ok(judge(copy).length > 0, "they see an append that happened twice");
    });

    test("the oracle sees what is wrong: a history with one lie in it", () => {
      assert.ok(history, "there is a history to spoil");
      const lie = (change) => {
        const copy = structuredClone(history);
        change(copy);
        const { serializable, asOf, lost } = verify(copy);
        return serializable.length + asOf.length + lost.length;
      };
      const middle = (list, test = () => true) => {
        const at = list.findIndex((one, i) => i >= list.length / 2 && test(one));
        return at < 0 ? list.findIndex(test) : at;
      };
      assert.equal(lie(() => {}), found.serializable.length + found.asOf.length + found.lost.length);
      const isInsert = ({ name }) => name === "insert";
      assert.ok(lie(({ mutations }) => mutations.splice(middle(mutations, isInsert), 1)) > 0, "a mutation that nobody sent");
      assert.ok(lie(({ mutations }) => mutations.push({ ...mutations[middle(mutations, isInsert)], tx: mutations.at(-1).tx + 1 })) > 0, "one applied twice");
      assert.ok(lie(({ seen }) => (seen[middle(seen, ({ question }) => question === "count")].value += 1)) > 0, "a wrong answer");
      assert.ok(lie(({ mutations }) => (mutations[middle(mutations)].tx = mutations[0].tx)) > 0, "a tx given twice");
      assert.ok(lie(({ seen, mutations }) => (seen[middle(seen, ({ isNewest }) => isNewest)].tx = mutations[0].tx - 1)) > 0, "an old answer");
      const isView = ({ from, question, value }) => from.startsWith("session") && question === "list" && value.length > 0;
      assert.ok(lie(({ seen, mutations }) => (seen[middle(seen, isView)].tx = mutations[0].tx - 1)) > 0, "one query of a session at another moment");
      const isAppend = ({ name, value }) => name === "append" && value.reads.some((read) => read.value.length > 0);
      assert.ok(lie(({ mutations }) => mutations[middle(mutations, isAppend)].value.reads.find((read) => read.value.length > 0).value.pop()) > 0, "a lost update");
    });
  });
}
