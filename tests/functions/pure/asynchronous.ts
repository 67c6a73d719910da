// Promises, async functions and the order in which they run.

export async function orderOfMicrotasks() {
  const log: number[] = [];
  const a = (async () => { log.push(1); await null; log.push(4); })();
  const b = Promise.resolve().then(() => log.push(5)).then(() => log.push(6));
  log.push(2);
  queueMicrotask(() => log.push(7));
  log.push(3);
  await Promise.all([a, b]);
  return log;
}
export async function combinators() {
  return [
    await Promise.all([1, Promise.resolve(2)]),
    await Promise.race([new Promise(() => {}), Promise.resolve("fast")]),
    await Promise.any([Promise.reject(1), Promise.resolve(2)]),
    await Promise.allSettled([Promise.reject("no"), 3]),
  ];
}
export async function anyRejectsWithAll() {
  try { return await Promise.any([Promise.reject(1), Promise.reject(2)]); } catch (e) { return [(e as AggregateError).constructor.name, (e as AggregateError).errors]; }
}
export async function tryAndWithResolvers() {
  const { promise, resolve } = Promise.withResolvers<number>();
  resolve(5);
  return [await promise, await Promise.try((a: number, b: number) => a + b, 1, 2), await Promise.try(() => { throw 1; }).catch(() => "caught")];
}
export async function finallyKeepsValue() {
  const log: string[] = [];
  const v = await Promise.resolve(1).finally(() => { log.push("f"); return 2; });
  return [v, log, await Promise.reject(3).finally(() => {}).catch((e) => e)];
}
export async function thenables() {
  return await { then: (resolve: (n: number) => void) => resolve(42) };
}
export async function awaitInLoops() {
  let sum = 0;
  for (const p of [1, Promise.resolve(2), (async () => 3)()]) sum += await p;
  return sum;
}
export async function asyncGenerators() {
  async function* g() { let i = 0; try { while (i < 3) yield i++; } finally { log.push("done"); } }
  const log: unknown[] = [];
  for await (const x of g()) { log.push(x); if (x === 1) break; }
  return log;
}
export async function forAwaitOverPromises() {
  const out: number[] = [];
  for await (const x of [Promise.resolve(1), 2]) out.push(x);
  return out;
}
export async function manyAwaits() {
  let n = 0;
  for (let i = 0; i < 1000; i++) n += await i;
  return n;
}
export async function parallelFold() {
  const work = async (n: number): Promise<number> => (n === 0 ? 1 : (await work(n - 1)) + (await work(n - 1)));
  return await work(7);
}
export async function errorsThroughAwait() {
  const inner = async () => { await null; throw new RangeError("deep"); };
  try { await inner(); } catch (e) { return [(e as Error).name, (e as Error).message, e instanceof RangeError]; }
}
export async function lateHandlerIsEnough() {
  const p = Promise.reject(new Error("late"));
  await null;
  return await p.catch((e) => e.message);
}
export async function subclassOfPromise() {
  class Deferred<T> extends Promise<T> { static make() { return Deferred.resolve(1).then((x) => x + 1); } }
  const d = Deferred.make();
  return [await d, d instanceof Deferred];
}
export async function asyncIteratorByHand() {
  const it = { [Symbol.asyncIterator]: () => { let i = 0; return { next: async () => ({ value: i, done: i++ >= 2 }) }; } };
  const out: number[] = [];
  for await (const x of it) out.push(x);
  return out;
}
export async function mutex() {
  let tail: Promise<unknown> = Promise.resolve();
  const lock = <T>(f: () => Promise<T>) => { const run = tail.then(f); tail = run.catch(() => {}); return run; };
  const log: string[] = [];
  await Promise.all(["a", "b"].map((n) => lock(async () => { log.push(`${n}1`); await null; await null; log.push(`${n}2`); })));
  return log;
}
export async function deepChain() {
  let p = Promise.resolve(0);
  for (let i = 0; i < 20000; i++) p = p.then((x) => x + 1);
  return await p;
}
export async function topOfAsyncStack() {
  const c = async () => { await null; return new Error("x").stack!.split("\n").length > 1; };
  return await c();
}
