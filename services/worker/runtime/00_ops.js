// The host operations (services/worker/slot/ops.h has the same list) and how they are called.
"use strict";

const bb = (internals.bb = {});

bb.op = Object.freeze({
  GET: 1, GET_BY_KEY: 2, NORMALIZE_ID: 3, SCAN: 4, SCAN_NEXT: 5, SCAN_OPEN: 6, SCAN_CURSOR: 7, COUNT: 8,
  INSERT: 9, PATCH: 10, REPLACE: 11, DELETE: 12, PUT: 13, RETRACT: 14, SAVEPOINT: 15, ROLLBACK: 16,
  LOG: 17, IDENTITY: 18, BACKFILL: 19, CLEAN: 20, VARIABLE: 21, VARIABLES: 22, NAME: 23,
  REDACT: 24,
});
bb.USER = 0;
bb.SYSTEM = 1;
bb.PRIVILEGED = 2;

bb.fail = (code, message) => {
  throw internals.error(code, message);
};

const freezeFunction = (value) => {
  if (typeof value === "function") {
    Object.freeze(value.prototype);
    Object.freeze(value);
  }
};

// What users get and what calls share keeps nothing that a call could hang on it, methods included.
bb.freeze = (object) => {
  for (const key of Reflect.ownKeys(object)) {
    const { value, get, set } = Object.getOwnPropertyDescriptor(object, key);
    freezeFunction(value);
    freezeFunction(get);
    freezeFunction(set);
  }
  return Object.freeze(object);
};

// Classes whose instances users get: nothing leads from an instance to the constructor.
bb.seal = (Class) => {
  delete Class.prototype.constructor;
  bb.freeze(Class.prototype);
  bb.freeze(Class);
  return Class;
};

// What one function of a call works in: the call itself has one, each sub-transaction another. `lock` is
// a promise while a sub-transaction runs: the others wait, so that its rollback undoes nothing of theirs.
bb.Frame = class Frame {
  constructor(kind, path, bundle, call, depth) {
    this.kind = kind;
    this.path = path;
    this.bundle = bundle;
    this.call = call; // { snapshot, scheduled }: one for all frames of a call
    this.depth = depth;
    this.lock = null;
    this.isOver = false;
    this.pending = 0; // operations that the host works on
    this.queued = 0; // operations and sub-transactions that wait for the lock, or hold it
    this.wakers = null;
  }
};

const wake = (frame) => {
  const { wakers } = frame;
  if (wakers !== null) {
    frame.wakers = null;
    wakers.forEach((waker) => waker());
  }
};

// An error that the host gives later is made outside of any script: here it gets the frames that wait.
const track = async (frame, promise) => {
  frame.pending++;
  try {
    return await promise;
  } catch (error) {
    Error.captureStackTrace(error);
    throw error;
  } finally {
    frame.pending--;
    wake(frame);
  }
};

const later = async (frame, ask) => {
  frame.queued++;
  try {
    while (frame.lock !== null) {
      await frame.lock;
    }
    const answer = ask();
    return answer instanceof Promise ? await track(frame, answer) : answer;
  } finally {
    frame.queued--;
    wake(frame);
  }
};

// The answer itself when it is known, else a promise of it.
bb.call = (frame, ...args) => {
  if (frame.isOver) {
    bb.fail("NotAvailableHere", `Function ${frame.path} has ended: its ctx cannot be used any more.`);
  }
  if (frame.lock !== null) {
    return later(frame, () => host(...args));
  }
  const answer = host(...args);
  return answer instanceof Promise ? track(frame, answer) : answer;
};

// In a context of its own: what the host lets only the shared realm do (90_invoke.js), as an operation of `frame`.
bb.atHome = (frame, name, args) => later(frame, () => internals.home(name, args));

const until = async (frame, condition) => {
  while (!condition()) {
    await new Promise((resolve) => (frame.wakers ??= []).push(resolve));
  }
};

// Operations that nobody awaited still belong to the function.
bb.idle = (frame) => until(frame, () => frame.pending === 0 && frame.queued === 0);

bb.exclusive = async (frame, work) => {
  frame.queued++;
  let release;
  try {
    while (frame.lock !== null) {
      await frame.lock;
    }
    frame.lock = new Promise((resolve) => {
      release = resolve;
    });
    await until(frame, () => frame.pending === 0);
    return await work();
  } finally {
    frame.queued--;
    frame.lock = null;
    release?.();
    wake(frame);
  }
};
