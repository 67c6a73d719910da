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
  async invoke(bundle, path, args, info) {
    bb.resetConsole();
    if (path === "_system:warm") {
      return warm(bundle, args.at);
    }
    return path.startsWith("_system:")
      ? bb.runSystemFunction(bundle, path, args, info)
      : bb.runUserFunction(bundle, path, args, info);
  },
};
