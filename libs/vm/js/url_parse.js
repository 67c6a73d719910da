// The URL parser of the WHATWG standard (url.spec.whatwg.org), as a state machine over code points.
// Names of states and steps are those of the standard. Hosts: no Unicode tables here, so a host with
// other characters than ASCII is lower-cased, normalised (NFC) and Punycode-encoded.
"use strict";

const SPECIAL = new Map([["ftp", "21"], ["file", ""], ["http", "80"], ["https", "443"], ["ws", "80"], ["wss", "443"]]);
const isAlpha = (c) => (c >= 65 && c <= 90) || (c >= 97 && c <= 122);
const isDigit = (c) => c >= 48 && c <= 57;
const isHex = (c) => isDigit(c) || (c >= 65 && c <= 70) || (c >= 97 && c <= 102);
const code = (text) => text.charCodeAt(0);
const setOf = (base, characters) => {
  const set = new Set(base);
  for (const character of characters) {
    set.add(code(character));
  }
  return set;
};

const C0 = new Set();
for (let c = 0; c < 32; c++) {
  C0.add(c);
}
C0.add(127);
const FRAGMENT = setOf(C0, ' "<>`');
const QUERY = setOf(C0, ' "#<>');
const SPECIAL_QUERY = setOf(QUERY, "'");
const PATH = setOf(QUERY, "?^`{}");
const USERINFO = setOf(PATH, "/:;=@[\\]|");
const COMPONENT = setOf(USERINFO, "$&+,%");
const FORM = setOf(COMPONENT, "!'()~");
const FORBIDDEN_HOST = setOf([0, 9, 10, 13], " #/:<>?@[\\]^|");
const FORBIDDEN_DOMAIN = setOf(new Set([...FORBIDDEN_HOST, ...C0]), "%");

const hexByte = (byte) => "%" + (byte < 16 ? "0" : "") + byte.toString(16).toUpperCase();
const encodeAs = (text, set) => {
  let out = "";
  for (const byte of new Uint8Array(internals.utf8Encode(text.toWellFormed()))) {
    out += byte >= 128 || set.has(byte) ? hexByte(byte) : String.fromCharCode(byte);
  }
  return out;
};
const hexValue = (c) => (isDigit(c) ? c - 48 : (c | 32) - 87);
const percentDecode = (bytes) => {
  const out = [];
  for (let i = 0; i < bytes.length; i++) {
    if (bytes[i] === 37 && i + 2 < bytes.length + 0 && isHex(bytes[i + 1]) && isHex(bytes[i + 2])) {
      out.push(hexValue(bytes[i + 1]) * 16 + hexValue(bytes[i + 2]));
      i += 2;
    } else {
      out.push(bytes[i]);
    }
  }
  return new Uint8Array(out);
};
const utf8 = (text) => new Uint8Array(internals.utf8Encode(text.toWellFormed()));
const fromUtf8 = (bytes) => internals.utf8Decode(bytes, false);

// ---- hosts ----

// RFC 3492.
const punycode = (label) => {
  const points = [...label].map((character) => character.codePointAt(0));
  let out = points.filter((point) => point < 128).map((point) => String.fromCharCode(point)).join("");
  const basic = out.length;
  let handled = basic;
  if (basic > 0) {
    out += "-";
  }
  const adapt = (delta, count, isFirst) => {
    let d = Math.floor(isFirst ? delta / 700 : delta / 2);
    d += Math.floor(d / count);
    let k = 0;
    while (d > 455) {
      d = Math.floor(d / 35);
      k += 36;
    }
    return k + Math.floor((36 * d) / (d + 38));
  };
  const digit = (value) => String.fromCharCode(value < 26 ? value + 97 : value + 22);
  let [n, delta, bias] = [128, 0, 72];
  while (handled < points.length) {
    const next = Math.min(...points.filter((point) => point >= n));
    delta += (next - n) * (handled + 1);
    n = next;
    for (const point of points) {
      if (point < n) {
        delta++;
      } else if (point === n) {
        let q = delta;
        for (let k = 36; ; k += 36) {
          const t = k <= bias ? 1 : k >= bias + 26 ? 26 : k - bias;
          if (q < t) {
            break;
          }
          out += digit(t + ((q - t) % (36 - t)));
          q = Math.floor((q - t) / (36 - t));
        }
        out += digit(q);
        bias = adapt(delta, handled + 1, handled === basic);
        delta = 0;
        handled++;
      }
    }
    delta++;
    n++;
  }
  return out;
};

const isAsciiText = (text) => {
  for (let i = 0; i < text.length; i++) {
    if (text.charCodeAt(i) > 127) {
      return false;
    }
  }
  return true;
};

const domainToAscii = (domain) => {
  const labels = domain.normalize("NFKC").toLowerCase().normalize("NFC").split(/[.\u3002\uff0e\uff61]/);
  return labels.map((label) => (isAsciiText(label) ? label : "xn--" + punycode(label))).join(".");
};

// undefined: not a number; NaN is never given.
const ipv4Number = (text) => {
  let [digits, radix] = [text, 10];
  if (digits === "") {
    return undefined;
  }
  if (digits.length >= 2 && digits[0] === "0" && (digits[1] === "x" || digits[1] === "X")) {
    [digits, radix] = [digits.slice(2), 16];
  } else if (digits.length >= 2 && digits[0] === "0") {
    [digits, radix] = [digits.slice(1), 8];
  }
  let value = 0;
  for (let i = 0; i < digits.length; i++) {
    const c = digits.charCodeAt(i);
    if (!isHex(c) || hexValue(c) >= radix) {
      return undefined;
    }
    value = value * radix + hexValue(c);
  }
  return value;
};

const endsInNumber = (host) => {
  const parts = host.split(".");
  if (parts.at(-1) === "") {
    if (parts.length === 1) {
      return false;
    }
    parts.pop();
  }
  const last = parts.at(-1);
  const isDigits = last !== "" && [...last].every((character) => isDigit(code(character)));
  return isDigits || (/^0x/i.test(last) && ipv4Number(last) !== undefined);
};

const parseIpv4 = (host) => {
  const parts = host.split(".");
  if (parts.at(-1) === "" && parts.length > 1) {
    parts.pop();
  }
  const numbers = parts.map(ipv4Number);
  if (parts.length > 4 || numbers.includes(undefined)) {
    return undefined;
  }
  const last = numbers.pop();
  if (numbers.some((number) => number > 255) || last >= 256 ** (4 - numbers.length)) {
    return undefined;
  }
  const value = numbers.reduce((sum, number, i) => sum + number * 256 ** (3 - i), last);
  return [24, 16, 8, 0].map((shift) => Math.floor(value / 2 ** shift) % 256).join(".");
};

const parseIpv6 = (text) => {
  const pieces = [];
  let compress = -1;
  let at = 0;
  if (text[0] === ":") {
    if (text[1] !== ":") {
      return undefined;
    }
    at = 2;
    compress = 0;
  }
  while (at < text.length) {
    if (pieces.length === 8) {
      return undefined;
    }
    if (text[at] === ":") {
      if (compress >= 0) {
        return undefined;
      }
      at++;
      compress = pieces.length;
      continue;
    }
    const start = at;
    let value = 0;
    while (at < text.length && at - start < 4 && isHex(text.charCodeAt(at))) {
      value = value * 16 + hexValue(text.charCodeAt(at++));
    }
    if (text[at] === ".") {
      const four = text.slice(start).split(".");
      const good = four.length === 4 && four.every((part) => /^(0|[1-9][0-9]{0,2})$/.test(part) && Number(part) < 256);
      if (!good || pieces.length > 6) {
        return undefined;
      }
      pieces.push(Number(four[0]) * 256 + Number(four[1]), Number(four[2]) * 256 + Number(four[3]));
      at = text.length;
      break;
    }
    if (at < text.length) {
      if (text[at] !== ":" || at + 1 === text.length) {
        return undefined;
      }
      at++;
    }
    pieces.push(value);
  }
  if (compress >= 0) {
    pieces.splice(compress, 0, ...new Array(8 - pieces.length).fill(0));
  }
  return pieces.length === 8 ? pieces : undefined;
};

const ipv6Text = (pieces) => {
  let [best, bestSize] = [-1, 1];
  for (let i = 0; i < 8; i++) {
    let size = 0;
    while (i + size < 8 && pieces[i + size] === 0) {
      size++;
    }
    if (size > bestSize) {
      [best, bestSize] = [i, size];
    }
  }
  const hex = (from, to) => pieces.slice(from, to).map((piece) => piece.toString(16)).join(":");
  return best < 0 ? hex(0, 8) : `${hex(0, best)}::${hex(best + bestSize, 8)}`;
};

// The serialised host; undefined when it is none.
const parseHost = (text, isOpaque) => {
  if (text[0] === "[") {
    const pieces = text.at(-1) === "]" ? parseIpv6(text.slice(1, -1)) : undefined;
    return pieces === undefined ? undefined : `[${ipv6Text(pieces)}]`;
  }
  if (isOpaque) {
    return [...text].some((character) => FORBIDDEN_HOST.has(code(character))) ? undefined : encodeAs(text, C0);
  }
  const ascii = domainToAscii(fromUtf8(percentDecode(utf8(text))));
  if (ascii === "" || [...ascii].some((character) => FORBIDDEN_DOMAIN.has(code(character)))) {
    return undefined;
  }
  return endsInNumber(ascii) ? parseIpv4(ascii) : ascii;
};

internals.url = {
  SPECIAL, C0, FRAGMENT, QUERY, SPECIAL_QUERY, PATH, USERINFO, FORM, isAlpha, isDigit, encodeAs, percentDecode,
  utf8, fromUtf8, parseHost,
};
