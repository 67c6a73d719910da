import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { BitBendError, compareValues, decodeValue, encodeValue, isBitBendError, v, validate, ValidationError, ValueError } from "../values/index.js";
import { accountedSize, encodeKey } from "./key.mjs";

const GOLDEN = JSON.parse(readFileSync(new URL("../../../../tests/golden/values.json", import.meta.url), "utf8"));

test("golden values decode, encode and have the keys and sizes of the golden file", () => {
  assert.ok(GOLDEN.length > 80);
  for (const { name, json, key, size } of GOLDEN) {
    const value = decodeValue(json);
    assert.deepEqual(encodeValue(value), json, name);
    assert.equal(Buffer.from(encodeKey(value)).toString("hex"), key, name);
    assert.equal(accountedSize(value), size, name);
  }
});

test("the test's key encoder agrees with the published vectors", () => {
  const vectors = [
    [1n, "038000000000000001"], [-1n, "037fffffffffffffff"], [300n, "03800000000000012c"], [1.5, "04bff8000000000000"],
    [-0, "047fffffffffffffff"], ["a\0b", "076100ff6200"], [new Uint8Array(1).buffer, "0800ff00"],
    [[1n, "x"], "0903800000000000000107780000"], [{ a: null }, "0a0761000200"], [{}, "0a00"],
  ];
  for (const [value, hex] of vectors) assert.equal(Buffer.from(encodeKey(value)).toString("hex"), hex);
});

test("compareValues orders like the bytes of the keys", () => {
  const values = GOLDEN.map(({ json }) => decodeValue(json));
  values.push(undefined, "\u{10000}", "\uffff", "\ud7ff", { a: 1n }, { a: 1n, b: null });
  for (const a of values) {
    for (const b of values) {
      const expected = Buffer.compare(Buffer.from(encodeKey(a)), Buffer.from(encodeKey(b)));
      assert.equal(Math.sign(compareValues(a, b)), expected, `${String(a)} and ${String(b)}`);
    }
  }
});

test("what is no value is refused with its path", () => {
  const cases = [
    [{ a: { b: [1, () => 1] } }, "value.a.b[1]"], [new Map(), "value"], [new Date(), "value"], [Symbol("x"), "value"],
    [[undefined], "value[0]"], [{ a: "\ud800" }, "value.a"], [2n ** 63n, "value"], [{ "ü": 1 }, "value"], [{ $a: 1 }, "value"],
    [{ "": 1 }, "value"], [{ ["x".repeat(1025)]: 1 }, "value"], [{ "a b": { c: new Set() } }, 'value["a b"].c'],
  ];
  for (const [value, path] of cases) {
    assert.throws(() => encodeValue(value), (error) => error instanceof ValueError && error.path === path && error.code === "NotEncodable");
  }
  let deep = 1;
  for (let i = 0; i < 70; i++) deep = [deep];
  assert.throws(() => encodeValue(deep), /nested deeper/);
});

test("undefined fields are left out, names are sorted", () => {
  assert.equal(JSON.stringify(encodeValue({ b: 1, a: undefined, A: 2 })), '{"A":2,"b":1}');
});

test("forms that mean nothing are refused", () => {
  const forms = [
    { $float: "AAAAAAAA8D8=" }, { $integer: "AQ==" }, { $integer: 1 }, { $bytes: "a" }, { $set: [] }, { $map: [] }, { $x: 1, $y: 2 },
    { $bytes: "a?==" },
  ];
  for (const json of forms) assert.throws(() => decodeValue(json), ValueError, JSON.stringify(json));
});

test("an object of another realm is plain", async () => {
  const { runInNewContext } = await import("node:vm");
  const foreign = runInNewContext("({a: [1, {b: 2n}], c: new Uint8Array([1]).buffer})");
  assert.equal(JSON.stringify(encodeValue(foreign)), '{"a":[1,{"b":{"$integer":"AgAAAAAAAAA="}}],"c":{"$bytes":"AQ=="}}');
});

test("a validator accepts what it says and names path, expected and found otherwise", () => {
  const shape = v.object({
    name: v.string(),
    age: v.optional(v.number()),
    tags: v.array(v.union(v.literal("a"), v.literal("b"))),
    inner: v.record(v.string(), v.object({ n: v.int64() })),
    raw: v.nullable(v.bytes()),
  });
  const good = { name: "x", tags: ["a"], inner: { k: { n: 1n } }, raw: null };
  assert.equal(validate(shape, good), good);
  const cases = [
    [{ ...good, name: 1 }, "value.name: expected string, found number 1"],
    [{ ...good, name: undefined }, "value.name: expected string, found nothing (the field is missing)"],
    [{ ...good, age: null }, "value.age: expected number, found null"],
    [{ ...good, tags: ["a", "c"] }, 'value.tags[1]: expected "a" or "b", found string "c"'],
    [{ ...good, inner: { "k k": { n: 1 } } }, 'value.inner["k k"].n: expected int64 (a bigint), found number 1'],
    [{ ...good, more: 1 }, 'value: expected only the fields name, age, tags, inner, raw, found the field "more"'],
    [{ ...good, raw: "AA==" }, 'value.raw: expected bytes (an ArrayBuffer) or null, found string "AA=="'],
    [[good], "value: expected an object, found array of 1"],
  ];
  for (const [value, message] of cases) {
    assert.throws(() => validate(shape, value), (error) => {
      assert.equal(error.message, message);
      assert.equal(error.code, "ArgumentValidation");
      assert.equal(error[Symbol.for("bitbend.code")], "ArgumentValidation");
      return error instanceof ValidationError;
    });
  }
});

test("a union reports the member that came furthest", () => {
  const shape = v.union(v.object({ kind: v.literal("a"), n: v.number() }), v.object({ kind: v.literal("b"), s: v.string() }), v.null());
  assert.throws(() => validate(shape, { kind: "a", n: "1" }), /value\.(n|kind): /);
});

test("ids are checked where somebody can", () => {
  const shape = v.array(v.id("users"));
  validate(shape, ["anything"]);
  const context = { normalizeId: (table, id) => (table === "users" && id.startsWith("u") ? id : null) };
  shape.check(["u1"], "ids", context);
  assert.throws(() => shape.check(["u1", "x"], "ids", context), /ids\[1\]: expected an id of table "users", found string "x"/);
});

test("int64 bounds, literals of every kind", () => {
  validate(v.int64(), -(2n ** 63n));
  assert.throws(() => validate(v.int64(), 2n ** 63n));
  validate(v.literal(1n), 1n);
  assert.throws(() => validate(v.literal(1n), 1));
  assert.throws(() => validate(v.any(), undefined));
  validate(v.any(), null);
});

test("a misuse of v is told at once", () => {
  assert.throws(() => v.array("string"), /needs a validator such as v\.string\(\), found string "string"/);
  assert.throws(() => v.object({ a: String }), /field "a" needs a validator/);
  assert.throws(() => v.id(), /name of a table/);
});

test("BitBendError carries data and is known across copies", () => {
  const error = new BitBendError({ code: "full", seats: 3n });
  assert.deepEqual(error.data, { code: "full", seats: 3n });
  assert.equal(error[Symbol.for("bitbend.error")], true);
  assert.ok(isBitBendError({ [Symbol.for("bitbend.error")]: true, data: 1 }));
  assert.ok(!isBitBendError(new Error("x")) && !isBitBendError(null));
  assert.equal(new BitBendError("plain").message, "plain");
});
