/** The order-preserving key form of docs/formats/key.md, written from the table alone: the tests' own encoder. */

export function encodeKey(value) {
  if (value === undefined) return [1];
  if (value === null) return [2];
  if (typeof value === "bigint") return [3, ...big64(BigInt.asUintN(64, value) ^ (1n << 63n))];
  if (typeof value === "number") return [4, ...floatBytes(value)];
  if (typeof value === "boolean") return [value ? 6 : 5];
  if (typeof value === "string") return [7, ...escaped(new TextEncoder().encode(value)), 0];
  if (value instanceof ArrayBuffer) return [8, ...escaped(new Uint8Array(value)), 0];
  if (Array.isArray(value)) return [9, ...value.flatMap(encodeKey), 0];
  const names = Object.keys(value).sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
  return [10, ...names.flatMap((name) => [...encodeKey(name), ...encodeKey(value[name])]), 0];
}

/** The size that counts for the limit of a document. */
export function accountedSize(value) {
  if (value === null || typeof value === "boolean") return 1;
  if (typeof value === "bigint" || typeof value === "number") return 9;
  if (typeof value === "string") return 2 + Buffer.byteLength(value);
  if (value instanceof ArrayBuffer) return 2 + value.byteLength;
  if (Array.isArray(value)) return 2 + value.reduce((sum, item) => sum + accountedSize(item), 0);
  return 2 + Object.entries(value).reduce((sum, [name, item]) => sum + Buffer.byteLength(name) + 1 + accountedSize(item), 0);
}

function big64(bits) {
  return Array.from({ length: 8 }, (_, index) => Number((bits >> BigInt(56 - 8 * index)) & 255n));
}

function floatBytes(number) {
  const view = new DataView(new ArrayBuffer(8));
  view.setFloat64(0, number);
  const bits = view.getBigUint64(0);
  return big64(bits >> 63n === 1n ? bits ^ 0xffffffffffffffffn : bits | (1n << 63n));
}

function escaped(bytes) {
  return [...bytes].flatMap((byte) => (byte === 0 ? [0, 255] : [byte]));
}
