// Redis: append-only file, synced before each answer; Lua scripts. Its transactions neither conflict nor roll back.
import { existsSync, rmSync } from "node:fs";
import { connect } from "node:net";

import { accounts, folderFor, freePort, groups, keys, load, record, start, stop, title, until, wants } from "./common.mjs";
import { benchLiveRedis } from "./live.mjs";
import { pssMb } from "./processes.mjs";

const program = "/usr/bin/redis-server";
export const hasRedis = existsSync(program);

/** Sends commands and waits for as many answers of one line. */
function send(port, commands) {
  return new Promise((resolve, reject) => {
    const socket = connect(port, "127.0.0.1");
    let lines = 0;
    socket.once("error", reject);
    socket.on("data", (chunk) => {
      for (const byte of chunk) lines += byte === 10;
      if (lines >= commands.length) resolve(socket.destroy());
    });
    socket.write(commands.map((words) => `*${words.length}\r\n${words.map((word) => `$${Buffer.byteLength(String(word))}\r\n${word}\r\n`).join("")}`).join(""));
  });
}

const isUp = (port) => send(port, [["PING"]]).then(() => true, () => false);

export async function benchRedis(run) {
  const dir = folderFor("redis");
  const port = await freePort();
  const started = performance.now();
  const child = start(program, ["--port", port, "--bind", "127.0.0.1", "--dir", dir, "--save", "", "--appendonly", "yes", "--appendfsync", "always"]);
  try {
    await until("redis", () => isUp(port));
    if (wants("w11_start")) {
      record({ workload: "w11_start", system: "redis", run, ready_ms: Math.round(performance.now() - started), pss_mb: pssMb(child.pid) });
    }
    const numbers = (count) => [...Array(count).keys()];
    await send(port, numbers(keys).map((i) => ["SET", `counter/${i}`, 0]));
    await send(port, numbers(accounts).map((i) => ["SET", `account/${i}`, 1000]));
    for (const group of numbers(groups)) {
      await send(port, numbers(100).flatMap((n) => [
        ["SET", `document/${group}/${n}`, JSON.stringify({ group, n, title: title(group, n) })], ["ZADD", `group/${group}`, n, `document/${group}/${n}`],
      ]));
    }
    for (const workload of ["w1_counter", "w2_hot", "w2_zipf", "w3_get", "w4_scan", "w1_single", "w3_single"]) {
      await load({ run, workload, system: "redis", protocol: "redis", ports: [port], pids: [child.pid] });
    }
    await benchLiveRedis({ run, port, child });
  } finally {
    await stop(child);
    rmSync(dir, { recursive: true, force: true });
  }
}
