// .filter(q => q.and(q.eq(q.field("a.b"), 1), ..)): expressions, evaluated here after the scan.
"use strict";

const { bb } = internals;

class Expression {
  #evaluate;
  #text;
  constructor(evaluate, text) {
    this.#evaluate = evaluate;
    this.#text = text;
  }
  static is(value) {
    return typeof value === "object" && value !== null && #evaluate in value;
  }
  static evaluate(expression, document) {
    return expression.#evaluate(document);
  }
  static text(expression) {
    return expression.#text;
  }
}
const { is, evaluate, text } = Expression;
bb.seal(Expression);

const literal = (value) => {
  if (is(value)) {
    return value;
  }
  if (typeof value === "function" || typeof value === "symbol") {
    bb.fail("BadQuery", `filter: a ${typeof value} is not a value. Compare with values, or with q.field("name").`);
  }
  return new Expression(() => value, bb.textOf(value));
};

const node = (name, operands, compute) => {
  const all = operands.map(literal);
  return new Expression(
    (document) => compute(...all.map((operand) => evaluate(operand, document))),
    `${name}(${all.map(text).join(",")})`,
  );
};

const comparison = (name, test) => (a, b) => node(name, [a, b], (x, y) => test(bb.compare(x, y)));

const arithmetic = (name, compute) => (a, b) =>
  node(name, [a, b], (x, y) => {
    const isNumber = typeof x === "number" && typeof y === "number";
    if (!isNumber && !(typeof x === "bigint" && typeof y === "bigint")) {
      bb.fail(
        "BadQuery",
        `filter: q.${name} needs two numbers or two bigints, it got ${typeof x} and ${typeof y}.`,
      );
    }
    if (!isNumber && y === 0n && (name === "div" || name === "mod")) {
      bb.fail("BadQuery", `filter: q.${name} divides by zero.`);
    }
    return isNumber ? compute(x, y) : BigInt.asIntN(64, compute(x, y));
  });

const condition = (name, value) => {
  if (typeof value !== "boolean") {
    bb.fail("BadQuery", `filter: q.${name} needs conditions, it got ${value === null ? "null" : typeof value}.`);
  }
  return value;
};

// The first that decides ends it, as && and || do.
const logical = (name, decisive) => (...operands) => {
  const all = operands.map(literal);
  return new Expression(
    (document) => {
      for (const operand of all) {
        if (condition(name, evaluate(operand, document)) === decisive) {
          return decisive;
        }
      }
      return !decisive;
    },
    `${name}(${all.map(text).join(",")})`,
  );
};

const field = (path) => {
  if (typeof path !== "string" || path === "") {
    bb.fail("BadQuery", 'filter: q.field takes the name of a field, such as "author" or "address.city".');
  }
  const names = path.split(".");
  return new Expression((document) => {
    let value = document;
    for (const name of names) {
      if (typeof value !== "object" || value === null || Array.isArray(value) || !Object.hasOwn(value, name)) {
        return undefined;
      }
      value = value[name];
    }
    return value;
  }, `field(${JSON.stringify(path)})`);
};

const q = bb.freeze({
  eq: comparison("eq", (order) => order === 0),
  neq: comparison("neq", (order) => order !== 0),
  lt: comparison("lt", (order) => order < 0),
  lte: comparison("lte", (order) => order <= 0),
  gt: comparison("gt", (order) => order > 0),
  gte: comparison("gte", (order) => order >= 0),
  add: arithmetic("add", (x, y) => x + y),
  sub: arithmetic("sub", (x, y) => x - y),
  mul: arithmetic("mul", (x, y) => x * y),
  div: arithmetic("div", (x, y) => x / y),
  mod: arithmetic("mod", (x, y) => x % y),
  neg: (a) =>
    node("neg", [a], (x) =>
      typeof x === "number" || typeof x === "bigint"
        ? typeof x === "bigint" ? BigInt.asIntN(64, -x) : -x
        : bb.fail("BadQuery", `filter: q.neg needs a number, it got ${typeof x}.`),
    ),
  and: logical("and", false),
  or: logical("or", true),
  not: (a) => node("not", [a], (x) => !condition("not", x)),
  field,
});

// A filter as { test(document), text }.
bb.makeFilter = (build) => {
  if (typeof build !== "function") {
    bb.fail("BadQuery", 'filter takes a function, such as q => q.eq(q.field("author"), name).');
  }
  const built = build(q);
  if (!is(built) && typeof built !== "boolean") {
    bb.fail(
      "BadQuery",
      "filter: the function must return what q's methods return, such as q.eq(..). To filter in plain " +
        "JavaScript, collect the documents and use Array.filter.",
    );
  }
  const expression = literal(built);
  return { test: (document) => evaluate(expression, document) === true, text: text(expression) };
};
