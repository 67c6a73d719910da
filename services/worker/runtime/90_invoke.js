// What the slot calls. The last of the runtime's files.
"use strict";

const { bb } = internals;

Object.freeze(bb);

// Makes module number `at` ready before a call needs it, and says whether there are more (slot/warm.c).
// What is wrong with a module shows when a call reaches it.
const warm = (bundle, at) => {
  try {
    internals.instantiate(bundle, bundle.paths[at]);
  } catch {}
  return at + 1 < bundle.paths.length;
};

return {
  // A promise, or it throws: not async itself, as each promise around another one costs three rounds of
  // the microtask queue.
  invoke(bundle, path, args, kind, snapshot) {
    bb.resetConsole();
    const call = { snapshot, scheduled: 0 };
    if (!path.startsWith("_system:")) {
      return bb.runUserFunction(bundle, path, args, kind, call);
    }
    return path === "_system:warm"
      ? Promise.resolve(warm(bundle, args.at))
      : bb.runSystemFunction(bundle, path, args, kind, call);
  },
};
