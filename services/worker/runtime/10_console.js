// console: lines of the call's log. Its counters and groups belong to one call.
"use strict";

const { bb } = internals;
const DEPTH_MAX = 4;
const ITEMS_MAX = 100;
const TEXT_MAX = 4096;
// No regular expression of ours lives longer than its use: a function may put a method of its own into RegExp.prototype
// for a moment, is then handed what we test with, and would find it again, or have changed it, in another call.
const isIdentifier = (text) => /^[A-Za-z_$][\w$]*$/.test(text);

let counts = new Map();
let indent = "";

bb.resetConsole = () => {
  if (counts.size > 0) {
    counts = new Map();
  }
  indent = "";
};

const listOf = (open, items, close) => {
  if (items.length === 0) {
    return open + close;
  }
  const line = `${open} ${items.join(", ")} ${close}`;
  return line.length <= 76 && !line.includes("\n")
    ? line
    : `${open}\n  ${items.join(",\n").replaceAll("\n", "\n  ")}\n${close}`;
};

const limited = (items, total) =>
  total > items.length ? [...items, `... ${total - items.length} more`] : items;

const BYTES_MAX = 50;

const inspectBytes = (buffer) => {
  const bytes = new Uint8Array(buffer, 0, Math.min(buffer.byteLength, BYTES_MAX));
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join(" ");
  const left = buffer.byteLength - bytes.length;
  return `{ [Uint8Contents]: <${hex}${left > 0 ? ` ... ${left} more bytes` : ""}>, byteLength: ${buffer.byteLength} }`;
};

// Uint8Array(3) [ 1, 2, 3 ], and what a DataView looks at.
const inspectView = (view) => {
  if (view instanceof DataView) {
    return `DataView { byteOffset: ${view.byteOffset}, byteLength: ${view.byteLength} }`;
  }
  const items = Array.from(view.subarray(0, ITEMS_MAX), (item) => inspect(item, 0, []));
  const left = view.length - items.length;
  const shown = left > 0 ? [...items, `... ${left} more item${left === 1 ? "" : "s"}`] : items;
  return `${view[Symbol.toStringTag]}(${view.length}) ${shown.length === 0 ? "[]" : `[ ${shown.join(", ")} ]`}`;
};

const inspectObject = (value, depth, seen) => {
  if (seen.includes(value)) {
    return "[Circular]";
  }
  const isArray = Array.isArray(value);
  if (depth >= DEPTH_MAX) {
    return isArray ? "[Array]" : "[Object]";
  }
  const inner = (item) => inspect(item, depth + 1, [...seen, value]);
  if (isArray) {
    return listOf("[", limited(value.slice(0, ITEMS_MAX).map(inner), value.length), "]");
  }
  if (value instanceof Map) {
    const items = [...value].slice(0, ITEMS_MAX).map(([k, v]) => `${inner(k)} => ${inner(v)}`);
    return listOf(`Map(${value.size}) {`, limited(items, value.size), "}");
  }
  if (value instanceof Set) {
    return listOf(`Set(${value.size}) {`, limited([...value].slice(0, ITEMS_MAX).map(inner), value.size), "}");
  }
  const keys = Object.keys(value);
  const items = keys
    .slice(0, ITEMS_MAX)
    .map((key) => `${isIdentifier(key) ? key : JSON.stringify(key)}: ${inner(value[key])}`);
  const name = Object.getPrototypeOf(value)?.constructor?.name;
  const head = name === undefined || name === "Object" || typeof name !== "string" ? "{" : `${name} {`;
  return listOf(head, limited(items, keys.length), "}");
};

const inspect = (value, depth, seen) => {
  switch (typeof value) {
    case "string":
      return JSON.stringify(value);
    case "bigint":
      return `${value}n`;
    case "number":
      return Object.is(value, -0) ? "-0" : String(value);
    case "function":
      return value.name === "" ? "[Function (anonymous)]" : `[Function: ${value.name}]`;
    case "object":
      if (value === null) {
        return "null";
      }
      if (value instanceof Error) {
        return typeof value.stack === "string" ? value.stack : `${value.name}: ${value.message}`;
      }
      if (value instanceof Date) {
        return Number.isNaN(value.getTime()) ? "Invalid Date" : value.toISOString();
      }
      if (value instanceof RegExp) {
        return String(value);
      }
      if (value instanceof Promise) {
        return "Promise {}";
      }
      if (value instanceof ArrayBuffer) {
        return `ArrayBuffer ${inspectBytes(value)}`;
      }
      if (ArrayBuffer.isView(value)) {
        return inspectView(value);
      }
      return inspectObject(value, depth, seen);
    default:
      return String(value);
  }
};

const show = (value) => {
  if (typeof value === "string") {
    return value;
  }
  try {
    return inspect(value, 0, []);
  } catch {
    return "[what cannot be shown]";
  }
};

// %s %d %i %f %j %o %O %c %% as browsers do it.
const format = (values) => {
  if (typeof values[0] !== "string" || values.length === 1 || !values[0].includes("%")) {
    return values.map(show).join(" ");
  }
  let next = 1;
  const text = values[0].replace(/%[sdifjoOc%]/g, (what) => {
    if (what === "%%") {
      return "%";
    }
    if (next >= values.length) {
      return what;
    }
    const value = values[next++];
    switch (what) {
      case "%c":
        return "";
      case "%d":
      case "%f":
        return typeof value === "bigint" ? `${value}n` : String(Number(value));
      case "%i":
        return String(Math.trunc(Number(value)));
      case "%j":
        return JSON.stringify(value) ?? "undefined";
      default:
        return show(value);
    }
  });
  return [text, ...values.slice(next).map(show)].join(" ");
};

const write = (level, values) => {
  const text = indent + format(values).replaceAll("\n", `\n${indent}`);
  host(bb.op.LOG, level, text.length > TEXT_MAX ? text.slice(0, TEXT_MAX) : text);
};

const logAt = (level) => (...values) => write(level, values);
const count = (label = "default") => {
  const name = String(label);
  counts.set(name, (counts.get(name) ?? 0) + 1);
  write("INFO", [`${name}: ${counts.get(name)}`]);
};
const group = (...values) => {
  if (values.length > 0) {
    write("LOG", values);
  }
  indent = indent.length < 64 ? indent + "  " : indent;
};

const console = {
  log: logAt("LOG"),
  info: logAt("INFO"),
  debug: logAt("DEBUG"),
  warn: logAt("WARN"),
  error: logAt("ERROR"),
  dir: (value) => write("LOG", [typeof value === "string" ? JSON.stringify(value) : value]),
  dirxml: logAt("LOG"),
  table: (value) => write("LOG", [value]),
  trace: (...values) => write("DEBUG", [...values, new Error("Trace").stack]),
  assert: (condition, ...values) => {
    if (!condition) {
      write("ERROR", ["Assertion failed", ...values]);
    }
  },
  count,
  countReset: (label = "default") => void counts.delete(String(label)),
  group,
  groupCollapsed: group,
  groupEnd: () => {
    indent = indent.slice(2);
  },
  // Time stands still in a query or mutation.
  time: () => {},
  timeEnd: (label = "default") => write("INFO", [`${String(label)}: 0ms`]),
  timeLog: (label = "default", ...values) => write("INFO", [`${String(label)}: 0ms`, ...values]),
  // For a screen or a profiler: what was left in somewhere does not fail a call.
  clear: () => {},
  timeStamp: () => {},
  profile: () => {},
  profileEnd: () => {},
};

Object.defineProperty(globalThis, "console", {
  value: console, writable: true, enumerable: false, configurable: true,
});
