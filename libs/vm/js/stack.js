// The text of error.stack: frames of the application only, at the place where they were written.
"use strict";

const nameOf = (site) => {
  const name = site.getFunctionName();
  if (site.isConstructor()) {
    return "new " + (name ?? "<anonymous>");
  }
  if (name === null) {
    return undefined;
  }
  const type = site.isToplevel() ? null : site.getTypeName();
  return type === null || type === "Object" || type === "Function" || name.includes(".")
    ? name
    : `${type}.${name}`;
};

const lineOf = (site) => {
  const file = site.getFileName();
  if (typeof file !== "string") {
    return undefined;
  }
  const place = internals.position(file, site.getLineNumber() ?? 0, site.getColumnNumber() ?? 0);
  if (place === undefined) {
    return undefined;
  }
  const name = nameOf(site);
  const before = site.isAsync() ? "async " : "";
  return name === undefined ? `    at ${before}${place}` : `    at ${before}${name} (${place})`;
};

const headOf = (error) => {
  try {
    return Reflect.apply(Error.prototype.toString, error, []);
  } catch {
    return "Error";
  }
};

internals.stackText = (error, sites) => {
  const lines = [headOf(error)];
  for (let i = 0; i < sites.length; i++) {
    const line = lineOf(sites[i]);
    if (line !== undefined) {
      lines.push(line);
    }
  }
  return lines.join("\n");
};

// What was thrown and is no Error, as one short text: `{"code": 7, "inner": [1, ...]}`.
const THROWN_DEPTH = 3;
const THROWN_ITEMS = 20;
const THROWN_TEXT = 1000;

const hasOwnText = (value) =>
  typeof value.toString === "function" && value.toString !== Object.prototype.toString && !Array.isArray(value);

const cut = (text) => (text.length > THROWN_TEXT ? `${text.slice(0, THROWN_TEXT)}...` : text);

const thrownItem = (value, depth) => {
  if (typeof value === "string") {
    return JSON.stringify(cut(value));
  }
  if (typeof value === "bigint") {
    return `${value}n`;
  }
  if ((typeof value !== "object" && typeof value !== "function") || value === null) {
    return String(value);
  }
  if (hasOwnText(value)) {
    return cut(String(value));
  }
  const isArray = Array.isArray(value);
  if (depth === THROWN_DEPTH) {
    return isArray ? "[...]" : "{...}";
  }
  const keys = isArray ? [...Array(Math.min(value.length, THROWN_ITEMS + 1)).keys()] : Object.keys(value);
  const items = keys.slice(0, THROWN_ITEMS).map((key) => {
    const item = thrownItem(value[key], depth + 1);
    return isArray ? item : `${JSON.stringify(cut(key))}: ${item}`;
  });
  const text = [...items, ...(keys.length > THROWN_ITEMS ? ["..."] : [])].join(", ");
  return isArray ? `[${text}]` : `{${text}}`;
};

internals.thrownText = (value) => cut(thrownItem(value, 0));
