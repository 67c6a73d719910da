// TextEncoder, TextDecoder (UTF-8), atob, btoa.
"use strict";

const isBytes = (value) =>
  value instanceof ArrayBuffer || ArrayBuffer.isView(value);

class TextEncoder {
  get encoding() {
    return "utf-8";
  }
  encode(text = "") {
    return new Uint8Array(internals.utf8Encode(String(text).toWellFormed()));
  }
  encodeInto(text, target) {
    if (!(target instanceof Uint8Array)) {
      throw new TypeError("encodeInto writes into a Uint8Array");
    }
    let read = 0;
    let written = 0;
    for (const character of String(text).toWellFormed()) {
      const bytes = this.encode(character);
      if (written + bytes.length > target.length) {
        break;
      }
      target.set(bytes, written);
      written += bytes.length;
      read += character.length;
    }
    return { read, written };
  }
}

const UTF8_LABELS = new Set(["utf-8", "utf8", "unicode-1-1-utf-8", "unicode11utf8", "unicode20utf8", "x-unicode20utf8"]);

// How many bytes at the end begin a character that is not complete.
const openTail = (bytes) => {
  for (let back = 1; back <= Math.min(3, bytes.length); back++) {
    const byte = bytes[bytes.length - back];
    if (byte >= 0xc0) {
      const size = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : 2;
      return size > back ? back : 0;
    }
    if (byte < 0x80) {
      return 0;
    }
  }
  return 0;
};

class TextDecoder {
  #fatal;
  #ignoreBOM;
  #rest = new Uint8Array(0);
  #isStarted = false;
  constructor(label = "utf-8", options = {}) {
    if (!UTF8_LABELS.has(String(label).trim().toLowerCase())) {
      throw new RangeError(`TextDecoder: only utf-8 is known here, not "${label}"`);
    }
    this.#fatal = Boolean(options?.fatal);
    this.#ignoreBOM = Boolean(options?.ignoreBOM);
  }
  get encoding() {
    return "utf-8";
  }
  get fatal() {
    return this.#fatal;
  }
  get ignoreBOM() {
    return this.#ignoreBOM;
  }
  decode(input, options = {}) {
    if (input !== undefined && !isBytes(input)) {
      throw new TypeError("decode takes an ArrayBuffer or a view of one");
    }
    let bytes = this.#bytesOf(input);
    const isStream = Boolean(options?.stream);
    const tail = isStream ? openTail(bytes) : 0;
    this.#rest = tail === 0 ? new Uint8Array(0) : bytes.slice(bytes.length - tail);
    bytes = tail === 0 ? bytes : bytes.subarray(0, bytes.length - tail);
    const text = internals.utf8Decode(bytes, this.#fatal);
    if (text === undefined) {
      throw new TypeError("The encoded data was not valid for encoding utf-8");
    }
    const skipsBOM = !this.#ignoreBOM && !this.#isStarted && text.charCodeAt(0) === 0xfeff;
    this.#isStarted = isStream && (this.#isStarted || text.length > 0);
    return skipsBOM ? text.slice(1) : text;
  }
  #bytesOf(input) {
    const bytes =
      input === undefined
        ? new Uint8Array(0)
        : ArrayBuffer.isView(input)
          ? new Uint8Array(input.buffer, input.byteOffset, input.byteLength)
          : new Uint8Array(input);
    if (this.#rest.length === 0) {
      return bytes;
    }
    const whole = new Uint8Array(this.#rest.length + bytes.length);
    whole.set(this.#rest);
    whole.set(bytes, this.#rest.length);
    return whole;
  }
}

const DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const VALUES = new Map([...DIGITS].map((digit, value) => [digit.charCodeAt(0), value]));
const invalid = (text) => new internals.DOMException(text, "InvalidCharacterError");

const btoa = (value) => {
  const text = String(value);
  const parts = [];
  for (let i = 0; i < text.length; i += 3) {
    const [a, b, c] = [text.charCodeAt(i), text.charCodeAt(i + 1), text.charCodeAt(i + 2)];
    if (a > 255 || b > 255 || c > 255) {
      throw invalid("btoa: the string has characters outside of Latin-1; encode it with TextEncoder first");
    }
    parts.push(
      DIGITS[a >> 2],
      DIGITS[((a & 3) << 4) | (b >> 4)],
      i + 1 < text.length ? DIGITS[((b & 15) << 2) | (c >> 6)] : "=",
      i + 2 < text.length ? DIGITS[c & 63] : "=",
    );
  }
  return parts.join("");
};

const isSpace = (code) => code === 9 || code === 10 || code === 12 || code === 13 || code === 32;

const atob = (value) => {
  const codes = [];
  const text = String(value);
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (!isSpace(code)) {
      codes.push(code);
    }
  }
  for (let pad = 0; pad < 2 && codes.length % 4 === 0 && codes.at(-1) === 61; pad++) {
    codes.pop();
    if (codes.at(-1) !== 61) {
      break;
    }
  }
  const parts = [];
  let bits = 0;
  let count = 0;
  for (const code of codes) {
    const digit = VALUES.get(code);
    if (digit === undefined) {
      throw invalid("atob: the string is not base64");
    }
    bits = ((bits << 6) | digit) & 0xffff;
    count += 6;
    if (count >= 8) {
      count -= 8;
      parts.push(String.fromCharCode((bits >> count) & 255));
    }
  }
  if (codes.length % 4 === 1) {
    throw invalid("atob: the string is not base64");
  }
  return parts.join("");
};

internals.web = { TextEncoder, TextDecoder, atob, btoa };
