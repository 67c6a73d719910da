// Which modules one instance of may serve all calls (libs/vm/js/sharing.js): the proof is about the text
// alone, so these tests bundle a module as a deploy does and ask.
import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";

const ROOT = join(dirname(fileURLToPath(import.meta.url)), "../../..");
const { createBundler } = await import(join(ROOT, "libs/js/bitbend/cli/bundle.js"));
const internals = {};
new Function("host", "internals", readFileSync(join(ROOT, "libs/vm/js/sharing.js"), "utf8"))(null, internals);

const app = mkdtempSync(join(tmpdir(), "bb-sharing-"));
mkdirSync(join(app, "node_modules"));
symlinkSync(join(ROOT, "libs/js/bitbend"), join(app, "node_modules/bitbend"));
after(() => rmSync(app, { recursive: true, force: true }));

async function whyNot(text, others = {}) {
  const functionsDir = mkdtempSync(join(app, "f-"));
  const files = { "m.ts": `import { query, mutation } from "bitbend/server";\nimport { v } from "bitbend/values";\n${text}`, ...others };
  for (const [name, content] of Object.entries(files)) writeFileSync(join(functionsDir, name), content);
  const bundler = createBundler({ appDir: app, functionsDir });
  const { modules } = await bundler.build();
  await bundler.dispose();
  const verdict = (path) => internals.sharingOf(modules.find((module) => module.path === path).source, (name) => {
    if (name.startsWith("bitbend/")) return "own import";
    const { why, isOwn } = verdict(name.replace(/^\.\//, ""));
    return isOwn ? "own import" : why === "" ? "import" : "";
  });
  return verdict("m.js").why;
}

const SHARED = {
  "functions, constants and helpers": `
    const LIMIT = 5 * 60; const name = (key: number) => \`counter/\${key}\`;
    function double(n: number) { let twice = n; twice *= 2; return twice; }
    export const get = query({ args: { key: v.number() }, handler: async (ctx, { key = 1 }) => [name(double(key)), LIMIT] });`,
  "a list that is only looked at": `
    const COLOURS = ["red", "green"];
    export const list = query(() => COLOURS.map((colour) => colour + COLOURS.length).concat([...COLOURS]));`,
  "a table of settings": `
    const LIMITS = { rows: 10, bytes: 20 };
    export const get = query((ctx, { what }: any) => [LIMITS.rows, (LIMITS as any)[what], Object.keys(LIMITS)]);`,
  "regular expressions and divisions inside of functions": `
    export const get = query((ctx, { text }: any) => [text.length / 2 / 1, /a"b/g.test(text), text.replace(/[/"]/g, "")]);`,
  "locals that are taken apart": `
    export const get = query((ctx, args: any) => { let a, b; [a, b] = args.list; const { c } = args; return [a, b, c]; });`,
};
const PER_CALL = {
  "a counter": `let count = 0; export const next = query(() => ++count);`,
  "a name that is assigned later": `let last: any = null; export const set = query((ctx, args) => { last = args; return last; });`,
  "a function that is replaced": `function f() { return 1; } export const set = query(() => { (f as any) = () => 2; return f(); });`,
  "a cache in an object": `const cache: any = {}; export const get = query((ctx, { k }: any) => (cache[k] ??= 1));`,
  "a list that grows": `const seen: number[] = []; export const get = query(() => { seen.push(1); return seen.length; });`,
  "a list that is handed on": `const seen: number[] = []; const add = (to: any) => to.push(1); export const get = query(() => add(seen));`,
  "a Map": `const seen = new Map(); export const get = query(() => seen.size);`,
  "a closure with a variable of its own": `
    const next = (() => { let n = 0; return () => ++n; })(); export const get = query(() => next());`,
  "a property of a function": `function f() {} export const get = query(() => ((f as any).n = ((f as any).n ?? 0) + 1));`,
  "a name assigned in a pattern": `let a = 0; export const get = query((ctx, { list }: any) => { [a] = list; return a; });`,
  "a name assigned by a loop": `let a = 0; export const get = query((ctx, { list }: any) => { for (a of list); return a; });`,
  "a class": `class Counter { static n = 0; } export const get = query(() => ++Counter.n);`,
  "a regular expression that remembers": `const r = /a/g; export const get = query((ctx, { text }: any) => r.test(text));`,
  "globalThis": `export const get = query(() => ((globalThis as any).n = 1));`,
  "objects inside of objects": `const state = { list: [] as number[] }; export const get = query(() => { const l = state.list; l.push(1); return l; });`,
  "work when it is loaded": `const start = Date.now(); export const get = query(() => start);`,
  "a function expression with a name": `export const get = query(function me() { (me as any).n = 1; return 1; });`,
  "code in a template": `let n = 0; export const get = query(() => \`\${(n += 1)}\`);`,
};

for (const [what, text] of Object.entries(SHARED)) {
  test(`shared: ${what}`, async () => assert.equal(await whyNot(text), ""));
}
for (const [what, text] of Object.entries(PER_CALL)) {
  test(`per call: ${what}`, async () => assert.notEqual(await whyNot(text), ""));
}

test("a module is shared only if those that it uses are", async () => {
  const uses = `import { helper } from "./other"; export const get = query(() => helper());`;
  assert.equal(await whyNot(uses, { "other.ts": `export const helper = () => 1;` }), "");
  assert.match(await whyNot(uses, { "other.ts": `let n = 0; export const helper = () => ++n;` }), /which is not shared/);
});

test("builders that come through a file of the application are the package's", async () => {
  const text = `import { q } from "./builders"; export const get = q(() => 1);`;
  assert.equal(await whyNot(text, { "builders.ts": `export { query as q } from "bitbend/server";` }), "");
  assert.notEqual(await whyNot(text, { "builders.ts": `export const q = (f: any) => { let n = 0; return () => ++n; };` }), "");
});
