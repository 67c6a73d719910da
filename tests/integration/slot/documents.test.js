// Pages of documents that come again are copies of objects that the slot keeps, and copies that are as they were go
// out as the kept bytes: no function can tell, and no function reaches what another one has got.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { isBuilt, start, STATUS } from "./harness.js";

const options = { skip: isBuilt ? false : "the slot program is not built" };

const FUNCTIONS = `
const rows = (ctx, group) => ctx.db.query("rows").withIndex("by_group", (q) => q.eq("group", group));
exports.insert = mutation(async (ctx, { group, documents }) => {
  for (const document of documents) await ctx.db.insert("rows", { ...document, group });
});
exports.read = query((ctx, { group }) => rows(ctx, group).collect());
exports.seen = query(async (ctx, { group }) => (await rows(ctx, group).collect()).map((d) => Object.entries(d)));
exports.newest = query(async (ctx, { group, n }) => (await rows(ctx, group).order("desc").take(n)).reverse());
exports.change = mutation(async (ctx, { group, at, changes }) => {
  const found = await rows(ctx, group).collect();
  await ctx.db.patch(found[at]._id, changes);
  return await rows(ctx, group).collect();
});

const chance = (seed) => () => {
  seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
  return seed / 2 ** 32;
};
const ONE = [
  (d) => { d.n = d.n; },
  (d) => { d.n = 0; },
  (d) => { d.n = -0; },
  (d) => { d.n = NaN; },
  (d) => { d.n = 7n; },
  (d) => { d.title = "a" + "bc"; },
  (d) => { d.title = "\\ud800"; },
  (d) => { d.title = null; },
  (d) => { d.title = undefined; },
  (d) => { d.extra = 1; },
  (d) => { d.$bad = 1; },
  (d) => { delete d.n; },
  (d) => { const { n } = d; delete d.n; d.n = n; },
  (d) => { d.title = [1, { a: d.n }]; },
  (d) => { d.title = [d]; },
  (d) => { d[Symbol("s")] = 1; },
  (d) => { Object.freeze(d); },
  (d) => { Object.setPrototypeOf(d, null); },
  (d) => { Object.setPrototypeOf(d, { a: 1 }); },
  (d) => { Object.setPrototypeOf(d, class A {}.prototype); },
  (d) => { d.__proto__ = { a: 1 }; },
  (d) => { Object.defineProperty(d, "n", { enumerable: false }); },
  (d) => { const { n } = d; Object.defineProperty(d, "n", { get: () => n }); },
  (d) => { let i = 0; const { n } = d; Object.defineProperty(d, "n", { get: () => (i++ === 0 ? n : i) }); },
  (d) => { let i = 0; Object.defineProperty(d, "n", { get: () => i++ }); },
  (d) => { let i = 0; const { title } = d; Object.defineProperty(d, "title", { get: () => (i++ === 0 ? [d] : title) }); },
  (d) => { let i = 0; const { title } = d; Object.defineProperty(d, "title", { get: () => (i++ === 0 ? { x: [d] } : title) }); },
  (d) => { Object.defineProperty(d, "n", { get() { throw new RangeError("of n"); } }); },
  (d) => { Object.defineProperty(d, "title", { get() { delete d.group; d.n = 5; return "x"; } }); },
];
const ALL = [
  (all) => all,
  (all) => all.reverse(),
  (all) => all.filter((_, i) => i % 3 !== 1),
  (all) => [...all, ...all],
  (all) => all.flatMap((d, i) => (i % 2 === 0 ? [d, i] : [d])),
  (all) => [null, ...all],
  (all) => all.map((d) => [d]),
  (all) => all.map((d) => ({ d })),
  (all) => all.map((d) => d.title),
  (all) => ({ page: all, isDone: true }),
  (all) => ({ a: { b: all }, c: all }),
  (all) => { const o = { page: all }; all[1] = o; return o; },
  (all) => { all.length > 2 && delete all[2]; return all; },
  (all) => { all[1] = all; return all; },
  (all) => { const [, d] = all; Object.defineProperty(all, 1, { get: () => { all.length = 2; return d; } }); return all; },
  (all) => { all.extra = 1; return all; },
  (all) => Object.setPrototypeOf(all, null),
  (all) => all[0] ?? null,
  (all) => { all[3] = new Proxy(all[3] ?? {}, {}); return all; },
  (all) => Array.from({ length: 40 }, (_, i) => i).concat(all),
  (all) => all.sort((a, b) => (a.title < b.title ? -1 : 1)),
  (all) => all.slice(3).concat(all.slice(0, 3)),
];
// By the seed, either with what was read or with objects that only look like it.
exports.play = query(async (ctx, { group, seed, isOwn }) => {
  const random = chance(seed);
  const any = (list) => list[Math.floor(random() * list.length)];
  let all = await rows(ctx, group).collect();
  if (random() < 0.3) all = all.concat(await rows(ctx, group).order("desc").take(4));
  if (isOwn) {
    all = all.map((d) => ({ ...d }));
  }
  for (let i = Math.floor(random() * 3); i > 0; i--) any(ONE)(any(all));
  return any(ALL)(all);
});
const kept = [];
exports.vandal = query(async (ctx, { group }) => {
  const all = await rows(ctx, group).collect();
  const again = await rows(ctx, group).collect();
  const isApart = all.every((d, i) => d !== again[i] && (d.tags === undefined || d.tags !== again[i].tags));
  const wasKept = kept.length;
  for (const d of all) {
    kept.push(d);
    for (const key of Object.keys(d)) {
      if (Array.isArray(d[key])) d[key].push("spoilt");
      d[key] = "spoilt";
    }
    d.more = "spoilt";
    Object.defineProperty(d, "n", { get: () => "spoilt" });
    Object.setPrototypeOf(d, { spoilt: true });
    Object.freeze(d);
  }
  return { isApart, wasKept, isMarked: again.some((d) => Object.values(d).includes("spoilt") || d.tags?.includes("spoilt") === true) };
});
`;
const SCHEMA = `exports.default = schema({ rows: { by_group: ["group"] } });`;

const chance = (seed) => () => {
  seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
  return seed / 2 ** 32;
};
const DOCUMENTS = [
  ...Array.from({ length: 12 }, (_, n) => ({ n, title: `title ${n}` })),
  { n: -0, title: "ü€😀", x: 1.5, y: 2n ** 63n - 1n, z: true, "10": null, "2": "two" },
  { n: NaN, title: "", x: Infinity, tags: ["a", "b"], inner: { a: 1 } },
  { n: 0, title: "x".repeat(3000), bytes: new Uint8Array([1, 2]).buffer },
  { n: 1, title: "t", constructor: "c", toString: "s", "a b": "]", 'q"': 1 },
];

let slot;
before(async () => {
  slot = isBuilt ? await start({ "schema.js": SCHEMA, "f.js": FUNCTIONS }) : undefined;
  for (const [group, documents] of [["all", DOCUMENTS], ["few", DOCUMENTS.slice(0, 3)], ["list", DOCUMENTS.slice(0, 8)]]) {
    const { status, error } = (await slot?.mutation("f:insert", { group, documents })) ?? { status: STATUS.OK };
    assert.equal(status, STATUS.OK, error);
  }
});
after(() => slot?.stop());

const hex = (bytes) => Buffer.from(bytes).toString("hex");

test("what comes again is what came first, byte by byte", options, async () => {
  const first = await slot.query("f:read", { group: "all" });
  assert.equal(first.status, STATUS.OK, first.error);
  for (let i = 0; i < 10; i++) {
    const again = await slot.query("f:read", { group: "all" });
    assert.equal(hex(again.valueBytes), hex(first.valueBytes));
  }
});

test("documents that were changed in any way are encoded as objects that were made by hand", options, async () => {
  let refused = 0;
  for (let seed = 1; seed <= 1500; seed++) {
    const group = seed % 5 === 0 ? "few" : "all";
    const given = await slot.query("f:play", { group, seed, isOwn: false });
    const made = await slot.query("f:play", { group, seed, isOwn: true });
    assert.equal(given.status, made.status, `seed ${seed}: ${given.error} | ${made.error}`);
    assert.equal(given.error, made.error, `seed ${seed}`);
    assert.equal(hex(given.valueBytes), hex(made.valueBytes), `seed ${seed}`);
    refused += given.status === STATUS.OK ? 0 : 1;
  }
  assert.ok(refused > 100 && refused < 1200, `${refused} were refused`);
});

test("no function reaches what another one has read", options, async () => {
  const before = await slot.query("f:read", { group: "all" });
  for (let i = 0; i < 12; i++) {
    const { status, error, value } = await slot.query("f:vandal", { group: "all" });
    assert.equal(status, STATUS.OK, error);
    assert.deepEqual(value, { isApart: true, wasKept: 0, isMarked: false });
    assert.equal(hex((await slot.query("f:read", { group: "all" })).valueBytes), hex(before.valueBytes));
  }
});

test("a document that is written is read as it is now, the others as they were", options, async () => {
  const expected = (await slot.query("f:read", { group: "list" })).value;
  for (let i = 0; i < 40; i++) {
    const at = i % expected.length;
    const changes = i % 3 === 0 ? { title: `changed ${i}` } : { n: i };
    expected[at] = { ...expected[at], ...changes };
    const { status, error, value } = await slot.mutation("f:change", { group: "list", at, changes });
    assert.equal(status, STATUS.OK, error);
    assert.deepEqual(value, expected);
    assert.deepEqual((await slot.query("f:read", { group: "list" })).value, expected);
    assert.deepEqual((await slot.query("f:newest", { group: "list", n: 5 })).value, expected.slice(-5));
  }
});

test("what has to go for others is read as it is when it comes again", options, async () => {
  const small = await start({ "schema.js": SCHEMA, "f.js": FUNCTIONS }, { hello: { heapMb: 16 } });
  const expected = new Map();
  for (let i = 0; i < 12; i++) {
    const group = `g${i}`;
    const documents = Array.from({ length: 40 }, (_, n) => ({ n, title: `${group} ${n} `.padEnd(3000, "x") }));
    const { status, error } = await small.mutation("f:insert", { group, documents });
    assert.equal(status, STATUS.OK, error);
    expected.set(group, (await small.query("f:read", { group })).value);
  }
  const random = chance(7);
  for (let i = 0; i < 300; i++) {
    const group = `g${Math.floor(random() * 12)}`;
    const { status, error, value } = await small.query(i % 2 === 0 ? "f:read" : "f:seen", { group });
    assert.equal(status, STATUS.OK, error);
    const found = i % 2 === 0 ? value : value.map((entries) => Object.fromEntries(entries));
    assert.deepEqual(found, expected.get(group), `${group} in round ${i}`);
  }
  await small.stop();
});
