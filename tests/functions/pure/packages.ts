// Packages of pure JavaScript from npm, bundled as an application's would be.
import Decimal from "decimal.js";
import { gunzipSync, gzipSync, strFromU8, strToU8, zlibSync, unzlibSync } from "fflate";
import { produce } from "immer";
import _ from "lodash";
import { customAlphabet } from "nanoid";
import semver from "semver";
import { z } from "zod";

export function lodashChains() {
  return _.chain([{ n: "b", v: 2 }, { n: "a", v: 1 }, { n: "a", v: 3 }]).groupBy("n").mapValues((rows) => _.sumBy(rows, "v")).value();
}
export function lodashObjects() {
  const o = { a: [{ b: { c: 3 } }] };
  return [_.get(o, "a[0].b.c"), _.set(_.cloneDeep(o), "a[0].b.c", 4), _.merge({}, o, { a: [{ x: 1 }] }), _.isEqual(o, _.cloneDeep(o)), _.pick({ a: 1, b: 2 }, ["a"])];
}
export function lodashText() {
  return [_.camelCase("hello big-world"), _.kebabCase("HelloWorld"), _.escape("<a & b>"), _.padStart("7", 3, "0"), _.words("a b-c")];
}
export function lodashCollections() {
  return [_.chunk([1, 2, 3, 4, 5], 2), _.uniqBy([1.2, 1.8, 2.1], Math.floor), _.orderBy([{ a: 1, b: 2 }, { a: 1, b: 1 }], ["a", "b"]), _.zipObject(["x"], [1]), _.partition([1, 2, 3], (n) => n > 1)];
}
export function zodParses() {
  const User = z.object({ name: z.string().min(2), age: z.coerce.number().int(), tags: z.array(z.string()).default([]), email: z.string().email().optional() });
  const good = User.parse({ name: "Ada", age: "36" });
  const bad = User.safeParse({ name: "A", age: 1.5, email: "x" });
  return [good, bad.success, bad.error?.issues.map((i) => [i.code, i.path.join(".")])];
}
export function zodUnionsAndTransforms() {
  const Shape = z.discriminatedUnion("kind", [z.object({ kind: z.literal("circle"), r: z.number() }), z.object({ kind: z.literal("square"), s: z.number() })]);
  const Upper = z.string().transform((s) => s.toUpperCase()).pipe(z.string().max(3));
  return [Shape.parse({ kind: "square", s: 2 }), Shape.safeParse({ kind: "x" }).success, Upper.parse("abc"), Upper.safeParse("abcd").success];
}
export function decimals() {
  return [new Decimal("0.1").plus("0.2").toString(), new Decimal(2).sqrt().toFixed(20), new Decimal("1e-30").times(3).toString(), Decimal.max(1, "2.5").toString()];
}
export function immerDrafts() {
  const base = { a: { b: [1, 2] }, c: new Date(0).getTime() };
  const next = produce(base, (draft) => { draft.a.b.push(3); });
  return [base.a.b, next.a.b, base.a === next.a, Object.isFrozen(next)];
}
export function compression() {
  const text = "to be or not to be ".repeat(200);
  const packed = gzipSync(strToU8(text), { mtime: 0 });
  return [packed.length < 200, strFromU8(gunzipSync(packed)) === text, strFromU8(unzlibSync(zlibSync(strToU8("zlib"))))];
}
export function versions() {
  return [semver.satisfies("1.2.3", "^1.0.0"), semver.sort(["1.10.0", "1.9.0", "1.9.0-rc.1"]), semver.inc("1.2.3", "minor"), semver.valid("nope"), semver.coerce("v2")?.version];
}
export function nanoIds() {
  return customAlphabet("ab", 12)().length;
}
