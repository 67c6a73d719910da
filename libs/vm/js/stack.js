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
