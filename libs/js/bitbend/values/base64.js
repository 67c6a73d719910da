/** Base64 of bytes. Uses `Buffer` where it is, and needs it not: this code also runs where functions run. */

const ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
/** Value of each digit; made when first needed, because functions are evaluated afresh per call. */
let digits = null;

export function toBase64(bytes) {
  const buffer = globalThis.Buffer?.from?.(bytes.buffer, bytes.byteOffset, bytes.length);
  if (buffer !== undefined) return buffer.toString("base64");
  let text = "";
  for (let i = 0; i < bytes.length; i += 3) {
    const left = bytes.length - i;
    const group = (bytes[i] << 16) | ((left > 1 ? bytes[i + 1] : 0) << 8) | (left > 2 ? bytes[i + 2] : 0);
    text += ALPHABET[group >> 18] + ALPHABET[(group >> 12) & 63];
    text += left > 1 ? ALPHABET[(group >> 6) & 63] : "=";
    text += left > 2 ? ALPHABET[group & 63] : "=";
  }
  return text;
}

/** The bytes, or null when `text` is not base64 with padding. */
export function fromBase64(text) {
  if (text.length % 4 !== 0) return null;
  digits ??= Object.fromEntries([...ALPHABET].map((character, index) => [character, index]));
  const padding = text.endsWith("==") ? 2 : text.endsWith("=") ? 1 : 0;
  const digitCount = text.length - padding;
  const bytes = new Uint8Array((text.length / 4) * 3 - padding);
  let at = 0;
  for (let i = 0; i < text.length; i += 4) {
    let group = 0;
    for (let j = i; j < i + 4; j++) {
      const digit = j < digitCount ? digits[text[j]] : 0;
      if (digit === undefined) return null;
      group = (group << 6) | digit;
    }
    for (let shift = 16; shift >= 0 && at < bytes.length; shift -= 8) bytes[at++] = (group >> shift) & 255;
  }
  return bytes;
}
