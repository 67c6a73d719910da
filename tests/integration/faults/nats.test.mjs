// The transaction feed in a NATS JetStream stream: once, in order, over restarts of every part.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";

import { eventually, get, mutation } from "../http/api.mjs";
import { app } from "../http/modes.mjs";
import { damageFeed, feedFiles, pull } from "../http/tx-feed.mjs";
import { freePorts, startSuite } from "../js/suite.mjs";

const PROGRAM = "/usr/sbin/nats-server";
const skip = existsSync(PROGRAM) ? false : `${PROGRAM} is missing`;

function startServer(dir, port) {
  const child = spawn(PROGRAM, ["-js", "-sd", dir, "-a", "127.0.0.1", "-p", String(port)], { stdio: "ignore" });
  const exited = new Promise((done) => child.once("exit", done));
  return { kill: (signal = "SIGKILL") => (child.kill(signal), exited) };
}

/** The answer to one request of the JetStream API, in NATS's text protocol. */
function request(port, subject, body) {
  return new Promise((done, fail) => {
    const socket = connect(port, "127.0.0.1");
    let text = "";
    socket.setTimeout(30_000, () => socket.destroy(new Error("NATS is silent")));
    socket.on("error", fail);
    socket.on("connect", () => socket.write(`CONNECT {"verbose":false,"headers":true}\r\nSUB inbox.1 1\r\nPUB ${subject} inbox.1 ${body.length}\r\n${body}\r\n`));
    socket.on("data", (bytes) => {
      text += bytes.toString("latin1");
      const found = /\r\nMSG inbox\.1 1 (\d+)\r\n/.exec(text);
      if (found === null) return;
      const start = found.index + found[0].length;
      if (text.length < start + Number(found[1])) return;
      socket.destroy();
      done(JSON.parse(Buffer.from(text.slice(start, start + Number(found[1])), "latin1").toString("utf8")));
    });
  });
}

async function messagesOf(port) {
  const { state } = await request(port, "$JS.API.STREAM.INFO.bb", "");
  const messages = [];
  for (let seq = state.first_seq; seq <= state.last_seq && state.messages > 0; seq++) {
    const { message } = await request(port, "$JS.API.STREAM.MSG.GET.bb", JSON.stringify({ seq }));
    const headers = Buffer.from(message.hdrs, "base64").toString();
    const header = (name) => new RegExp(`${name}: ?(.*)\r\n`).exec(headers)?.[1];
    messages.push({ tx: Number(header("BB-Tx")), prev: Number(header("BB-Prev")), id: header("Nats-Msg-Id"), subject: message.subject, body: JSON.parse(Buffer.from(message.data, "base64").toString()) });
  }
  return messages;
}

describe("the feed in NATS", { skip }, () => {
  let suite;
  let server;
  let dir;
  let port;
  before(async () => {
    dir = mkdtempSync(join(tmpdir(), "bitbend-nats-"));
    [port] = await freePorts(1);
    const nats = { nats: `nats://127.0.0.1:${port}`, "nats-feed": true };
    // NATS is not there yet, and two gateways publish into one stream.
    suite = await startSuite({ mode: "processes", appDir: app, gateways: 2, options: { gateway: nats, gateway2: nats } });
    suite.adminHeaders = { authorization: `BitBend ${suite.adminKey}` };
  });
  after(async () => {
    await suite?.stop();
    await server?.kill();
    if (dir) rmSync(dir, { recursive: true, force: true });
  });
  const status = async () => (await get(suite.url, "/api/admin/status", suite.adminHeaders)).body.gateway.nats.feed;
  const write = async (group, count) => {
    for (let n = 0; n < count; n++) await mutation(suite.urls[n % 2], "items:add", { group, n });
  };

  test("p2_nats: every transaction once and in order, while NATS and gateways are killed", { timeout: 120_000 }, async () => {
    await write("away", 5);
    assert.equal((await status()).isUp, false, "without NATS the suite works");
    server = startServer(dir, port);
    await eventually(async () => (await status()).isUp);
    await write("up", 10);
    await server.kill();
    await write("killed", 10);
    server = startServer(dir, port);
    await suite.restart("gateway");
    await write("again", 10);
    await suite.restart("gateway2");
    await write("last", 5);
    const { txs } = await pull({ url: suite.url, admin: suite.adminHeaders }, "from=earliest");
    const messages = await eventually(async () => {
      const found = await messagesOf(port);
      return found.at(-1)?.tx === txs.at(-1).tx && found;
    });
    assert.deepEqual(messages.map(({ tx }) => tx), txs.map(({ tx }) => tx));
    messages.forEach(({ tx, prev, id, subject, body }, i) => {
      assert.equal(prev, txs[i].prev);
      assert.deepEqual([id, subject, body.tx, body.prev], [String(tx), "bb.main.tx", tx, prev]);
    });
    assert.equal(messages.at(-1).body.changes[0].after.group, "last");
    await eventually(async () => (await status()).publishedTx === txs.at(-1).tx);
  });

  test("p2_nats_emptied: a stream whose limits removed everything goes on where it was", { timeout: 120_000 }, async () => {
    const before = (await request(port, "$JS.API.STREAM.INFO.bb", "")).state.last_seq;
    assert.ok(before > 10);
    await request(port, "$JS.API.STREAM.PURGE.bb", "");
    // While nobody publishes there are no messages; both gateways find the stream empty.
    await suite.restart("gateway");
    await suite.restart("gateway2");
    await write("after", 3);
    const messages = await eventually(async () => {
      const { state } = await request(port, "$JS.API.STREAM.INFO.bb", "");
      return state.messages >= 3 && (await messagesOf(port));
    });
    await new Promise((done) => setTimeout(done, 300));
    const { txs } = await pull({ url: suite.url, admin: suite.adminHeaders }, "from=earliest");
    assert.deepEqual((await messagesOf(port)).map(({ tx }) => tx), txs.slice(-3).map(({ tx }) => tx), "only what is new");
    assert.equal(messages[0].body.changes[0].after.group, "after");
    assert.equal((await request(port, "$JS.API.STREAM.INFO.bb", "")).state.last_seq, before + 3);
  });
});

test("what no node can read is left out of NATS, and the rest comes", { skip, timeout: 120_000 }, async (t) => {
  const dir = mkdtempSync(join(tmpdir(), "bitbend-nats-"));
  const [port] = await freePorts(1);
  let server;
  const suite = await startSuite({ mode: "processes", appDir: app, options: { gateway: { nats: `nats://127.0.0.1:${port}`, "nats-feed": true } } });
  t.after(async () => {
    await suite.stop();
    await server?.kill();
    rmSync(dir, { recursive: true, force: true });
  });
  const folder = suite.settings("storage").data;
  const body = "x".repeat(900_000);
  await eventually(async () => {
    await Promise.all(Array.from({ length: 8 }, (_, n) => mutation(suite.url, "items:add", { group: "damage", n, body })));
    return feedFiles(folder) >= 2;
  }, 60_000);
  await suite.kill("storage");
  damageFeed(folder);
  await suite.start("storage");
  await eventually(() => mutation(suite.url, "items:add", { group: "after", n: 1 }).then(() => true));
  server = startServer(dir, port);
  const messages = await eventually(async () => {
    const { error, state } = await request(port, "$JS.API.STREAM.INFO.bb", "");
    const found = error === undefined && state.messages > 0 && (await messagesOf(port));
    return found && found.at(-1).body.changes?.[0].after.group === "after" && found;
  }, 60_000);
  const { txs } = await pull({ url: suite.url, admin: { authorization: `BitBend ${suite.adminKey}` } }, `from=${messages[0].prev}&include=keys`);
  assert.deepEqual(messages.map(({ tx }) => tx), txs.map(({ tx }) => tx), "all that can be read");
});
