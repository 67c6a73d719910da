// Every function of every example, and a few hundred pure ones, run twice and more: the same reads, writes, result
// and log lines to the byte. A mutation that ran before and was thrown away, as after a conflict, leaves no trace.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { cpSync, existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

import { createBundler } from "../../../libs/js/bitbend/cli/bundle.js";
import { generate } from "../../../libs/js/bitbend/cli/codegen.js";
import { makeApp } from "../../functions/app.mjs";
import { ROOT } from "../js/suite.mjs";
import { STATUS, Slot } from "./harness.js";

const EXAMPLES = join(ROOT, "docs/examples");
const bytes = (text) => createHash("sha256").update(text).digest().subarray(0, 16);

async function bundle(appDir) {
  const functionsDir = join(appDir, "bitbend");
  generate(functionsDir);
  const bundler = createBundler({ appDir, functionsDir });
  try {
    return (await bundler.build()).modules;
  } finally {
    await bundler.dispose();
  }
}

async function slotWith(modules) {
  const slot = new Slot();
  await slot.ready;
  const deployed = await slot.mutation("_system:deploy", { modules }, { seed: bytes("deploy"), requestId: bytes("deploy") });
  assert.equal(deployed.status, STATUS.OK, deployed.error);
  slot.deploy();
  return slot;
}

/** A value that a validator takes; ids are those of documents that are there. */
function sample(type, slot, tables, n) {
  switch (type.type) {
    case "id": {
      const rows = slot.store.documents(tables.get(type.tableName) ?? 0);
      return rows.length === 0 ? "none" : rows[n % rows.length]._id;
    }
    case "null": return null;
    case "number": return n;
    case "bigint": return BigInt(n);
    case "boolean": return n % 2 === 0;
    case "string": return `text ${n % 3}`;
    case "bytes": return new Uint8Array([n]).buffer;
    case "literal": return type.value;
    case "array": return [0, 1].map((i) => sample(type.value, slot, tables, n + i));
    case "union": return sample(type.value[n % type.value.length], slot, tables, n);
    case "record": return { key: sample(type.values.fieldType, slot, tables, n) };
    case "object": {
      const fields = Object.entries(type.value).filter(([, { optional }]) => !optional || n % 2 === 0);
      return Object.fromEntries(fields.map(([name, { fieldType }]) => [name, sample(fieldType, slot, tables, n)]));
    }
    default: return { any: n };
  }
}

const comparable = ({ status, error, stack, value, errorData, reads, logs, bodyBytes, sawIdentity, sawRandom, sawTime, rows }) =>
  ({ status, error, stack, value, errorData, reads, logs, body: bodyBytes.toString("hex"), sawIdentity, sawRandom, sawTime, rows });

/** Slot `once` runs each call once; slot `often` three times, of which the last counts. */
async function compare(modules, rounds) {
  const once = await slotWith(modules);
  const often = await slotWith(modules);
  const functions = once.store.documents(3).filter(({ kind }) => kind === "query" || kind === "mutation");
  const tables = new Map(once.store.documents(1).map(({ name, number }) => [name, Number(number)]));
  let count = 0;
  let succeeded = 0;
  for (let round = 0; round < rounds; round++) {
    for (const { path, kind, args } of functions) {
      const given = args === null || args === undefined ? {} : sample(JSON.parse(args), once, tables, round);
      const options = { seed: bytes(`seed ${path} ${round}`), requestId: bytes(`${path} ${round}`), wantsTrace: false };
      const wanted = comparable(await once.call(kind, path, given, options));
      for (const isDry of [true, true, false]) {
        assert.deepEqual(comparable(await often.call(kind, path, given, { ...options, isDry })), wanted, `${path}, round ${round}`);
      }
      count++;
      succeeded += wanted.status === STATUS.OK ? 1 : 0;
    }
  }
  await Promise.all([once.stop(), often.stop()]);
  return { count, succeeded };
}

/** A copy of an example, with its own packages installed. */
function install(name) {
  const dir = mkdtempSync(join(tmpdir(), "bitbend-example-"));
  cpSync(join(EXAMPLES, name, "bitbend"), join(dir, "bitbend"), { recursive: true });
  const packages = join(EXAMPLES, name, "packages");
  if (existsSync(packages)) cpSync(packages, join(dir, "node_modules"), { recursive: true });
  return dir;
}

for (const name of readdirSync(EXAMPLES).filter((folder) => existsSync(join(EXAMPLES, folder, "bitbend")))) {
  test(`b15_determinism: every function of the example ${name}`, async () => {
    const dir = install(name);
    try {
      const { count, succeeded } = await compare(await bundle(dir), 4);
      assert.ok(count > 0 && succeeded > 0, `${succeeded} of ${count} calls succeeded`);
    } finally {
      rmSync(dir, { recursive: true });
    }
  });
}

test("b15_determinism: every pure function of tests/functions", async () => {
  const app = await makeApp({ hasPure: true });
  try {
    const modules = (await bundle(app.dir)).filter(({ path }) => !/^(limits|debug|hostile|smuggle|wasm)\.js$/.test(path));
    const { count, succeeded } = await compare(modules, 1);
    assert.ok(count > 150 && succeeded > 150, `${succeeded} of ${count}`);
  } finally {
    app.remove();
  }
});
