/**
 * An error that a function throws on purpose: it reaches the client with its `data`.
 *
 * Recognised by a registered symbol, not by `instanceof`, so that an error made by another copy of this
 * package (in a bundle, in another realm) counts too.
 */

const ERROR = Symbol.for("bitbend.error");

export class BitBendError extends Error {
  constructor(data) {
    super(typeof data === "string" ? data : describe(data));
    this.name = "BitBendError";
    this.code = "UserError";
    this.data = data;
    this[ERROR] = true;
  }
}

export function isBitBendError(error) {
  return typeof error === "object" && error !== null && error[ERROR] === true;
}

function describe(data) {
  try {
    return JSON.stringify(data, (_, value) => (typeof value === "bigint" ? `${value}n` : value)) ?? String(data);
  } catch {
    return String(data);
  }
}
