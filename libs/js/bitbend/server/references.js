/** References to functions: `api.messages.list` names "messages:list", without loading it. */

const NAME = Symbol.for("functionName");

/**
 * Any path as a reference: `anyApi.sub.dir.name` names "sub/dir:name". What `_generated/api.js` exports.
 */
export const anyApi = folder([]);

/** The reference of a name such as "messages:list". */
export function makeFunctionReference(name) {
  if (typeof name !== "string") throw new TypeError('makeFunctionReference needs a name such as "messages:list"');
  return { [NAME]: name };
}

/** The name of a reference, or of a name. */
export function getFunctionName(reference) {
  if (typeof reference === "string") return reference;
  const isFunctionObject = typeof reference === "function" || reference?.isBitBendFunction === true;
  const name = isFunctionObject ? undefined : reference?.[NAME];
  if (typeof name === "string") return name;
  throw new TypeError(
    isFunctionObject
      ? "A function cannot be called by its object: pass its reference, such as api.messages.list from _generated/api."
      : 'This is no function reference: pass one such as api.messages.list, or a name such as "messages:list".',
  );
}

function folder(parts) {
  return new Proxy(Object.create(null), {
    get(_, property) {
      if (property === NAME) return nameOf(parts);
      if (typeof property !== "string") return undefined;
      return folder([...parts, property]);
    },
    set() {
      throw new TypeError("A function reference cannot be changed.");
    },
  });
}

function nameOf(parts) {
  if (parts.length < 2) {
    const found = parts.length === 0 ? "api" : `api.${parts[0]}`;
    throw new TypeError(`${found} names no function: use api.module.function.`);
  }
  const name = parts.at(-1);
  const module = parts.slice(0, -1).join("/");
  return name === "default" ? module : `${module}:${name}`;
}
