// Numbers, BigInt, Math, dates and typed arrays.

export function floats() {
  return [0.1 + 0.2, 1 / 3, 1e21, 1e-7, -0, 5e-324, 1.7976931348623157e308, Number.EPSILON, Number.MAX_SAFE_INTEGER];
}
export function specials() {
  return [1 / 0, -1 / 0, 0 / 0, Number("x"), Number(""), Number(" 12 "), Number("0x1f"), Number("0b11"), Number(null), Number([5])];
}
export function formatting() {
  return [(1234.5678).toFixed(2), (0.000001234).toExponential(3), (123.456).toPrecision(4), (255).toString(16), (0.5).toString(2), (1e21).toString(36)];
}
export function parsing() {
  return [parseInt("12px"), parseInt("z", 36), parseFloat("3.14abc"), Number.parseFloat("1e3"), parseInt("0x1f"), Number.isInteger(5.0), Number.isSafeInteger(2 ** 53)];
}
export function separatorsAndRadixes() {
  return [1_000_000, 0b1010, 0o17, 0xff, 1_0.5];
}
export function mathFunctions() {
  return [Math.sin(1), Math.cos(1), Math.tan(1), Math.atan2(1, 2), Math.exp(1), Math.log(10), Math.log1p(1e-10), Math.expm1(1e-10), Math.sinh(1), Math.cbrt(27), Math.hypot(3, 4), Math.pow(2, 0.5)];
}
export function mathRounding() {
  return [Math.round(-0.5), Math.round(2.5), Math.trunc(-4.7), Math.sign(-3), Math.floor(-1.5), Math.ceil(-1.5), Math.fround(5.5), Math.fround(5.05), Math.clz32(1), Math.imul(0xffffffff, 5)];
}
export function mathExtremes() {
  return [Math.max(), Math.min(), Math.max(1, NaN), Math.min(...[3, 1, 2])];
}
export function bigInts() {
  return [2n ** 62n, -7n / 2n, -7n % 2n, 5n & 3n, 1n << 40n, BigInt("0xff"), BigInt.asIntN(8, 255n), BigInt.asUintN(8, -1n)];
}
export function bigIntTexts() {
  return [(2n ** 200n).toString(), (255n).toString(16), String(-(10n ** 30n)), BigInt(Number.MAX_SAFE_INTEGER).toString()];
}
export function bigIntComparisons() {
  return [1n < 2, 2n == (2 as any), 1n === (1 as any), [3n, 1, 2n].sort((a, b) => (a < b ? -1 : 1)).map(String)];
}
export function bigIntErrors() {
  const names: string[] = [];
  for (const f of [() => (1n as any) + 1, () => BigInt(1.5), () => 1n / 0n, () => BigInt("x")]) {
    try { f(); } catch (e) { names.push((e as Error).name); }
  }
  return names;
}
export function factorial() {
  let f = 1n;
  for (let i = 1n; i <= 60n; i++) f *= i;
  return f.toString();
}
export function dates() {
  const d = new Date(Date.UTC(2024, 1, 29, 12, 34, 56, 789));
  return [d.toISOString(), d.getTime(), d.getDay(), d.getTimezoneOffset(), d.toJSON(), new Date("2024-02-30").getTime(), Date.parse("2024-03-01"), new Date(2024, 0, 1).getHours()];
}
export function dateTexts() {
  const d = new Date(86400000 * 365);
  return [d.toString(), d.toUTCString(), d.toDateString(), d.toTimeString(), String(new Date(NaN))];
}
export function dateArithmetic() {
  const d = new Date(Date.UTC(2023, 11, 31));
  d.setUTCDate(d.getUTCDate() + 60);
  d.setUTCMonth(14);
  return [d.toISOString(), new Date(d).valueOf() === +d, d > new Date(0)];
}
export function dateParsing() {
  return ["2024-01-01T00:00:00Z", "2024-01-01T00:00:00+02:00", "2024-01-01", "Mon, 01 Jan 2024 00:00:00 GMT", "nonsense"].map((t) => Date.parse(t)).map((n) => (Number.isNaN(n) ? null : n));
}
export function typedArrays() {
  return [Array.from(new Uint8Array([1, 256, -1])), Array.from(new Uint8ClampedArray([300, -5, 1.5])), Array.from(new Int16Array([40000])), Array.from(new Float32Array([1.1])), Array.from(new BigInt64Array([2n ** 63n])).map(String)];
}
export function typedArrayMethods() {
  const a = new Float64Array([3, 1, 2]);
  return [Array.from(a.toSorted()), Array.from(a.subarray(1)), Array.from(a.with(0, 9)), a.byteLength, Array.from(a.map((x) => x / 2)), a.join("-"), a.at(-1)];
}
export function dataViews() {
  const view = new DataView(new ArrayBuffer(16));
  view.setInt16(0, -2);
  view.setFloat64(8, Math.PI, true);
  view.setBigUint64(0, 123456789012345n, true);
  return [Array.from(new Uint8Array(view.buffer)), view.getFloat64(8, true), view.getUint8(0)];
}
export function resizableBuffers() {
  const b = new ArrayBuffer(4, { maxByteLength: 16 });
  const u = new Uint8Array(b);
  b.resize(8);
  u[7] = 9;
  const moved = b.transfer();
  return [u.length, b.detached, moved.byteLength, moved.resizable, new Uint8Array(moved)[7]];
}
export function float16() {
  return [Array.from(new Float16Array([1.1, 65504, 1e5])), Math.f16round(1.337)];
}
export function hashFnv1a() {
  let h = 0x811c9dc5;
  for (const c of "the quick brown fox") h = Math.imul(h ^ c.charCodeAt(0), 0x01000193) >>> 0;
  return h;
}
export function primeSieve() {
  const n = 5000;
  const composite = new Uint8Array(n + 1);
  const primes: number[] = [];
  for (let i = 2; i <= n; i++) {
    if (composite[i]) continue;
    primes.push(i);
    for (let j = i * i; j <= n; j += i) composite[j] = 1;
  }
  return [primes.length, primes.at(-1)];
}
export function matrixProduct() {
  const n = 24;
  const a = Array.from({ length: n }, (_, i) => Array.from({ length: n }, (_, j) => i / (j + 1)));
  const p = a.map((row) => a[0].map((_, j) => row.reduce((sum, x, k) => sum + x * a[k][j], 0)));
  return [p[1][1], p[23][0], p[0][23]];
}
export function moneyInCents() {
  return [19.99 * 3, Math.round(19.99 * 3 * 100), (1.005).toFixed(2), 0.1 * 3];
}
