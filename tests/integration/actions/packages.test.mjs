// npm packages with machine code travel with the deploy, and run on a runner that has nothing but what was deployed.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, before, describe, test } from "node:test";

import { ROOT } from "../js/suite.mjs";
import { actionsMissing, startStand } from "./stand.mjs";

const INCLUDE = join(ROOT, `services/worker/node_modules/node-linux-${process.arch === "arm64" ? "arm64" : "x64"}/include/node`);
const skip = actionsMissing() || (existsSync(INCLUDE) ? false : "the headers of Node.js are missing");

const ADDON = `
#include <node_api.h>
static napi_value twice(napi_env env, napi_callback_info info)
{
    size_t count = 1; napi_value arg, result; double number = 0;
    napi_get_cb_info(env, info, &count, &arg, NULL, NULL);
    napi_get_value_double(env, arg, &number);
    napi_create_double(env, 2 * number, &result);
    return result;
}
NAPI_MODULE_INIT()
{
    napi_value function;
    napi_create_function(env, "twice", NAPI_AUTO_LENGTH, twice, NULL, &function);
    napi_set_named_property(env, exports, "twice", function);
    return exports;
}
`;

/** An application with a native package that needs another package, and a pure one. */
function makeApp(dir) {
  const files = {
    "package.json": "{}",
    "bitbend/n.ts": `
      import { action, query } from "bitbend/server";
      import native from "native-twice";
      import { shout } from "pure-shout";
      export const twice = action(async (_, { n }) => native.twice(n));
      export const loud = query(async () => shout("ok"));
      export const tries = query(async () => native.twice(1));
    `,
    "bitbend/only.ts": `
      "use node";
      import { action } from "bitbend/server";
      import { v } from "bitbend/values";
      import native from "native-twice";
      const atLoad = native.twice(21);
      export const loaded = action({ args: {}, returns: v.number(), handler: async () => atLoad });
    `,
    "node_modules/native-twice/package.json": JSON.stringify({ name: "native-twice", version: "1.0.0", main: "index.js", dependencies: { "its-helper": "1.0.0" } }),
    "node_modules/native-twice/index.js": 'const { load } = require("its-helper"); module.exports = load(require.resolve("./build/Release/twice.node"));',
    "node_modules/its-helper/package.json": JSON.stringify({ name: "its-helper", version: "1.0.0", main: "index.js" }),
    "node_modules/its-helper/index.js": "exports.load = (file) => require(file);",
    "node_modules/pure-shout/package.json": JSON.stringify({ name: "pure-shout", version: "1.0.0", main: "index.js" }),
    "node_modules/pure-shout/index.js": 'exports.shout = (text) => text.toUpperCase() + "!";',
    "twice.c": ADDON,
  };
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(dir, name)), { recursive: true });
    writeFileSync(join(dir, name), text);
  }
  symlinkSync(join(ROOT, "libs/js/bitbend"), join(dir, "node_modules/bitbend"));
  mkdirSync(join(dir, "node_modules/native-twice/build/Release"), { recursive: true });
  execFileSync("cc", ["-shared", "-fPIC", "-I", INCLUDE, "-o", join(dir, "node_modules/native-twice/build/Release/twice.node"), join(dir, "twice.c")]);
}

describe("packages of actions", { skip }, () => {
  let stand;
  let dir;
  before(async () => {
    dir = mkdtempSync(join(tmpdir(), "bitbend-packages-"));
    makeApp(dir);
    stand = await startStand({ appDir: dir });
    rmSync(join(dir, "node_modules"), { recursive: true, force: true }); // the runner has what was deployed, no more
  });
  after(async () => {
    await stand?.stop();
    rmSync(dir, { recursive: true, force: true });
  });
  const ask = async (kind, path, args = {}) => (await stand.http(`/api/${kind}`, { body: { path, args } })).json;

  test("b6_a native package works in actions of a file that holds queries, too", async () => {
    assert.equal((await ask("action", "n:twice", { n: 4 })).value, 8);
    assert.equal((await ask("query", "n:loud")).value, "OK!");
  });

  test("in a query it throws, and says why", async () => {
    assert.match((await ask("query", "n:tries")).errorMessage, /native-twice\.twice is available in actions only/);
  });

  test("\"use node\": it may be used while the file is loaded", async () => {
    assert.equal((await ask("action", "only:loaded")).value, 42);
    const functions = await stand.call("_system:functions");
    assert.equal(functions.find(({ path }) => path === "only:loaded").kind, "action");
    assert.match((await ask("action", "only:loaded", { more: 1 })).errorMessage, /more/);
  });
});
