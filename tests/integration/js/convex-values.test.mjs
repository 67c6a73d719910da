/** Values and validators travel in the form that the npm package convex uses. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { convexToJson, jsonToConvex, v as convexV, compareValues as convexCompare } from "convex/values";

import { compareValues, decodeValue, encodeValue, v } from "../../../libs/js/bitbend/values/index.js";

const GOLDEN = JSON.parse(readFileSync(new URL("../../golden/values.json", import.meta.url), "utf8"));

test("golden values have the same JSON form in both packages", () => {
  for (const { name, json } of GOLDEN) {
    if (name === "object proto") continue; // convex drops the field __proto__
    assert.deepEqual(decodeValue(json), jsonToConvex(json), name);
    assert.deepEqual(encodeValue(decodeValue(json)), convexToJson(jsonToConvex(json)), name);
  }
});

test("both packages order golden values alike", () => {
  // convex compares strings by UTF-16 units: leave out what only differs there.
  const values = GOLDEN.filter(({ json }) => !/[\ud800-\udfff\ue000-\uffff]/.test(JSON.stringify(json))).map(({ json }) => decodeValue(json));
  for (const a of values) {
    for (const b of values) {
      assert.equal(Math.sign(compareValues(a, b)), Math.sign(convexCompare(a, b)), JSON.stringify([encodeValue(a), encodeValue(b)]));
    }
  }
});

test("validators export the same JSON", () => {
  const make = (v) =>
    v.object({
      id: v.id("users"), nothing: v.null(), number: v.number(), float64: v.float64(), int64: v.int64(), bigint: v.bigint(), boolean: v.boolean(),
      string: v.string(), bytes: v.bytes(), literal: v.literal("a"), big: v.literal(5n), truth: v.literal(true), array: v.array(v.array(v.string())),
      object: v.object({ a: v.optional(v.number()) }), record: v.record(v.id("users"), v.number()), union: v.union(v.string(), v.null()),
      optional: v.optional(v.union(v.literal(1), v.literal(2))), any: v.any(),
    });
  assert.deepEqual(make(v).json, make(convexV).json);
});
