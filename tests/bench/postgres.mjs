// PostgreSQL: a private cluster, SERIALIZABLE, fsync on; prepared statements and PL/pgSQL functions.
import { spawn, spawnSync } from "node:child_process";
import { existsSync, rmSync } from "node:fs";
import { join } from "node:path";

import { accounts, folderFor, freePort, groups, keys, load, record, sleep, title, wants } from "./common.mjs";
import { benchLivePostgres } from "./live.mjs";
import { pssMb } from "./processes.mjs";

const bin = "/usr/lib/postgresql/15/bin";
export const hasPostgres = existsSync(join(bin, "postgres"));

/** It refuses to run as root. */
const asPostgres = (command, argv) => (process.getuid() === 0 ? ["runuser", ["-u", "postgres", "--", command, ...argv]] : [command, argv]);

/** Messages are there before the first that counts, as they are in any application: of an empty table the planner would sort all for the last 50. */
const SCHEMA = `
  create table counters (key int primary key, value bigint not null);
  insert into counters select i, 0 from generate_series(0, ${keys - 1}) i;
  create function increment(k int) returns bigint language plpgsql as
  'declare v bigint; begin select value into v from counters where key = k; v := v + 1; update counters set value = v where key = k; return v; end';
  create table accounts (key int primary key, balance bigint not null);
  insert into accounts select i, 1000 from generate_series(0, ${accounts - 1}) i;
  create function transfer(f int, t int) returns void language plpgsql as
  'begin perform balance from accounts where key = f; perform balance from accounts where key = t;
   update accounts set balance = balance - 1 where key = f; update accounts set balance = balance + 1 where key = t; end';
  create table documents (key serial primary key, grp int not null, n int not null, title text not null);
  insert into documents (grp, n, title) select i / 100, i % 100, replace(replace('${title("G", "N")}', 'G', (i / 100)::text), 'N', (i % 100)::text)
    from generate_series(0, ${groups * 100 - 1}) i;
  create index by_group on documents (grp, key);
  create table messages (key bigserial primary key, created timestamptz not null default now(), channel int not null, text text not null);
  create index by_channel on messages (channel, key);
  insert into messages (channel, text) select 0, repeat('x', 132) from generate_series(1, 1000);
  create function post(body text) returns void language plpgsql as
  'begin insert into messages (channel, text) values (0, body); notify news; end';
  analyze counters; analyze accounts; analyze documents; analyze messages;`;

async function startCluster() {
  const dir = folderFor("pg", "postgres");
  const port = await freePort();
  const data = join(dir, "data");
  const run = (command, argv) => spawnSync(...asPostgres(join(bin, command), argv), { encoding: "utf8" });
  const made = run("initdb", ["-D", data, "-A", "trust", "-U", "postgres", "--no-instructions"]);
  if (made.status !== 0) throw new Error(made.stderr);
  const started = performance.now();
  const child = spawn(...asPostgres(join(bin, "postgres"), ["-D", data, "-p", String(port), "-k", dir, "-c", "listen_addresses=127.0.0.1",
    "-c", "max_connections=150", "-c", "default_transaction_isolation=serializable", "-c", "max_pred_locks_per_transaction=256"]), { stdio: "ignore" });
  const psql = (sql) => run("psql", ["-h", "127.0.0.1", "-p", String(port), "-U", "postgres", "-d", "postgres", "-qAtc", sql]);
  while (psql("select 1").status !== 0) await sleep(10);
  const readyMs = Math.round(performance.now() - started);
  const seeded = psql(SCHEMA);
  if (seeded.status !== 0) throw new Error(seeded.stderr);
  return { child, port, readyMs, stop: () => {
    // Only the cluster that was started here: its own fast shutdown.
    run("pg_ctl", ["-D", data, "-m", "fast", "stop"]);
    rmSync(dir, { recursive: true, force: true });
  } };
}

export async function benchPostgres(run) {
  const server = await startCluster();
  try {
    if (wants("w11_start")) record({ workload: "w11_start", system: "postgres", run, ready_ms: server.readyMs, pss_mb: pssMb(server.child.pid) });
    for (const workload of ["w1_counter", "w2_hot", "w2_zipf", "w3_get", "w4_scan", "w1_single", "w3_single"]) {
      await load({ run, workload, system: "postgres", protocol: "postgres", ports: [server.port], pids: [server.child.pid] });
    }
    await benchLivePostgres({ run, port: server.port, child: server.child });
  } finally {
    server.stop();
  }
}
