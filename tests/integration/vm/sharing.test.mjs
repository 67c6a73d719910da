// Which modules one instance of may serve all calls (libs/vm/js/sharing.js): the proof is about the text
// alone, so these tests bundle a module as a deploy does and ask.
import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";

import { run } from "./engine.mjs";

const ROOT = join(dirname(fileURLToPath(import.meta.url)), "../../..");
const { createBundler } = await import(join(ROOT, "libs/js/bitbend/cli/bundle.js"));
const internals = {};
new Function("host", "internals", readFileSync(join(ROOT, "libs/vm/js/sharing.js"), "utf8"))(null, internals);

const app = mkdtempSync(join(tmpdir(), "bb-sharing-"));
mkdirSync(join(app, "node_modules"));
symlinkSync(join(ROOT, "libs/js/bitbend"), join(app, "node_modules/bitbend"));
after(() => rmSync(app, { recursive: true, force: true }));

async function bundle(files) {
  const functionsDir = mkdtempSync(join(app, "f-"));
  for (const [name, content] of Object.entries(files)) writeFileSync(join(functionsDir, name), content);
  const bundler = createBundler({ appDir: app, functionsDir });
  const { modules } = await bundler.build();
  await bundler.dispose();
  return modules;
}

async function whyNot(text, others = {}) {
  const modules = await bundle({ "m.ts": `import { query, mutation } from "bitbend/server";\nimport { v } from "bitbend/values";\n${text}`, ...others });
  const verdict = (path, before = "") => internals.sharingOf(before + modules.find((module) => module.path === path).source, (name) => {
    if (name.startsWith("bitbend/")) return "own import";
    const { why, isOwn } = verdict(name.replace(/^\.\//, ""));
    return isOwn ? "own import" : why === "" ? "import" : "";
  });
  const found = verdict("m.js");
  // The bundler's first lines are taken as they are, or, with something before them, read like all the rest.
  assert.deepEqual(verdict("m.js", "// not the first line\n"), found);
  return found.why;
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
  "a name assigned between brackets": `let n = 0; export const get = query(() => { (n) = n + 1; ++(n); return n; });`,
  "a name assigned by a loop that waits": `let n = 0; export const get = query(async () => { for await (n of [n + 1]); return n; });`,
  "names assigned by a loop that takes apart": `let n = 0; export const get = query(() => { for ([n] of [[n + 1]]); return n; });`,
  "fields assigned by a loop that takes apart": `let n = 0; export const get = query(() => { for ({ a: n } of [{ a: n + 1 }]); return n; });`,
  "code in a template": `let n = 0; export const get = query(() => \`\${(n += 1)}\`);`,
};

for (const [what, text] of Object.entries(SHARED)) {
  test(`shared: ${what}`, async () => assert.equal(await whyNot(text), ""));
}
for (const [what, text] of Object.entries(PER_CALL)) {
  test(`per call: ${what}`, async () => assert.notEqual(await whyNot(text), ""));
}

test("per call: the bundler's helpers, but not as the bundler prints them", async () => {
  const lines = '"use strict";\nvar __defProp = Object.defineProperty;\n';
  assert.equal(internals.sharingOf(`${lines}var one = 1;\n`, () => "").why, "");
  assert.notEqual(internals.sharingOf(lines.replace(";\n", ";\n__defProp(globalThis, 'n', {});\n"), () => "").why, "");
  assert.notEqual(internals.sharingOf(`${lines}__defProp.n = 1;\n`, () => "").why, "");
  assert.notEqual(internals.sharingOf(`${lines}var put = () => { __defProp.n = 1; };\n`, () => "").why, "");
});

// A deploy need not come from the bundler. What each module finds when it is loaded is a place to keep something, too.
const PLACES = {
  "a helper of the bundler": "() => (__toCommonJS.n = (__toCommonJS.n ?? 0) + 1)",
  "the name of a helper": "() => { const was = typeof __copyProps; __copyProps = 2; return was === 'function' ? 1 : 2; }",
  "a helper by a choice": "(_, { on = true }) => ((on ? __toCommonJS : null).n = ((on ? __toCommonJS : null).n ?? 0) + 1)",
  "a helper by a variable": "(_, { on = true }) => { let y; const z = on ? y = __toCommonJS : null; return (y.n = (y.n ?? 0) + 1); }",
  "module": "(_, { on = true }) => ((on ? module : null).n = ((on ? module : null).n ?? 0) + 1)",
  "require": "(_, { on = true }) => ((on ? require : null).n = ((on ? require : null).n ?? 0) + 1)",
  "exports": "(_, { on = true }) => ((on ? exports : null).n = ((on ? exports : null).n ?? 0) + 1)",
  "the bundler's exports": "(_, { on = true }) => ((on ? x_exports : null).n = ((on ? x_exports : null).n ?? 0) + 1)",
  "this": "() => (this.n = (this.n ?? 0) + 1)",
  "arguments": "(_, { on = true }) => ((on ? arguments : null).n = ((on ? arguments : null).n ?? 0) + 1)",
};
const PRINTED = { // what comes before and after `var f`, where it is not what the bundler prints
  "the getter of an export": ["__export(x_exports, { f: () => (n = n + 1, () => n) });\nmodule.exports = __toCommonJS(x_exports);\nvar n = 0;", "() => 1"],
  "the exports themselves": ["module.exports = __toCommonJS((() => { let n = 0; return { f: () => ++n }; })());", "() => 1"],
  "a name between brackets": ["__export(x_exports, { f: () => f });\nmodule.exports = __toCommonJS(x_exports);\nvar n = 0;", "() => { (n)++; return n; }"],
  "a name of a loop between brackets": ["__export(x_exports, { f: () => f });\nmodule.exports = __toCommonJS(x_exports);\nvar n = 0;", "() => { for ((n) of [n + 1]); return n; }"],
};
const HEAD = (await bundle({ "m.ts": "export const f = () => 1;" })).find(({ path }) => path === "m.js").source.split("var m_exports")[0];

for (const [place, text] of Object.entries(PLACES)) {
  test(`nothing is kept in ${place}`, async () => {
    const source = `${HEAD}var x_exports = {};\n__export(x_exports, { f: () => f });\nmodule.exports = __toCommonJS(x_exports);\nvar f = ${text};\n`;
    const call = { path: "m:f", args: {}, nowMs: 1 };
    const { results } = await run({ modules: [{ path: "m.js", source, map: "" }], calls: [call, call, call] });
    assert.equal(results.length, 3);
    for (const { value, message } of results) assert.ok(value === 1 || /^TypeError: Cannot (add|assign)/.test(message), message);
  });
}

for (const [place, [before, text]] of Object.entries(PRINTED)) {
  test(`nothing is kept by ${place}`, async () => {
    const source = `${HEAD}var x_exports = {};\n${before}\nvar f = ${text};\n`;
    const call = { path: "m:f", args: {}, nowMs: 1 };
    const { results } = await run({ modules: [{ path: "m.js", source, map: "" }], calls: [call, call, call] });
    assert.deepEqual(results.map(({ value }) => value), [1, 1, 1]);
  });
}

test("nothing is kept in a function that sloppy code finds by its caller", async () => {
  const text = `function g() { return g.caller; }\nvar f = (0, q.of)(function () { const me = g(); me.n = (me.n ?? 0) + 1; return me.n; });`;
  const source = (head) => `${head}var q = require("bitbend/server");\nvar x_exports = {};\n__export(x_exports, { f: () => f });\nmodule.exports = __toCommonJS(x_exports);\n${text}\n`;
  assert.equal(internals.sharingOf(source(HEAD), () => "own import").why, "");
  assert.equal(internals.sharingOf(source(HEAD.replace('"use strict";\n', "")), () => "own import").why, "it is not strict, and its functions can find who calls them");
});

test("nothing is kept in a Map that the package made", async () => {
  const source = `${HEAD}var x_exports = {};\n__export(x_exports, { f: () => f });\nmodule.exports = __toCommonJS(x_exports);\nvar k = require("bitbend/keep");\nvar m = k.make();\nvar f = () => m.seen.set(m.seen.size, 1).size;\n`;
  const user = `${HEAD}var x_exports = {};\n__export(x_exports, { f: () => f });\nmodule.exports = __toCommonJS(x_exports);\nvar m = require("./m.js");\nvar f = () => m.f();\n`;
  const modules = [
    { path: "_bitbend/keep.js", source: "exports.make = () => ({ seen: new Map() }); exports.kept = new Map();", map: "" }, { path: "m.js", source, map: "" },
    { path: "user.js", source: user, map: "" },
  ];
  for (const paths of [["m:f", "m:f", "user:f", "user:f"], ["user:f", "user:f", "m:f", "user:f"]]) {
    const { results } = await run({ modules, calls: paths.map((path) => ({ path, args: {}, nowMs: 1 })) });
    assert.deepEqual(results.map(({ value, message }) => value ?? message), [1, 1, 1, 1]);
  }
});

// Each of these has V8 run "module.n = (module.n ?? 0) + 1" where a reader may see text.
const COUNT = "module.n = (module.n ?? 0) + 1";
const HIDDEN = {
  "behind comments as in HTML": `() => { let y = 1\n<!-- \`\n;${COUNT}; y = module.n\n<!-- \`\nreturn y }`,
  "behind the end of a comment as in HTML": `() => { let y = 1\n--> \`\n;${COUNT}; y = module.n\n--> \`\nreturn y }`,
  "behind a comment that ends at a carriage return": `() => { // \r${COUNT}; return module.n;\n }`,
  "behind a comment that ends at a line separator": `() => { // \u2028${COUNT}; return module.n;\n }`,
  "by a name with another space": "() => { module\u00a0.n = (module\u00a0.n ?? 0) + 1; return module\u00a0.n; }",
  "by a name with an escape": "() => { \\u006dodule.n = (\\u006dodule.n ?? 0) + 1; return \\u006dodule.n; }",
  "behind a regular expression after a condition": `() => { let y = 1; if (y) / \`/.test(""); ${COUNT}; y = module.n; if (y) / \`/.test(""); return y; }`,
  "behind a regular expression after a block": `() => { let y = 1; {} / \`/.test(""); ${COUNT}; y = module.n; {} / \`/.test(""); return y; }`,
  "behind a regular expression after instanceof": `() => { let y = 1; () => 1 instanceof / \`/; ${COUNT}; y = module.n; () => 1 instanceof / \`/; return y; }`,
  "in a division by a word that may be a name": `() => { var of = 4; of /(${COUNT})/ 2; return of /(module.n)/ 4 === 1 ? 1 : 4 / of * 1 / (1 / ((x) => x)(of /1/ 4)) * 1 && of /(module.n)/ 4 ; }`,
  "in a division by a field": `() => { const o = { return: 4 }; o.return /(${COUNT})/ 2; return o.return /(4)/ 1 && (o.return /(module.n)/ 1 === 4 ? 1 : 2); }`,
  "in a division after an increment": `() => { let y = 4; y++ /(${COUNT})/ 2; y = 4; return y++ /(module.n)/ 1 === 4 ? 1 : 2; }`,
  "in a division of a template": `() => { \`return\` /(${COUNT})/ 2; let n; \`return\` /(n = module.n)/ 2; return n; }`,
};

for (const [where, text] of Object.entries(HIDDEN)) {
  test(`nothing is hidden ${where}`, async () => {
    const why = internals.sharingOf(`${HEAD}var x_exports = {};\n__export(x_exports, { f: () => f });\nmodule.exports = __toCommonJS(x_exports);\nvar f = ${text};\n`, () => "").why;
    assert.notEqual(why, "");
    assert.notEqual(why, "it was not understood");
  });
}

test("shared: divisions, and regular expressions where they are clear", async () => {
  const text = `export const f = (a: number, b: number[]) => (a + 1) / 2 + b[0] / a / 3 + [/x\`/.test("x") ? 1 : 0, / y/.source.length].length / 2;`;
  assert.equal(await whyNot(text), "");
});

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
