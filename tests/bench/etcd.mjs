// etcd, one member or three, as processes of this machine; gRPC. Changes are optimistic: read, then write if
// nothing has changed.
import { existsSync, rmSync } from "node:fs";
import { join } from "node:path";

import { accounts, folderFor, freePort, groups, keys, load, record, start, stop, title, until, wants } from "./common.mjs";
import { pssMb } from "./processes.mjs";

const program = "/usr/bin/etcd";
export const hasEtcd = existsSync(program);

const base64 = (text) => Buffer.from(String(text)).toString("base64");

async function seed(port, pairs) {
  for (let from = 0; from < pairs.length; from += 100) {
    const success = pairs.slice(from, from + 100).map(([key, value]) => ({ requestPut: { key: base64(key), value: base64(value) } }));
    const answer = await fetch(`http://127.0.0.1:${port}/v3/kv/txn`, { method: "POST", body: JSON.stringify({ success }) });
    if (!answer.ok) throw new Error(await answer.text());
  }
}

const isHealthy = (port) =>
  fetch(`http://127.0.0.1:${port}/health`).then((answer) => answer.json()).then(({ health }) => health === "true", () => false);

export async function startMembers(count, more = []) {
  const members = [];
  for (let i = 0; i < count; i++) {
    members.push({ name: `m${i}`, dir: folderFor("etcd"), client: await freePort(), peer: await freePort() });
  }
  const cluster = members.map(({ name, peer }) => `${name}=http://127.0.0.1:${peer}`).join(",");
  for (const member of members) {
    member.argv = [program, "--name", member.name, "--data-dir", join(member.dir, "data"),
      "--listen-client-urls", `http://127.0.0.1:${member.client}`, "--advertise-client-urls", `http://127.0.0.1:${member.client}`,
      "--listen-peer-urls", `http://127.0.0.1:${member.peer}`, "--initial-advertise-peer-urls", `http://127.0.0.1:${member.peer}`,
      "--initial-cluster", cluster, "--initial-cluster-state", "new", "--auto-compaction-retention", "1", "--max-txn-ops", "256",
      "--quota-backend-bytes", String(4 * 1024 ** 3), ...more];
    member.child = start(member.argv[0], member.argv.slice(1));
  }
  for (const member of members) await until("etcd", () => isHealthy(member.client));
  return members;
}

export async function benchEtcd(run, count, system) {
  const started = performance.now();
  const members = await startMembers(count);
  try {
    const pids = members.map(({ child }) => child.pid);
    const ports = members.map(({ client }) => client);
    if (wants("w11_start")) {
      record({ workload: "w11_start", system, run, ready_ms: Math.round(performance.now() - started), pss_mb: pids.reduce((sum, pid) => sum + pssMb(pid), 0) });
    }
    const numbers = (size) => [...Array(size).keys()];
    await seed(ports[0], numbers(keys).map((i) => [`counter/${i}`, 0]));
    // The accounts that Zipf's law hardly ever names are made when they are first written.
    await seed(ports[0], numbers(accounts / 100).map((i) => [`account/${i}`, 1000]));
    const name = (i) => `document/${String(Math.floor(i / 100)).padStart(5, "0")}/${String(i % 100).padStart(3, "0")}`;
    await seed(ports[0], numbers(groups * 100).map((i) => [name(i), JSON.stringify({ group: Math.floor(i / 100), n: i % 100, title: title(Math.floor(i / 100), i % 100) })]));
    for (const workload of ["w1_counter", "w2_hot", "w2_zipf", "w3_get", "w4_scan", "w1_single", "w3_single"]) {
      await load({ run, workload, system, protocol: "etcd", ports, pids });
    }
  } finally {
    for (const { child, dir } of members) {
      await stop(child);
      rmSync(dir, { recursive: true, force: true });
    }
  }
}
