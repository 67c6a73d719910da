/**
 * What did not change keeps its identity: `next`, with every part that equals the part of `previous` in
 * its place replaced by it; `previous` itself when all is equal.
 */
export function sameOrNext(previous, next) {
  if (Object.is(previous, next)) return previous;
  if (typeof previous !== "object" || typeof next !== "object" || previous === null || next === null) return next;
  if (previous instanceof ArrayBuffer || next instanceof ArrayBuffer) return isSameBytes(previous, next) ? previous : next;
  if (Array.isArray(previous) !== Array.isArray(next)) return next;
  return Array.isArray(next) ? sameArray(previous, next) : sameObject(previous, next);
}

function sameArray(previous, next) {
  // Documents move in a list: one that is found by its id keeps its identity at its new place too.
  const byId = new Map(previous.filter(hasId).map((item) => [item._id, item]));
  let isSame = previous.length === next.length;
  const merged = next.map((item, index) => {
    const part = sameOrNext((hasId(item) ? byId.get(item._id) : undefined) ?? previous[index], item);
    isSame &&= Object.is(part, previous[index]);
    return part;
  });
  return isSame ? previous : merged;
}

function sameObject(previous, next) {
  const names = Object.keys(next);
  let isSame = Object.keys(previous).length === names.length;
  const merged = { ...next };
  for (const name of names) {
    if (!Object.hasOwn(previous, name)) {
      isSame = false;
      continue;
    }
    merged[name] = sameOrNext(previous[name], next[name]);
    isSame &&= Object.is(merged[name], previous[name]);
  }
  return isSame ? previous : merged;
}

function hasId(item) {
  return typeof item === "object" && item !== null && typeof item._id === "string";
}

function isSameBytes(a, b) {
  if (!(a instanceof ArrayBuffer) || !(b instanceof ArrayBuffer) || a.byteLength !== b.byteLength) return false;
  const x = new Uint8Array(a);
  const y = new Uint8Array(b);
  return x.every((byte, index) => byte === y[index]);
}
