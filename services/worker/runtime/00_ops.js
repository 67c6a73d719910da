// The host operations (services/worker/slot/ops.h has the same list) and how they are called.
"use strict";

const bb = (internals.bb = {});

bb.op = Object.freeze({
  GET: 1, GET_BY_KEY: 2, NORMALIZE_ID: 3, SCAN: 4, SCAN_NEXT: 5, SCAN_OPEN: 6, SCAN_CURSOR: 7, COUNT: 8,
  INSERT: 9, PATCH: 10, REPLACE: 11, DELETE: 12, PUT: 13, RETRACT: 14, SAVEPOINT: 15, ROLLBACK: 16,
  LOG: 17, IDENTITY: 18, BACKFILL: 19,
});
bb.USER = 0;
bb.SYSTEM = 1;
bb.PRIVILEGED = 2;

bb.fail = (code, message) => {
  throw internals.error(code, message);
};

// Classes whose instances users get: nothing leads from an instance to the constructor.
bb.seal = (Class) => {
  delete Class.prototype.constructor;
  Object.freeze(Class.prototype);
  Object.freeze(Class);
  return Class;
};

// What one function of a call works in: the call itself has one, each sub-transaction another. `lock` is
// a promise while a sub-transaction runs: the others wait, so that its rollback undoes nothing of theirs.
bb.Frame = class Frame {
  constructor(kind, path, bundle, info, depth) {
    this.kind = kind;
    this.path = path;
    this.bundle = bundle;
    this.info = info;
    this.depth = depth;
    this.lock = null;
    this.isOver = false;
    this.pending = 0;
    this.whenIdle = null;
  }
};

const settle = (frame) => {
  if (--frame.pending === 0 && frame.whenIdle !== null) {
    const wake = frame.whenIdle;
    frame.whenIdle = null;
    wake();
  }
};

const track = async (frame, promise) => {
  frame.pending++;
  try {
    return await promise;
  } finally {
    settle(frame);
  }
};

const later = async (frame, args) => {
  frame.pending++;
  try {
    while (frame.lock !== null) {
      await frame.lock;
    }
    return await host(...args);
  } finally {
    settle(frame);
  }
};

// The answer itself when it is known, else a promise of it.
bb.call = (frame, ...args) => {
  if (frame.isOver) {
    bb.fail("NotAvailableHere", `Function ${frame.path} has ended: its ctx cannot be used any more.`);
  }
  if (frame.lock !== null) {
    return later(frame, args);
  }
  const answer = host(...args);
  return answer instanceof Promise ? track(frame, answer) : answer;
};

// Operations that nobody awaited still belong to the function.
bb.idle = async (frame) => {
  while (frame.pending > 0) {
    await new Promise((resolve) => {
      frame.whenIdle = resolve;
    });
  }
};

bb.exclusive = async (frame, work) => {
  while (frame.lock !== null) {
    await frame.lock;
  }
  let release;
  frame.lock = new Promise((resolve) => {
    release = resolve;
  });
  try {
    await bb.idle(frame);
    return await work();
  } finally {
    frame.lock = null;
    release();
  }
};
