// Arrays, objects, maps, sets and iterators.

export function toSortedToSplicedWith() {
  const a = [3, 1, 2];
  return [a.toSorted(), a.toReversed(), a.toSpliced(1, 1, 9, 8), a.with(0, 7), a];
}
export function sortIsStable() {
  return [..."bdacegf"].map((k, i) => ({ k: k < "d" ? 0 : 1, i })).sort((a, b) => a.k - b.k).map(({ i }) => i);
}
export function sortDefaultIsText() {
  return [10, 9, 1, undefined, null, "b"].sort().map(String);
}
export function sortManyNumbers() {
  const a = Array.from({ length: 2000 }, (_, i) => (i * 7919) % 2003);
  const s = a.toSorted((x, y) => x - y);
  return [s[0], s[1000], s[1999], s.every((x, i) => i === 0 || s[i - 1] <= x)];
}
export function findLastAndAt() {
  const a = [1, 2, 3, 4];
  return [a.findLast((x) => x % 2), a.findLastIndex((x) => x > 9), a.at(-1), a.at(9) === undefined, "abc".at(-2)];
}
export function flatAndFlatMap() {
  return [[1, [2, [3, [4]]]].flat(Infinity), [1, 2].flatMap((x) => [x, x * 10])];
}
export function copyWithinFillIncludes() {
  return [[1, 2, 3, 4, 5].copyWithin(0, 3), new Array(3).fill(0), [NaN].includes(NaN), [NaN].indexOf(NaN)];
}
export function holes() {
  const a = [1, , 3]; // eslint-disable-line no-sparse-arrays
  return [a.length, 1 in a, a.map((x) => x! * 2).length, Object.keys(a), [...a].map((x) => x ?? "hole"), a.findIndex((x) => x === undefined)];
}
export function arrayFromForms() {
  return [Array.from("añ😀"), Array.from({ length: 3 }, (_, i) => i ** 2), Array.from(new Set([1, 1, 2])), Array.of(7).length];
}
export async function arrayFromAsync() {
  async function* g() { yield 1; yield 2; }
  return await Array.fromAsync(g(), async (x) => x * 2);
}
export function reduceBothWays() {
  return [["a", "b", "c"].reduce((x, y) => x + y), ["a", "b", "c"].reduceRight((x, y) => x + y)];
}
export function lengthTruncates() {
  const a = [1, 2, 3];
  a.length = 1;
  a[3] = 4;
  return [a.length, a[2] ?? "gone"];
}
export function groupBy() {
  return [Object.groupBy([1, 2, 3, 4], (n) => (n % 2 ? "odd" : "even")), [...Map.groupBy([1, 2, 3], (n) => n > 1)].map(([k, v]) => [k, v])];
}
export function objectStatics() {
  const o = { b: 1, a: 2, 10: "x", 2: "y" };
  return [Object.keys(o), Object.entries(o), Object.fromEntries([["k", 1]]), Object.assign({}, o, null, { z: 1 }), Object.hasOwn(o, "a"), Object.is(-0, 0)];
}
export function definePropertyAndFreeze() {
  const o: any = Object.defineProperty({}, "hidden", { value: 1 });
  const f = Object.freeze([1, 2]);
  return [Object.keys(o), o.hidden, Object.isFrozen(f), Object.isSealed(Object.seal({ a: 1 })), Object.isExtensible(Object.preventExtensions({}))];
}
export function prototypes() {
  const p = { hi: 1 };
  const o = Object.create(p, { own: { value: 2, enumerable: true } });
  const keys: string[] = [];
  for (const k in o) keys.push(k);
  return [keys, Object.getPrototypeOf(o) === p, p.isPrototypeOf(o), Object.create(null) instanceof Object];
}
export function ownToStringOverInherited() {
  const o: any = {};
  o.toString = () => "mine";
  o.constructor = 5;
  o.valueOf = () => 3;
  return [`${o}`, o + 1, o.constructor];
}
export function mapKeepsOrder() {
  const m = new Map<unknown, number>([["b", 1], ["a", 2]]);
  m.set("b", 3).set(NaN, 4).delete("a");
  return [[...m.keys()].map(String), [...m.values()], m.get(NaN), m.size, m.has(NaN)];
}
export function mapChangesDuringIteration() {
  const m = new Map([[1, 1], [2, 2]]);
  const seen: number[] = [];
  for (const [k] of m) { seen.push(k); if (k < 5) m.set(k + 2, 0); m.delete(k); }
  return seen;
}
export function setOperations() {
  const a = new Set([1, 2, 3]);
  const b = new Set([3, 4]);
  return [[...a.union(b)], [...a.intersection(b)], [...a.difference(b)], [...a.symmetricDifference(b)], a.isSubsetOf(b), a.isSupersetOf(new Set([1])), a.isDisjointFrom(new Set([9]))];
}
export function weakCollections() {
  const k = {};
  const w = new WeakMap([[k, 1]]);
  const s = new WeakSet([k]);
  return [w.get(k), w.has({}), s.has(k), w.delete(k), w.has(k)];
}
export function iteratorHelpers() {
  function* nat() { let n = 0; for (;;) yield n++; }
  return [nat().filter((n) => n % 2 === 1).map((n) => n * n).drop(1).take(3).toArray(), nat().take(4).reduce((a, b) => a + b), nat().some((n) => n > 5), nat().take(3).every((n) => n < 3), nat().find((n) => n > 7), [...nat().take(2).flatMap((n) => [n, n])]];
}
export function iteratorFrom() {
  let n = 0;
  const it = Iterator.from({ next: () => ({ value: n, done: n++ > 2 }) });
  return [it.map((x) => x + 1).toArray(), it instanceof Iterator];
}
export function iteratorProtocol() {
  const log: string[] = [];
  const it = { [Symbol.iterator]() { let i = 0; return { next: () => ({ value: i++, done: i > 3 }), return: () => (log.push("closed"), { value: undefined, done: true }) }; } };
  for (const x of it) if (x === 1) break;
  const [a] = it;
  return [log, a, Math.max(...it)];
}
export function entriesAndKeys() {
  return [[...["a", "b"].entries()], [...["a", "b"].keys()], [...new Set(["x"]).entries()]];
}
export function concatSpreads() {
  return [[1].concat([2], 3 as any, [[4]] as any), [1].concat({ length: 1, 0: "s", [Symbol.isConcatSpreadable]: true } as any)];
}
export function arrayLikeGenerics() {
  return [Array.prototype.map.call("abc", (c: string) => c.toUpperCase()), Array.prototype.join.call({ length: 2, 0: "a", 1: "b" }, "-")];
}
export function deepEqualJson() {
  const o = { a: [1, { b: null }], c: "x\u2028", d: new Date(0), e: undefined, f: () => 1, g: NaN };
  return [JSON.stringify(o), JSON.stringify(o, null, 2).length, JSON.stringify(o, ["a", "b"]), JSON.stringify({ toJSON: () => "mine" })];
}
export function jsonParseReviver() {
  return JSON.parse('{"a":[1,2,{"b":3}],"__proto__":4}', (k, v) => (typeof v === "number" ? v * 2 : v)).a;
}
export function jsonRaw() {
  return [JSON.stringify({ n: JSON.rawJSON("12345678901234567890") }), JSON.isRawJSON(JSON.rawJSON("1"))];
}
export function jsonErrors() {
  const names: string[] = [];
  const circle: any = {};
  circle.self = circle;
  for (const f of [() => JSON.parse("{'a':1}"), () => JSON.stringify(circle), () => JSON.stringify(1n)]) {
    try { f(); } catch (e) { names.push((e as Error).name); }
  }
  return names;
}
export function largeObjects() {
  const o: Record<string, number> = {};
  for (let i = 0; i < 3000; i++) o[`k${i}`] = i;
  delete o.k5;
  return [Object.keys(o).length, o.k2999, "k5" in o, Object.values(o).reduce((a, b) => a + b)];
}
export function linkedListAndMemo() {
  type Node = { v: number; next: Node | null };
  let list: Node | null = null;
  for (let i = 0; i < 1000; i++) list = { v: i, next: list };
  let sum = 0;
  for (let at = list; at !== null; at = at.next) sum += at.v;
  const memo = new Map<number, bigint>();
  const fib = (n: number): bigint => memo.get(n) ?? (memo.set(n, n < 2 ? BigInt(n) : fib(n - 1) + fib(n - 2)), memo.get(n)!);
  return [sum, String(fib(120))];
}
