// crypto: chance comes from the seed of the call, so that a transaction that runs again does the same.
// Hashes and HMAC are native; what needs real secrecy or much time belongs in an action.
"use strict";

const { DOMException } = internals;
const refuse = (name, message) => {
  throw new DOMException(message, name);
};

// ---- the algorithms ----
const HASHES = [
  { name: "SHA-1", block: 64 }, { name: "SHA-256", block: 64 }, { name: "SHA-384", block: 128 },
  { name: "SHA-512", block: 128 },
];

const hashOf = (algorithm, what) => {
  const name = String(typeof algorithm === "string" ? algorithm : algorithm?.name).toUpperCase();
  const index = HASHES.findIndex((hash) => hash.name === name);
  return index >= 0
    ? index
    : refuse("NotSupportedError", `${what}: queries and mutations have SHA-1, SHA-256, SHA-384 and SHA-512, not ${name}`);
};

const bytesOf = (data, what) =>
  data instanceof ArrayBuffer || ArrayBuffer.isView(data)
    ? data
    : (() => { throw new TypeError(`${what} takes an ArrayBuffer or a view of one`); })();

const copyOf = (data) =>
  data instanceof ArrayBuffer ? data.slice(0) : data.buffer.slice(data.byteOffset, data.byteOffset + data.byteLength);

// ---- keys ----
const SECRET = {};
class CryptoKey {
  #bytes;
  #hash;
  #extractable;
  #usages;
  constructor(secret, bytes, hash, extractable, usages) {
    if (secret !== SECRET) {
      throw new TypeError("Illegal constructor: use crypto.subtle.importKey");
    }
    this.#bytes = bytes;
    this.#hash = hash;
    this.#extractable = extractable;
    this.#usages = usages;
  }
  get type() {
    return "secret";
  }
  get extractable() {
    return this.#extractable;
  }
  get algorithm() {
    return { name: "HMAC", hash: { name: HASHES[this.#hash].name }, length: this.#bytes.byteLength * 8 };
  }
  get usages() {
    return [...this.#usages];
  }
  get [Symbol.toStringTag]() {
    return "CryptoKey";
  }
  static open(key, usage, what) {
    if (typeof key !== "object" || key === null || !(#bytes in key)) {
      throw new TypeError(`${what} takes a CryptoKey`);
    }
    if (usage !== null && !key.#usages.includes(usage)) {
      refuse("InvalidAccessError", `${what}: the key may not be used to ${usage}`);
    }
    return { bytes: key.#bytes, hash: key.#hash };
  }
}
const open = CryptoKey.open;
delete CryptoKey.open;

const USAGES = ["sign", "verify"];
const FAR = ["encrypt", "decrypt", "generateKey", "deriveKey", "deriveBits", "wrapKey", "unwrapKey"];

const needHmac = (algorithm, what) => {
  const name = String(typeof algorithm === "string" ? algorithm : algorithm?.name).toUpperCase();
  if (name !== "HMAC") {
    throw internals.error(
      "NotAvailableHere",
      `${what} is available for HMAC in queries and mutations, not for ${name}: use an action`,
    );
  }
};

const subtle = {
  async digest(algorithm, data) {
    return internals.digest(hashOf(algorithm, "crypto.subtle.digest"), bytesOf(data, "crypto.subtle.digest"));
  },
  async importKey(format, data, algorithm, extractable, usages) {
    const what = "crypto.subtle.importKey";
    needHmac(algorithm, what);
    if (format !== "raw") {
      refuse("NotSupportedError", `${what}: queries and mutations have the format "raw", not ${String(format)}`);
    }
    const hash = hashOf(algorithm.hash, what);
    const bytes = copyOf(bytesOf(data, what));
    const wanted = [...usages].map(String);
    if (wanted.length === 0 || wanted.some((usage) => !USAGES.includes(usage))) {
      refuse("SyntaxError", `${what}: the usages of a HMAC key are "sign" and "verify"`);
    }
    if (bytes.byteLength === 0) {
      refuse("DataError", `${what}: the key is empty`);
    }
    return new CryptoKey(SECRET, bytes, hash, Boolean(extractable), USAGES.filter((usage) => wanted.includes(usage)));
  },
  async exportKey(format, key) {
    const { bytes } = open(key, null, "crypto.subtle.exportKey");
    if (format !== "raw") {
      refuse("NotSupportedError", `crypto.subtle.exportKey: queries and mutations have the format "raw"`);
    }
    return key.extractable ? bytes.slice(0) : refuse("InvalidAccessError", "crypto.subtle.exportKey: the key is not extractable");
  },
  async sign(algorithm, key, data) {
    needHmac(algorithm, "crypto.subtle.sign");
    const { bytes, hash } = open(key, "sign", "crypto.subtle.sign");
    return internals.hmac(hash, bytes, bytesOf(data, "crypto.subtle.sign"));
  },
  async verify(algorithm, key, signature, data) {
    needHmac(algorithm, "crypto.subtle.verify");
    const { bytes, hash } = open(key, "verify", "crypto.subtle.verify");
    const right = new Uint8Array(internals.hmac(hash, bytes, bytesOf(data, "crypto.subtle.verify")));
    const given = new Uint8Array(copyOf(bytesOf(signature, "crypto.subtle.verify")));
    let difference = right.length ^ given.length;
    for (let i = 0; i < right.length; i++) {
      difference |= right[i] ^ given[i];
    }
    return difference === 0;
  },
};
for (const name of FAR) {
  subtle[name] = async () => {
    throw internals.error(
      "NotAvailableHere",
      `crypto.subtle.${name} is not available in queries and mutations; use an action`,
    );
  };
}

// ---- chance ----
const HEX = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, "0"));
const FLOATS = new Set(["Float16Array", "Float32Array", "Float64Array"]);

internals.web.CryptoKey = CryptoKey;
internals.web.crypto = {
  subtle,
  getRandomValues(view) {
    if (!ArrayBuffer.isView(view) || view instanceof DataView || FLOATS.has(view[Symbol.toStringTag])) {
      refuse("TypeMismatchError", "getRandomValues fills an integer typed array");
    }
    if (view.byteLength > 65536) {
      refuse("QuotaExceededError", "getRandomValues: at most 65536 bytes at once");
    }
    const bytes = new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
    bytes.set(new Uint8Array(internals.randomBytes(view.byteLength)));
    return view;
  },
  randomUUID() {
    const b = new Uint8Array(internals.randomBytes(16));
    b[6] = (b[6] & 0x0f) | 0x40;
    b[8] = (b[8] & 0x3f) | 0x80;
    const hex = (from, to) => {
      let text = "";
      for (let i = from; i < to; i++) {
        text += HEX[b[i]];
      }
      return text;
    };
    return `${hex(0, 4)}-${hex(4, 6)}-${hex(6, 8)}-${hex(8, 10)}-${hex(10, 16)}`;
  },
};
