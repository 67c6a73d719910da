// BBV, as docs/formats/value.md describes it: what the tests send and read.

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true });

const u32 = (value) => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
};

const varint = (value) => {
  const bytes = [];
  while (value >= 128) {
    bytes.push((value % 128) | 128);
    value = Math.floor(value / 128);
  }
  return Buffer.from([...bytes, value]);
};

const scalar = (tag, size, write) => {
  const bytes = Buffer.alloc(1 + size);
  bytes[0] = tag;
  write(bytes);
  return bytes;
};

const ends = (items) => {
  let end = 0;
  return items.map((item) => (end += item.length));
};

const encodeArray = (value) => {
  const items = value.map(encode);
  const body = Buffer.concat([u32(items.length), ...ends(items).map(u32), ...items]);
  return Buffer.concat([Buffer.from([9]), u32(body.length), body]);
};

const encodeObject = (value) => {
  const fields = Object.keys(value)
    .map((key) => [Buffer.from(encoder.encode(key)), encode(value[key])])
    .sort(([a], [b]) => Buffer.compare(a, b));
  const names = fields.map(([name]) => name);
  const values = fields.map(([, item]) => item);
  const nameEnds = ends(names);
  const valueEnds = ends(values);
  const heap = Buffer.concat(names);
  const body = Buffer.concat([
    u32(fields.length),
    ...fields.flatMap((_, i) => [u32(nameEnds[i]), u32(valueEnds[i])]),
    u32(heap.length),
    heap,
    ...values,
  ]);
  return Buffer.concat([Buffer.from([10]), u32(body.length), body]);
};

export const encode = (value) => {
  switch (typeof value) {
    case "undefined":
      return Buffer.from([1]);
    case "bigint":
      return scalar(3, 8, (bytes) => bytes.writeBigInt64LE(value, 1));
    case "number":
      return scalar(4, 8, (bytes) => bytes.writeDoubleLE(value, 1));
    case "boolean":
      return Buffer.from([value ? 6 : 5]);
    case "string": {
      const text = Buffer.from(encoder.encode(value));
      return Buffer.concat([Buffer.from([7]), varint(text.length), text]);
    }
    default:
  }
  if (value === null) {
    return Buffer.from([2]);
  }
  if (value instanceof ArrayBuffer) {
    return Buffer.concat([Buffer.from([8]), varint(value.byteLength), Buffer.from(value)]);
  }
  return Array.isArray(value) ? encodeArray(value) : encodeObject(value);
};

const sized = (bytes, at) => {
  let size = 0;
  let factor = 1;
  for (;;) {
    const byte = bytes[at++];
    size += (byte & 127) * factor;
    factor *= 128;
    if (byte < 128) {
      return bytes.subarray(at, at + size);
    }
  }
};

const decodeArray = (bytes) => {
  const count = bytes.readUInt32LE(5);
  const start = 9 + count * 4;
  return Array.from({ length: count }, (_, i) =>
    decode(bytes.subarray(start + (i === 0 ? 0 : bytes.readUInt32LE(5 + i * 4)), start + bytes.readUInt32LE(9 + i * 4))),
  );
};

const decodeObject = (bytes) => {
  const count = bytes.readUInt32LE(5);
  const heapAt = 9 + count * 8 + 4;
  const valuesAt = heapAt + bytes.readUInt32LE(heapAt - 4);
  const end = (i, which) => (i < 0 ? 0 : bytes.readUInt32LE(9 + i * 8 + which * 4));
  const object = {};
  for (let i = 0; i < count; i++) {
    const name = decoder.decode(bytes.subarray(heapAt + end(i - 1, 0), heapAt + end(i, 0)));
    object[name] = decode(bytes.subarray(valuesAt + end(i - 1, 1), valuesAt + end(i, 1)));
  }
  return object;
};

export const decode = (given) => {
  const bytes = Buffer.from(given.buffer, given.byteOffset, given.byteLength);
  switch (bytes[0]) {
    case 1:
      return undefined;
    case 2:
      return null;
    case 3:
      return bytes.readBigInt64LE(1);
    case 4:
      return bytes.readDoubleLE(1);
    case 5:
      return false;
    case 6:
      return true;
    case 7:
      return decoder.decode(sized(bytes, 1));
    case 8: {
      const content = sized(bytes, 1);
      return content.buffer.slice(content.byteOffset, content.byteOffset + content.byteLength);
    }
    case 9:
      return decodeArray(bytes);
    case 10:
      return decodeObject(bytes);
    default:
      throw new Error(`unknown tag ${bytes[0]}`);
  }
};
