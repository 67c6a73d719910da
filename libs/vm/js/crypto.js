// crypto: chance comes from the seed of the call, so that a transaction that runs again does the same.
"use strict";

const later = (name) => () => {
  throw internals.error(
    "NotAvailableHere",
    `crypto.subtle.${name} is not available in queries and mutations; use an action`,
  );
};

const subtle = {
  async digest(algorithm, data) {
    const name = String(typeof algorithm === "string" ? algorithm : algorithm?.name).toUpperCase();
    if (name !== "SHA-256") {
      throw internals.error(
        "NotAvailableHere",
        `crypto.subtle.digest: only SHA-256 is available in queries and mutations, not ${name}`,
      );
    }
    if (!(data instanceof ArrayBuffer || ArrayBuffer.isView(data))) {
      throw new TypeError("crypto.subtle.digest takes an ArrayBuffer or a view of one");
    }
    return internals.sha256(data);
  },
};
for (const name of ["encrypt", "decrypt", "sign", "verify", "generateKey", "deriveKey", "deriveBits",
  "importKey", "exportKey", "wrapKey", "unwrapKey"]) {
  subtle[name] = later(name);
}

const HEX = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, "0"));

internals.web.crypto = {
  subtle,
  getRandomValues(view) {
    if (!ArrayBuffer.isView(view) || view instanceof Float32Array || view instanceof Float64Array || view instanceof DataView) {
      throw new TypeError("getRandomValues fills an integer typed array");
    }
    if (view.byteLength > 65536) {
      throw new internals.DOMException("getRandomValues: at most 65536 bytes at once", "QuotaExceededError");
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
