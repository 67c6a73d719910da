import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

import { generate } from "../cli/codegen.js";

const HERE = dirname(fileURLToPath(import.meta.url));
const TSC = join(HERE, "../../../../tests/node_modules/typescript/bin/tsc");

/** test/types holds right code and, behind @ts-expect-error, wrong code: either kind can break this. */
test("types lead from the schema to every call, without a cast", { skip: !existsSync(TSC) && "tests/node_modules is not installed" }, () => {
  generate(join(HERE, "types/bitbend"));
  const { status, stdout } = spawnSync(process.execPath, [TSC, "-p", join(HERE, "types")], { encoding: "utf8" });
  assert.equal(status, 0, stdout);
});
