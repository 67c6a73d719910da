// Does it stay as fast when the data grows? The same work on ever more documents, in one suite that is not restarted, and
// the memory that is not the file's. Up to 200,000 documents; `--growth 5000000` goes on to five million.
import { readFileSync } from "node:fs";

import { load, options, record, wants } from "./common.mjs";
import { treeOf } from "./processes.mjs";

const SIZES = [10_000, 50_000, 200_000, 1_000_000, 5_000_000];

/** Memory of its own (MB) of the process `pid`: without the data file, which the kernel maps and drops as it likes. */
function anonymousMb(pid) {
  return Math.round(Number(/^RssAnon:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))[1]) / 102.4) / 10;
}

export async function benchGrowth({ run, port, child, seed }) {
  if (!wants("growth")) return;
  let there = 0;
  for (const size of SIZES.filter((one) => one <= Number(options.growth))) {
    await seed(there, size - there);
    there = size;
    for (const [name, route, path] of [["counter", "/api/mutation", "bench:increment"], ["get", "/api/query", "bench:get"]]) {
      await load({ run, workload: `growth_${name}`, system: `${size}`, protocol: "http", ports: [port], pids: [child.pid],
        argv: ["--route", route, "--path", path, "--keys", size] });
    }
    record({ workload: "growth_memory", system: `${size}`, run, pss_mb: anonymousMb(child.pid), processes: treeOf(child.pid).length });
  }
}
