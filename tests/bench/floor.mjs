// The physical limit of what is durable: small appends to one file, each synced.
import { closeSync, fdatasyncSync, openSync, rmSync, writeSync } from "node:fs";
import { join } from "node:path";

import { folderFor, record } from "./common.mjs";

export function benchDisk(run) {
  const dir = folderFor("disk");
  const file = openSync(join(dir, "append"), "w");
  const bytes = Buffer.alloc(512, 7);
  const times = [];
  for (const end = performance.now() + 1500; performance.now() < end; ) {
    const before = performance.now();
    writeSync(file, bytes);
    fdatasyncSync(file);
    times.push(performance.now() - before);
  }
  closeSync(file);
  rmSync(dir, { recursive: true, force: true });
  times.sort((a, b) => a - b);
  const at = (q) => Math.round(times[Math.floor(times.length * q)] * 1000) / 1000;
  record({ workload: "floor_fdatasync", system: "disk", run, ops_s: Math.round(times.length / 1.5), p50_ms: at(0.5), p99_ms: at(0.99) });
}
