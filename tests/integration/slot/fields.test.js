// Values cross by generated code once a list of fields was seen a few times, and by a walk before: both
// ways give the same bytes, in both directions.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { encode } from "./bbv.js";
import { isBuilt, start, STATUS } from "./harness.js";

const options = { skip: isBuilt ? false : "the slot program is not built" };
const TIMES = 20; // more than it takes until code is generated

const FUNCTIONS = `
exports.echo = query((ctx, { value }) => value);
exports.list = query((ctx, { value }) => [value, [value, { inner: value }]]);
exports.odd = query((ctx, { which }) => {
  const read = [];
  const accessor = (name) => ({ enumerable: true, get: () => { read.push(name); return name; } });
  const made = {
    missing: () => ({ a: 1, b: undefined, c: 3 }),
    hidden: () => Object.defineProperties({ a: 1, c: 3 }, { b: { value: 2 }, [Symbol("d")]: { value: 4, enumerable: true } }),
    accessors: () => Object.defineProperties({}, { z: accessor("z"), a: accessor("a"), m: accessor("m") }),
    changing: () => ({ get a() { delete this.b; this.c = 3; return 1; }, b: 2 }),
    bare: () => Object.assign(Object.create(null), { a: 1, b: { c: 2 } }),
    dictionary: () => { const o = { a: 1, b: 2, c: 3, d: 4 }; delete o.a; o.a = 5; return o; },
    elements: () => ({ 10: "ten", 2: "two", x: "x" }),
    throwing: () => ({ a: 1, get b() { throw new RangeError("of b"); } }),
    date: () => ({ a: { when: new Date(0) }, b: 1 }),
    half: () => ({ a: "\\ud800", b: 1 }),
    instance: () => { class A { a = 1; b = 2; } return new A(); },
    nested: () => ({ a: { get c() { return ctx.db.normalizeId("docs", "x"); }, d: { e: [{ f: null }, { f: 2n }] } }, b: [] }),
  }[which]();
  return which === "accessors" ? { made, read } : made;
});
exports.reader = mutation(async (ctx) => {
  const found = [];
  for (let i = 0; i < ${TIMES}; i++) {
    await ctx.db.insert("docs", Object.defineProperty({ b: 1 }, "a", {
      enumerable: true, get: function g() { found.push(g.caller); return i; },
    }));
  }
  const kept = found.find((caller) => typeof caller === "function");
  kept?.({ a: 1, b: 1 });
  return { asked: found.length, functions: found.filter((caller) => caller !== null).length };
});
`;
const SCHEMA = `exports.default = schema({ docs: {} });`;

let slot;
before(async () => {
  slot = isBuilt ? await start({ "schema.js": SCHEMA, "f.js": FUNCTIONS }) : undefined;
});
after(() => slot?.stop());

/** A small generator of chance that says the same each time. */
const chance = (seed) => () => {
  seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
  return seed / 2 ** 32;
};
const NAMES = [
  "a", "b", "_id", "__proto__", "constructor", "toString", "length", "0", "7", "10", "2", "-1", "4294967295", "a b", "a\"b",
  "a\\b", "a'b", "]", "x".repeat(200), "then", "valueOf", "A",
];
const scalar = (random) => {
  const all = [
    null, true, false, 0, -0, NaN, Infinity, -Infinity, 1.5, 2 ** 53, -(2n ** 63n), 2n ** 63n - 1n, 0n, "", "text", "ü€😀",
    "x".repeat(127), "x".repeat(128), "é".repeat(130), new ArrayBuffer(0), new Uint8Array([0, 255, 7]).buffer,
  ];
  return all[Math.floor(random() * all.length)];
};
const valueOf = (random, depth) => {
  const kind = random();
  if (depth === 0 || kind < 0.4) return scalar(random);
  if (kind < 0.6) return Array.from({ length: Math.floor(random() * 4) }, () => valueOf(random, depth - 1));
  const made = {};
  for (let i = Math.floor(random() * 8); i > 0; i--) {
    Object.defineProperty(made, NAMES[Math.floor(random() * NAMES.length)], {
      value: valueOf(random, depth - 1), writable: true, enumerable: true, configurable: true,
    });
  }
  return made;
};

const hex = (bytes) => Buffer.from(bytes).toString("hex");

test("the generated code and the walk give the same bytes", options, async () => {
  for (let seed = 1; seed <= 40; seed++) {
    const value = valueOf(chance(seed), 4);
    for (let i = 0; i < TIMES; i++) {
      const { status, error, valueBytes } = await slot.query("f:echo", { value });
      assert.equal(status, STATUS.OK, error);
      assert.equal(hex(valueBytes), hex(encode(value)), `value ${seed}, time ${i}`);
    }
  }
});

test("objects with many fields and lists that share fields", options, async () => {
  const wide = (count) => Object.fromEntries(Array.from({ length: count }, (_, i) => [`field${i}`, i]));
  for (const value of [wide(64), wide(65), wide(300), { ...wide(3), more: 1 }, wide(3), {}]) {
    for (let i = 0; i < TIMES; i++) {
      const { valueBytes, error } = await slot.query("f:list", { value });
      assert.equal(hex(valueBytes), hex(encode([value, [value, { inner: value }]])), error);
    }
  }
});

test("more lists of fields than are kept", options, async () => {
  for (let i = 0; i < 640; i++) {
    const value = { [`key${i}`]: i, [`other${i % 7}`]: [{ [`key${i}`]: null }] };
    for (let time = 0; time < (i % 80 === 0 ? TIMES : 1); time++) {
      const { valueBytes, error } = await slot.query("f:echo", { value });
      assert.equal(hex(valueBytes), hex(encode(value)), error);
    }
  }
});

test("what is odd about an object is the same the first time and later", options, async () => {
  const expected = {
    missing: { a: 1, c: 3 }, hidden: { a: 1, c: 3 }, changing: { a: 1 },
    accessors: { made: { a: "a", m: "m", z: "z" }, read: ["z", "a", "m"] },
    bare: { a: 1, b: { c: 2 } }, dictionary: { b: 2, c: 3, d: 4, a: 5 }, elements: { 2: "two", 10: "ten", x: "x" },
    nested: { a: { c: null, d: { e: [{ f: null }, { f: 2n }] } }, b: [] },
  };
  const refused = {
    throwing: /RangeError: of b/, date: /^result\.a\.when: a Date cannot be stored/,
    half: /^result\.a: a string with half of a surrogate pair/, instance: /^result: an instance of A cannot be stored/,
  };
  for (let i = 0; i < TIMES; i++) {
    for (const [which, value] of Object.entries(expected)) {
      const answer = await slot.query("f:odd", { which });
      assert.deepEqual(answer.value, value, `${which}, time ${i}: ${answer.error}`);
    }
    for (const [which, error] of Object.entries(refused)) {
      const answer = await slot.query("f:odd", { which });
      assert.notEqual(answer.status, STATUS.OK, which);
      assert.match(answer.error, error, `${which}, time ${i}`);
    }
  }
});

test("code that is not strict cannot get hold of the generated function that calls it", options, async () => {
  const { status, error, value } = await slot.mutation("f:reader", {});
  assert.equal(status, STATUS.OK, error);
  assert.equal(value.functions, 0);
  assert.ok(value.asked >= TIMES);
});
