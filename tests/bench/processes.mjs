// What the benchmarks know of processes: CPU time and memory of a tree, from /proc.
import { readFileSync, readdirSync } from "node:fs";

const ticksPerSecond = 100;

/** All pids of the tree below `root`, itself included. */
export function treeOf(root) {
  const children = new Map();
  for (const name of readdirSync("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const stat = readFileSync(`/proc/${name}/stat`, "utf8");
      const parent = Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[1]);
      if (!children.has(parent)) children.set(parent, []);
      children.get(parent).push(Number(name));
    } catch {
      // the process ended while we looked
    }
  }
  const tree = [root];
  for (let i = 0; i < tree.length; i++) tree.push(...(children.get(tree[i]) ?? []));
  return tree;
}

/** CPU seconds that the tree has used so far (ended children of it included). */
export function cpuSeconds(root) {
  let ticks = 0;
  for (const pid of treeOf(root)) {
    try {
      const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
      const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
      for (const index of [11, 12, 13, 14]) ticks += Number(fields[index]);
    } catch {
      // ended
    }
  }
  return ticks / ticksPerSecond;
}

/** Microseconds of CPU that each kind of thread of the tree has used so far: its process's name and its own. */
export function cpuOfThreads(root) {
  const used = new Map();
  for (const pid of treeOf(root)) {
    try {
      const name = readFileSync(`/proc/${pid}/comm`, "utf8").trim();
      for (const task of readdirSync(`/proc/${pid}/task`)) {
        const thread = readFileSync(`/proc/${pid}/task/${task}/comm`, "utf8").trim();
        const kind = thread === name ? name : `${name}/${thread}`;
        used.set(kind, (used.get(kind) ?? 0) + Number(readFileSync(`/proc/${pid}/task/${task}/schedstat`, "utf8").split(" ")[0]) / 1000);
      }
    } catch {
      // ended
    }
  }
  return used;
}

/** What /proc/PID/status says of `field`, in MB. */
export const statusMb = (pid, field) => Math.round(Number(new RegExp(`^${field}:\\s+(\\d+)`, "m").exec(readFileSync(`/proc/${pid}/status`, "utf8"))[1]) / 102.4) / 10;

/** Proportional memory of the tree in MB. */
export function pssMb(root) {
  let kb = 0;
  for (const pid of treeOf(root)) {
    try {
      kb += Number(/^Pss:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, "utf8"))[1]);
    } catch {
      // ended
    }
  }
  return Math.round((kb / 1024) * 10) / 10;
}
