// Starts the self-test add-on in a process of its own and gives back what each call came to.
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { arch } from "node:process";
import { fileURLToPath } from "node:url";
import { join } from "node:path";

const root = fileURLToPath(new URL("../../../", import.meta.url));
const mode = process.env.MODE ?? "release";
const prefix = join(root, "services/worker/node_modules", `node-linux-${arch === "arm64" ? "arm64" : "x64"}`);
const node = process.env.NODE ?? join(prefix, "bin/node");
const addon = join(root, "build", mode, "test/bb_vm_test.node");
const asan = mode === "asan" ? { LD_PRELOAD: process.env.LIBASAN ?? "libasan.so.8", ASAN_OPTIONS: "detect_leaks=0", BB_SLOT_PLAIN_LOAD: "1" } : {};

export const FLAGS = [
  "--v8-pool-size=1", "--disable-sigusr1", "--no-wasm-async-compilation", "--wasm-max-mem-pages=1024",
];

/** Runs `input` ({modules, calls, heapMb?, seal?}); resolves to {results, code, signal, stderr}. */
export function run(input) {
  if (!existsSync(addon)) {
    throw new Error(`${addon} is missing: run make MODE=${mode} programs`);
  }
  return new Promise((resolve, reject) => {
    const child = spawn(node, [...FLAGS, join(root, "services/worker/slot.cjs"), addon], {
      env: { TZ: "UTC", LANG: "C", ...asan },
      stdio: ["pipe", "pipe", "pipe"],
    });
    const out = [];
    const err = [];
    child.stdout.on("data", (chunk) => out.push(chunk));
    child.stderr.on("data", (chunk) => err.push(chunk));
    child.on("error", reject);
    child.on("close", (code, signal) => {
      const lines = Buffer.concat(out).toString().split("\n").filter((line) => line !== "");
      resolve({ results: lines.map((line) => JSON.parse(line)), code, signal, stderr: Buffer.concat(err).toString() });
    });
    child.stdin.end(JSON.stringify(input));
  });
}

/** One module `m.js` with these exports (JavaScript texts of functions), each called once in order. */
export async function callEach(functions, options = {}) {
  const { calls = {}, prelude = "", ...rest } = options;
  const source = `"use strict";\n${prelude}\n` +
    Object.entries(functions).map(([name, text]) => `exports.${name} = ${text};`).join("\n");
  const outcome = await run({
    modules: [{ path: "m.js", source, map: "" }],
    calls: Object.keys(functions).map((name) => ({ path: `m:${name}`, args: {}, nowMs: 1700000000000, ...calls[name] })),
    ...rest,
  });
  const byName = {};
  Object.keys(functions).forEach((name, index) => {
    byName[name] = outcome.results[index];
  });
  return { ...outcome, byName };
}
