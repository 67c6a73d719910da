// What the slot calls. The last of the runtime's files.
"use strict";

const { bb, isOwn } = internals;

Object.freeze(bb);

// Makes module number `at` ready before a call needs it, and says whether there are more (slot/warm.c).
// What is wrong with a module shows when a call reaches it.
const warm = async (bundle, at) => {
  const path = bundle.paths[at];
  try {
    if (!isOwn && bundle.needsContext(path)) {
      await bundle.elsewhere("_own:warm", { at }, "query", 0);
    } else {
      internals.instantiate(bundle, path);
    }
  } catch {}
  return at + 1 < bundle.paths.length;
};

// ---- between the shared realm and the contexts of single calls ----

const OWN = new Map([...bb.ownCalls, ["_own:describe", bb.describeInOwn], ["_own:warm", (bundle, { at }) => warm(bundle, at)]]);
const SERVICES = new Map(bb.schedulerServices);

// What functions in a context ask of the shared realm. Who asks may be anybody: what is done is what any function
// may have done by `ctx`. Counters are those of the call with this number.
let served = { number: -1, call: null };
const serve = async (number, name, args) => {
  if (served.number !== number) {
    served = { number, call: { snapshot: 0, scheduled: 0 } };
  }
  const service = SERVICES.get(name) ?? bb.fail("NotAvailableHere", `There is no ${String(name)} here.`);
  return service(new bb.Frame("mutation", "", null, served.call, 0), args);
};

return {
  // A promise, or it throws: not async itself, as each promise around another one costs three rounds of
  // the microtask queue.
  invoke(bundle, path, args, kind, snapshot) {
    bb.resetConsole();
    const call = { snapshot, scheduled: 0 };
    if (isOwn && OWN.has(path)) {
      return OWN.get(path)(bundle, args, call);
    }
    if (!path.startsWith("_system:")) {
      return bb.runUserFunction(bundle, path, args, kind, call);
    }
    return path === "_system:warm" ? warm(bundle, args.at) : bb.runSystemFunction(bundle, path, args, kind, call);
  },
  serve,
};
