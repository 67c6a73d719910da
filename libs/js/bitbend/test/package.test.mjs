import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { readdirSync, readFileSync, statSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

const PACKAGE = join(dirname(fileURLToPath(import.meta.url)), "..");

test("k19_one_package: require and import give the same objects", async () => {
  const require = createRequire(import.meta.url);
  for (const entry of ["", "/server", "/values", "/client"]) {
    const imported = await import(`bitbend${entry}`);
    const required = require(`bitbend${entry}`);
    for (const name of Object.keys(imported)) assert.equal(required[name], imported[name], `${entry} ${name}`);
  }
  assert.equal(require("bitbend").Client, (await import("bitbend")).Client);
});

test("p4_only_the_database: no example has a broker, a store or a socket of its own beside it", () => {
  const examples = join(PACKAGE, "../../../docs/examples");
  const names = readdirSync(examples);
  assert.ok(names.length > 5);
  for (const name of names) {
    const { dependencies = {}, devDependencies = {} } = JSON.parse(readFileSync(join(examples, name, "package.json"), "utf8"));
    for (const [needed, from] of Object.entries({ ...dependencies, ...devDependencies })) {
      assert.ok(from.startsWith("file:") || needed.startsWith("@types/"), `${name} needs ${needed}`);
    }
    const files = sources(join(examples, name), "", /\.(m?[jt]s|tsx|html)$/).filter((file) => !/(^|\/)(_generated|\.bitbend)\//.test(file));
    assert.ok(files.length > 1, name);
    for (const file of files) {
      const text = readFileSync(join(examples, name, file), "utf8");
      assert.doesNotMatch(text, /\b(ioredis|redis|kafkajs|amqplib|mqtt|LISTEN|NOTIFY|BroadcastChannel|EventEmitter|new WebSocket|new EventSource)\b/, `${name}/${file}`);
    }
  }
});

test("k19_one_package: a CommonJS program can require it without a flag", () => {
  const program = `const { Client, v } = require(${JSON.stringify(join(PACKAGE, "index.js"))}); console.log(typeof Client, v.string().kind)`;
  assert.equal(execFileSync(process.execPath, ["-e", program], { encoding: "utf8" }).trim(), "function string");
});

test("k20_plain_modules: what applications import has no dependency, no build step and no Node.js module", () => {
  for (const file of sources(PACKAGE)) {
    if (/^(bin|cli|test|node_modules)\//.test(file)) continue;
    const text = readFileSync(join(PACKAGE, file), "utf8");
    for (const [, from] of text.matchAll(/^\s*(?:import|export)[^;]*? from "([^"]+)"/gm)) {
      const isPeer = file.startsWith("react/") && from === "react";
      // The bundler puts these files into an application, where the package has its name.
      const isOwn = file.startsWith("convex/") && /^bitbend\/(server|values)$/.test(from);
      assert.ok(from.startsWith(".") || isPeer || isOwn, `${file} imports ${from}`);
    }
    assert.ok(!/^await /m.test(text), `${file}: top-level await breaks require()`);
    // What is used only where it is there is not needed.
    const code = text.replace(/\/\*[\s\S]*?\*\/|\/\/.*|globalThis\.Buffer\?\./g, "");
    assert.ok(!/\b(Buffer|process)\b/.test(code), `${file} uses Node.js`);
  }
});

test("every entry has types", () => {
  const { exports } = JSON.parse(readFileSync(join(PACKAGE, "package.json"), "utf8"));
  for (const entry of Object.values(exports)) {
    if (typeof entry === "object") for (const file of Object.values(entry)) assert.ok(statSync(join(PACKAGE, file)).isFile());
  }
});

test("the error codes of the types are those of the status table", () => {
  const table = readFileSync(join(PACKAGE, "../../base/include/bb/status.h"), "utf8");
  const rows = [...table.matchAll(/X\(BB_\w+, (\d+), (\d+), "(\w+)", (IN|OUT)/g)];
  const types = readFileSync(join(PACKAGE, "client/codes.d.ts"), "utf8");
  const namesOf = (type) => [...types.split(`type ${type} =`)[1].split(";")[0].matchAll(/"(\w+)"/g)].map(([, name]) => name);
  assert.ok(rows.length > 40);
  assert.deepEqual(namesOf("FunctionErrorCode"), rows.filter(([, , , , place]) => place === "IN").map(([, , , name]) => name));
  // Numbers from 40 to 59 stay inside the suite.
  const isSeen = ([, wire, http, , place]) => place === "OUT" && http !== "200" && Number(wire) < 40;
  assert.deepEqual(namesOf("RequestErrorCode"), rows.filter(isSeen).map(([, , , name]) => name));
});

test("the lock file names no server", () => {
  assert.ok(!readFileSync(join(PACKAGE, "package-lock.json"), "utf8").includes('"resolved": "http'));
});

test("k21_node_versions: what applications import is understood by Node.js 20.19 and by browsers", async () => {
  const { engines } = JSON.parse(readFileSync(join(PACKAGE, "package.json"), "utf8"));
  assert.equal(engines.node, ">=20.19");
  const { transform } = await import("esbuild");
  for (const file of sources(PACKAGE)) {
    if (/^(bin|cli|test|node_modules)\//.test(file)) continue;
    const text = readFileSync(join(PACKAGE, file), "utf8");
    // esbuild rewrites these for every target, though all of them know them.
    const supported = { "regexp-unicode-property-escapes": true };
    const as = async (target) => (await transform(text, { target, supported, format: "esm" })).code;
    assert.ok((await as(["node20.19", "chrome109", "firefox115"])) === (await as("esnext")), `${file} has newer syntax`);
  }
});

test("k21_node_versions: the program can be parsed by an old Node.js, and says which one it needs", () => {
  const text = readFileSync(join(PACKAGE, "bin/bitbend.cjs"), "utf8");
  assert.ok(!/=>|\bconst\b|\blet\b|`|\?\?|\?\./.test(text.replace(/\/\/.*/g, "")));
  const shim = `Object.defineProperty(process.versions, "node", { value: "18.20.0" }); require(${JSON.stringify(join(PACKAGE, "bin/bitbend.cjs"))});`;
  const { status, stderr } = spawnSync(process.execPath, ["-e", shim], { encoding: "utf8" });
  assert.equal(status, 1);
  assert.match(stderr, /^bitbend needs Node\.js 20\.19 or newer.*\n$/);
});

function sources(folder, below = "", kind = /\.js$/) {
  return readdirSync(join(folder, below), { withFileTypes: true }).flatMap((entry) => {
    const file = below === "" ? entry.name : `${below}/${entry.name}`;
    if (entry.isDirectory()) return entry.name === "node_modules" ? [] : sources(folder, file, kind);
    return kind.test(file) ? [file] : [];
  });
}

test("the client takes less than 15 KB, minified and compressed", async () => {
  const { build } = await import("esbuild");
  const { gzipSync } = await import("node:zlib");
  const { outputFiles } = await build({ entryPoints: [join(PACKAGE, "client/index.js")], bundle: true, minify: true, format: "esm", platform: "browser", write: false });
  const size = gzipSync(outputFiles[0].contents).length;
  assert.ok(size < 15 * 1024, `${size} bytes`);
});
