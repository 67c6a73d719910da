// A slot: node slot.cjs <path of bb_slot.node>; with "zygote=<MB of heap>" behind it, what slots are copied from.
// BB_SLOT_PLAIN_LOAD=1 is for address sanitizers.
const { RTLD_NOW, RTLD_DEEPBIND } = require("node:os").constants.dlopen;
const mode = process.env.BB_SLOT_PLAIN_LOAD === "1" ? RTLD_NOW : RTLD_NOW | RTLD_DEEPBIND;
const isJitless = process.execArgv.includes("--jitless");
const isUnsealed = process.env.BB_SLOT_UNSEALED === "1";
process.title = "bb-slot"; // slots have a copy of it; a zygote's own name is that of its first thread
if (process.argv[3]?.startsWith("zygote=")) require("node:fs").writeFileSync("/proc/self/comm", "bb-zygote");
process.dlopen(module, require("node:path").resolve(process.argv[2]), mode);
module.exports.run(3, { isJitless, isUnsealed }, process.argv[3]);
