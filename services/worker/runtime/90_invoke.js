// What the slot calls. The last of the runtime's files.
"use strict";

const { bb } = internals;

Object.freeze(bb);

return {
  async invoke(bundle, path, args, info) {
    bb.resetConsole();
    return path.startsWith("_system:")
      ? bb.runSystemFunction(bundle, path, args, info)
      : bb.runUserFunction(bundle, path, args, info);
  },
};
