// WebAssembly modules put together byte by byte.
import { mutation, query } from "./_generated/server";

const leb = (n: number): number[] => (n < 128 ? [n] : [(n & 127) | 128, ...leb(n >>> 7)]);
const section = (id: number, ...items: number[][]) => [id, ...leb(leb(items.length).length + items.flat().length), ...leb(items.length), ...items.flat()];
const text = (t: string) => [t.length, ...new TextEncoder().encode(t)];
const body = (...code: number[]) => { const all = [0, ...code, 0x0b]; return [...leb(all.length), ...all]; };
const I32 = 0x7f, I64 = 0x7e, F32 = 0x7d, F64 = 0x7c;
type Parts = { types?: number[][]; imports?: number[][]; functions?: number[][]; memory?: number[]; globals?: number[][]; exports?: number[][]; code?: number[][] };
const assemble = ({ types = [[0x60, 0, 0]], imports, functions = [[0]], memory, globals, exports = [[...text("f"), 0, 0]], code = [body()] }: Parts = {}) =>
  new Uint8Array([
    0, 0x61, 0x73, 0x6d, 1, 0, 0, 0,
    ...section(1, ...types),
    ...(imports ? section(2, ...imports) : []),
    ...section(3, ...functions),
    ...(memory ? section(5, memory) : []),
    ...(globals ? section(6, ...globals) : []),
    ...section(7, ...exports),
    ...section(10, ...code),
  ]);
const run = (parts: Parts, imports?: WebAssembly.Imports) => new WebAssembly.Instance(new WebAssembly.Module(assemble(parts)), imports).exports as Record<string, any>;
const bits = (n: bigint | number) => BigInt.asUintN(64, BigInt(n)).toString(16);
const nameOf = (f: () => unknown) => { try { f(); return "nothing thrown"; } catch (e) { return `${(e as Error).name}: ${(e as Error).message}`; } };

const F64_TO_I64 = [[0x60, 2, F64, F64, 1, I64]];
const binary = (op: number) => ({ types: F64_TO_I64, code: [body(0x20, 0, 0x20, 1, op, 0xbd)] });
const weird = () => new Float64Array(new BigUint64Array([0xfff8000000000123n]).buffer)[0];

/** The bits of what should be a NaN, made in every way that there is. */
export const nans = query(() => {
  const f64 = new WebAssembly.Global({ value: "f64", mutable: true }, weird());
  return {
    division: bits(run(binary(0xa3)).f(0, 0)),
    subtraction: bits(run(binary(0xa1)).f(Infinity, Infinity)),
    minimum: bits(run(binary(0xa4)).f(weird(), 1)),
    squareRoot: bits(run({ types: F64_TO_I64, code: [body(0x20, 0, 0x9f, 0xbd)] }).f(-1, 0)),
    parameter: bits(run({ types: F64_TO_I64, code: [body(0x20, 1, 0xbd)] }).f(0, weird())),
    promoted: bits(run({ types: [[0x60, 1, F32, 1, I64]], code: [body(0x20, 0, 0xbb, 0xbd)] }).f(NaN)),
    single: run({ types: [[0x60, 2, F32, F32, 1, I32]], code: [body(0x20, 0, 0x20, 1, 0x95, 0xbc)] }).f(0, 0) >>> 0,
    imported: bits(run({ types: [[0x60, 0, 1, F64], [0x60, 0, 1, I64]], imports: [[...text("m"), ...text("g"), 0, 0]], functions: [[1]], exports: [[...text("f"), 0, 1]], code: [body(0x10, 0, 0xbd)] }, { m: { g: weird } }).f()),
    tailCall: bits(run({ types: [[0x60, 0, 1, F64], [0x60, 0, 1, I64]], imports: [[...text("m"), ...text("g"), 0, 0]], functions: [[0], [1]], exports: [[...text("f"), 0, 2]], code: [body(0x12, 0), body(0x10, 1, 0xbd)] }, { m: { g: weird } }).f()),
    global: bits(run({ types: [[0x60, 0, 1, I64]], imports: [[...text("m"), ...text("x"), 3, F64, 1]], code: [body(0x23, 0, 0xbd)] }, { m: { x: f64 } }).f()),
    negated: bits(run({ types: F64_TO_I64, code: [body(0x20, 0, 0x20, 1, 0xa3, 0x9a, 0xbd)] }).f(0, 0)),
    ordinary: [run({ types: [[0x60, 2, F64, F64, 1, F64]], code: [body(0x20, 0, 0x20, 1, 0xa3)] }).f(1, 4), run({ types: [[0x60, 2, F64, F64, 1, F64]], code: [body(0x20, 0, 0x20, 1, 0xa3)] }).f(1, 0)],
  };
});

/** What a module must not have, and what is said about it. */
export const refused = query(() => {
  const compile = (parts: Parts) => nameOf(() => new WebAssembly.Module(assemble(parts)));
  return {
    notWasm: nameOf(() => new WebAssembly.Module(new Uint8Array([1, 2, 3]))),
    cutOff: nameOf(() => new WebAssembly.Module(assemble().subarray(0, 20))),
    invalid: compile({ code: [body(0x41, 0)] }),
    sharedMemory: compile({ memory: [3, 1, 1] }),
    memory64: compile({ memory: [4, 1] }),
    atomics: compile({ code: [body(0xfe, 0x03, 0)] }),
    simd: compile({ code: [body(0xfd, 0x0c, ...new Array(16).fill(0), 0x1a)] }),
    exceptions: compile({ code: [body(0x06, 0x40, 0x0b)] }),
    structs: compile({ types: [[0x5f, 0]] }),
    sharedByHand: nameOf(() => new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true } as any)),
    sharedByGetter: nameOf(() => { let asked = 0; const m = new WebAssembly.Memory({ initial: 1, maximum: 1, get shared() { return asked++ > 0; } } as any); if (Object.prototype.toString.call(m.buffer) !== "[object ArrayBuffer]") throw new Error("shared"); }),
    manyMemories: nameOf(() => { for (let i = 0; i < 100; i++) new WebAssembly.Memory({ initial: 1 }); }),
    withoutNew: nameOf(() => (WebAssembly.Module as any)(assemble())),
    validate: [WebAssembly.validate(assemble()), WebAssembly.validate(assemble({ memory: [3, 1, 1] })), WebAssembly.validate(new Uint8Array(3))],
    left: Object.getOwnPropertyNames(WebAssembly).sort(),
  };
});

export const traps = query(() => ({
  unreachable: nameOf(() => run({ code: [body(0x00)] }).f()),
  outOfBounds: nameOf(() => run({ memory: [0, 1], code: [body(0x41, 0x7f, 0x28, 2, 0, 0x1a)] }).f()),
  divideByZero: nameOf(() => run({ code: [body(0x41, 1, 0x41, 0, 0x6d, 0x1a)] }).f()),
  recursion: nameOf(() => run({ code: [body(0x10, 0)] }).f()),
}));

export const asynchronous = query(async () => {
  const both = await WebAssembly.instantiate(assemble({ types: [[0x60, 0, 1, I32]], code: [body(0x41, 42)] }));
  const module = await WebAssembly.compile(assemble({ types: [[0x60, 0, 1, I32]], code: [body(0x41, 43)] }));
  const instance = await WebAssembly.instantiate(module);
  const failure = await WebAssembly.compile(new Uint8Array(8)).catch((e) => e.name);
  return [(both.instance.exports as any).f(), both.module instanceof WebAssembly.Module, (instance.exports as any).f(), instance instanceof WebAssembly.Instance, failure];
});

/** How many pages one memory grows to. */
export const grows = query(() => {
  const { memory } = run({ memory: [0, 1], exports: [[...text("f"), 0, 0], [...text("memory"), 2, 0]] });
  let pages = 1;
  for (; ; pages++) { try { (memory as WebAssembly.Memory).grow(1); } catch { break; } }
  return pages;
});

const LOOP: Parts = { code: [body(0x03, 0x40, 0x0c, 0, 0x0b)] };
export const loop = query(() => run(LOOP).f());
export const loopInMutation = mutation(async (ctx) => {
  await ctx.db.insert("things", { group: "wasm", rank: 1, text: "" });
  run(LOOP).f();
});
