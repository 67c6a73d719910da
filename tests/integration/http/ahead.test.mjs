// A busy slot is given short queries ahead; a call that takes long must not hold up those behind it.
import assert from "node:assert/strict";
import { once } from "node:events";
import { connect } from "node:net";
import { test } from "node:test";

import { query } from "./api.mjs";
import { inEachMode } from "./modes.mjs";

const SHORT = 120;

/** A connection of its own, and the answer to what is asked on it. */
async function open(url) {
  const socket = connect(Number(new URL(url).port), "127.0.0.1").setNoDelay(true);
  await once(socket, "connect");
  let text = "";
  const answer = new Promise((resolve) => {
    socket.on("data", (chunk) => {
      text += chunk;
      if (text.includes('"status":')) resolve(text);
    });
  });
  const ask = (path, args) => {
    const body = JSON.stringify({ path, args, format: "json" });
    socket.write(`POST /api/query HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`);
  };
  return { ask, answer, close: () => socket.destroy() };
}

inEachMode("queries sent ahead", (suite) => {
  test("t4 short queries do not wait for one that never ends, whatever slot they were sent to", async () => {
    for (let i = 0; i < 20; i++) await Promise.all(Array.from({ length: 20 }, () => query(suite.url, "items:count", { group: "ahead" })));
    const connections = await Promise.all(Array.from({ length: SHORT + 1 }, () => open(suite.url)));
    const [long, ...short] = connections;
    let hasEnded = false;
    const ended = long.answer.then((text) => ((hasEnded = true), text));
    // All at once: whatever slot the long one comes to, others are sent to the same slot.
    for (const [i, { ask }] of short.entries()) {
      if (i === 30) long.ask("trouble:microtasks", {});
      ask("items:count", { group: "ahead" });
    }
    for (const text of await Promise.all(short.map(({ answer }) => answer))) assert.match(text, /"value":0/);
    const wasRunning = !hasEnded;
    const answer = await ended;
    for (const { close } of connections) close();
    assert.ok(wasRunning, "the long query was still running when all short ones were answered");
    assert.match(answer, /FunctionTimeout/);
    assert.equal(await query(suite.url, "items:count", { group: "ahead" }), 0, "and the slots serve on");
  });
});
