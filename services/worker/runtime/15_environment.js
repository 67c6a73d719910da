// process.env: the deployment's variables. Each look at one is a read of the transaction, also while a
// module is loaded; so a change runs again what depended on it.
"use strict";

const { bb } = internals;
const { op } = bb;

const look = (name) => (typeof name === "string" ? (host(op.VARIABLE, name) ?? undefined) : undefined);

const refuse = () =>
  bb.fail("NotAvailableHere", "process.env cannot be changed by functions: use `bitbend env set` and `bitbend env remove`.");

const environment = new Proxy({}, {
  get: (target, name) => look(name) ?? Reflect.get(target, name),
  has: (target, name) => look(name) !== undefined || Reflect.has(target, name),
  ownKeys: () => host(op.VARIABLES),
  getOwnPropertyDescriptor: (_, name) => {
    const value = look(name);
    return value === undefined ? undefined : { value, writable: true, enumerable: true, configurable: true };
  },
  set: refuse,
  defineProperty: refuse,
  deleteProperty: refuse,
  setPrototypeOf: refuse,
  preventExtensions: refuse,
});

// Behind a getter, as what is reachable by values is frozen.
internals.environment = environment;
Object.defineProperty(globalThis, "process", {
  value: { get env() { return environment; } }, writable: true, enumerable: false, configurable: true,
});
