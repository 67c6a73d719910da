// Syntax of TypeScript and JavaScript: every export is called in BitBend and in plain Node.js.

export function destructuring() {
  const { a, b: { c = 3, ...rest } = {}, ...others } = { a: 1, b: { d: 4, e: 5 } as Record<string, number>, f: 6, g: 7 };
  const [first, , third = "3", ...tail] = ["1", "2", undefined, "4", "5"];
  return { a, c, rest, others, first, third, tail };
}
export function defaultsSeeEarlierParameters() {
  const f = (a: number, b = a + 1, ...c: number[]) => [a, b, ...c];
  return [f(1), f(1, 5), f(1, undefined, 7, 8)];
}
export function optionalChaining() {
  const o: any = { a: { b: [() => 7] }, z: null };
  return [o?.a?.b?.[0]?.(), o.x?.y.z.w ?? "none", o.z?.q ?? null, typeof o.n?.()];
}
export function logicalAssignment() {
  const o: any = { a: 0, b: null, c: 1 };
  o.a ||= 5; o.b ??= 6; o.c &&= 7; o.d ??= 8;
  return o;
}
export function taggedTemplates() {
  const tag = (parts: TemplateStringsArray, ...values: unknown[]) => parts.raw.join("|") + values.join(",");
  return [tag`a${1}\n${"x"}b`, String.raw`\u00e4${2}`];
}
export function labels() {
  const out: number[] = [];
  outer: for (let i = 0; i < 4; i++) {
    for (let j = 0; j < 4; j++) {
      if (j === 2) continue outer;
      if (i === 3) break outer;
      out.push(i * 10 + j);
    }
  }
  return out;
}
export function closuresPerIteration() {
  const fs: (() => number)[] = [];
  for (let i = 0; i < 3; i++) fs.push(() => i);
  return fs.map((f) => f());
}
export function finallyWins() {
  const f = () => { try { throw 1; } catch { return "catch"; } finally { return "finally"; } };
  return f();
}
export function switchFallsThrough() {
  const f = (n: number) => { let out = ""; switch (n) { case 1: out += "1"; case 2: out += "2"; break; default: out += "d"; } return out; };
  return [f(1), f(2), f(3)];
}
export function exponentAndBits() {
  return [2 ** 10, (-3) ** 2, 7 & 3, 7 | 8, 5 ^ 1, ~5, -1 >>> 28, 1 << 31, -17 % 5];
}
export function computedKeys() {
  const k = "x";
  return { [k + 1]: 1, [`${k}2`]() { return 2; } }.x1;
}
export function gettersAndSetters() {
  const o = { _v: 1, get v() { return this._v; }, set v(n) { this._v = n * 2; } };
  o.v = 5;
  return [o.v, Object.getOwnPropertyDescriptor(o, "v")?.get !== undefined];
}
export function spreadOrder() {
  return { ...{ a: 1, b: 2 }, b: 3, ...{ c: 4 }, ...null, ...undefined, ..."hi" };
}
export function commaVoidTypeof() {
  return [(1, 2), void 0 === undefined, typeof null, typeof (() => 1), typeof 1n, typeof Symbol.iterator];
}
declare const require: unknown, module: unknown, exports: unknown, __filename: unknown;
export function noCommonJs() {
  return [typeof require, typeof module, typeof exports, typeof __filename];
}
export function newTarget() {
  function F(this: any) { this.isNew = new.target === F; }
  // @ts-expect-error functions as constructors
  return new F().isNew;
}
enum Colour { Red, Green = 5, Blue }
export function enums() {
  return [Colour.Red, Colour.Green, Colour.Blue, Colour[5]];
}
namespace Shapes { export const sides = (name: string) => (name === "square" ? 4 : 3); }
export function namespaces() {
  return Shapes.sides("square");
}
interface Named { readonly name: string }
function longest<T extends Named>(...items: T[]): T { return items.reduce((a, b) => (b.name.length > a.name.length ? b : a)); }
export function generics() {
  return longest({ name: "a", n: 1 }, { name: "abc", n: 2 }).n satisfies number;
}
function overload(x: string): string;
function overload(x: number): number;
function overload(x: any) { return x; }
export function overloads() {
  return [overload("a"), overload(1)];
}
class Animal {
  static #count = 0;
  static { Animal.#count = 10; }
  #secret: string;
  protected legs = 4;
  accessor mood = "calm";
  constructor(public readonly name: string, secret = "none") { this.#secret = secret; Animal.#count++; }
  static get count() { return Animal.#count; }
  get secret() { return this.#secret; }
  speak() { return `${this.name}:${this.legs}`; }
  static is(o: object) { return #secret in o; }
}
class Dog extends Animal {
  override speak() { return `${super.speak()}!`; }
  get [Symbol.toStringTag]() { return "Dog"; }
}
export function classes() {
  const before = Animal.count;
  const dog = new Dog("rex", "bone");
  dog.mood = "wild";
  return [before, Animal.count, dog.speak(), dog.secret, String(dog), Animal.is(dog), Animal.is({}), dog.mood, dog instanceof Animal, Dog.name, Dog.length];
}
export function mixins() {
  const Loud = <B extends new (...a: any[]) => object>(Base: B) => class extends Base { shout() { return "HEY"; } };
  return new (Loud(class { x = 1; }))().shout();
}
export function abstractClasses() {
  abstract class Shape { abstract area(): number; describe() { return `area ${this.area()}`; } }
  return new (class extends Shape { area() { return 4; } })().describe();
}
export function extendsBuiltIns() {
  class Stack<T> extends Array<T> { peek() { return this.at(-1); } }
  class Index extends Map<string, number> { inc(k: string) { return this.set(k, (this.get(k) ?? 0) + 1); } }
  class Oops extends Error { override name = "Oops"; constructor(m: string, public code: number) { super(m, { cause: "why" }); } }
  const e = new Oops("bad", 3);
  return [Stack.from([1, 2, 3]).map((x) => x * 2).peek(), new Index().inc("a").inc("a").get("a"), String(e), e.cause, e.code, e instanceof Error];
}
export function privateMethods() {
  class A { #f() { return 1; } get #g() { return 2; } static #h() { return 3; } all() { return [this.#f(), this.#g, A.#h()]; } }
  return new A().all();
}
export function generators() {
  function* fib(): Generator<number, string, boolean | undefined> { let [a, b] = [0, 1]; for (;;) { if (yield a) return "stopped"; [a, b] = [b, a + b]; } }
  const g = fib();
  const out: unknown[] = [];
  for (let i = 0; i < 8; i++) out.push(g.next().value);
  return [...out, g.next(true), g.next()];
}
export function generatorReturnAndThrow() {
  const log: string[] = [];
  function* g() { try { yield 1; yield 2; } catch (e) { log.push(`caught ${e}`); yield 9; } finally { log.push("finally"); } }
  const a = g(); a.next(); const r = a.return(5 as any);
  const b = g(); b.next(); const t = b.throw("x");
  return [r, t, log];
}
export function delegation() {
  function* inner(): Generator<number, string> { yield 1; return "r"; }
  function* outer(): Generator<unknown> { yield yield* inner(); yield* [2, 3]; yield* "ab"; }
  return [...outer()];
}
export function usingDisposes() {
  const log: string[] = [];
  {
    using a = { [Symbol.dispose]: () => log.push("a") };
    using b = { [Symbol.dispose]: () => log.push("b") };
    log.push(a === b ? "same" : "body");
  }
  return log;
}
export async function awaitUsingDisposes() {
  const log: string[] = [];
  {
    await using a = { [Symbol.asyncDispose]: async () => { await null; log.push("a"); } };
    log.push(typeof a);
  }
  return log;
}
export function disposableStack() {
  const log: number[] = [];
  const stack = new DisposableStack();
  stack.defer(() => log.push(1));
  stack.adopt(2, (n) => log.push(n));
  stack.dispose();
  return [log, stack.disposed];
}
export function decoratorsOfTypeScript() {
  const seen: string[] = [];
  const logged = (_: unknown, context: ClassMethodDecoratorContext) => { seen.push(String(context.name)); };
  class A { @logged f() { return 1; } }
  return [new A().f(), seen];
}
export function getterInLiteralWithSuper() {
  const base = { hi() { return "base"; } };
  const o = { __proto__: base, hi() { return `${super.hi()}+`; } };
  return o.hi();
}
export function symbolsAsKeys() {
  const s = Symbol("s");
  const o = { [s]: 1, a: 2 };
  return [Object.keys(o), o[s], s.description, Object.getOwnPropertySymbols(o).length, Symbol.for("k") === Symbol.for("k")];
}
export function customToPrimitive() {
  const o = { [Symbol.toPrimitive]: (hint: string) => (hint === "number" ? 42 : hint) };
  return [+(o as any), `${o}`, (o as any) + ""];
}
export function proxiesAndReflect() {
  const log: string[] = [];
  const p: any = new Proxy({ a: 1 }, { get: (t, k, r) => (log.push(String(k)), Reflect.get(t, k, r)), has: () => true, deleteProperty: () => true, ownKeys: () => ["a", "b"], getOwnPropertyDescriptor: () => ({ value: 1, enumerable: true, configurable: true }) });
  return [p.a, p.zz === undefined, "q" in p, delete p.a, Object.keys(p), log];
}
export function revocableProxy() {
  const { proxy, revoke } = Proxy.revocable({ x: 1 } as any, {});
  const before = proxy.x;
  revoke();
  try { return proxy.x; } catch (e) { return [before, (e as Error).name]; }
}
export function strictMode() {
  const out: string[] = [];
  try { (Object.freeze({ a: 1 }) as any).a = 2; } catch (e) { out.push((e as Error).name); }
  try { (undefined as any).x; } catch (e) { out.push((e as Error).name); }
  out.push(String((function (this: unknown) { return this; })()));
  return out;
}
export function temporalDeadZone() {
  try { const f = () => x; f(); let x = 1; return x; } catch (e) { return (e as Error).name; }
}
export function catchWithoutBinding() {
  try { JSON.parse("{"); } catch { return "caught"; }
  return "no";
}
export function stackTraceLimitIsSetForAMoment() {
  const limit = Error.stackTraceLimit;
  const framesOf = (n: number) => { Error.stackTraceLimit = n; return new Error("x").stack!.split("\n").length - 1; };
  const inside = [framesOf(0), framesOf(1)];
  Error.stackTraceLimit = limit;
  return [inside, Error.stackTraceLimit === limit, new Error("y").stack!.split("\n").length > 1];
}
export function aggregateErrors() {
  const e = new AggregateError([new TypeError("a"), 2], "both");
  return [e.message, e.errors.length, e.errors[0].name];
}
export function errorCauses() {
  const e = new Error("outer", { cause: new RangeError("inner") });
  return [e.message, (e.cause as Error).name, "cause" in new Error("x")];
}
export function argumentsObject() {
  return (function (..._: number[]) { return [arguments.length, arguments[1], Array.from(arguments)]; })(1, 2, 3);
}
export function deepRecursionEnds() {
  const depth = (n: number): number => (n === 0 ? 0 : 1 + depth(n - 1));
  try { const f = (): number => 1 + f(); f(); return "never"; } catch (e) { return [(e as Error).name, depth(2000)]; }
}
