/** Endpoints (http.ts): routes, Request and Response, streams both ways, CORS, limits, errors. */

import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { request as httpRequest } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";

import { actionsMissing, endChild, eventually, startStand } from "./stand.mjs";
import { freePorts } from "../js/suite.mjs";

const FUNCTIONS = {
  "notes.ts": `
import { internalMutation, query } from "./_generated/server";
export const add = internalMutation(async (ctx, { text }: { text: string }) => ctx.db.insert("notes", { text }));
export const list = query(async (ctx) => (await ctx.db.query("notes").collect()).map((note) => note.text));
`,
  "schema.ts": `
import { defineSchema, defineTable } from "bitbend/server";
import { v } from "bitbend/values";
export default defineSchema({ notes: defineTable({ text: v.string() }) });
`,
  "http.ts": `
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { httpRouter } from "bitbend/server";
import { internal } from "./_generated/api";
import { httpAction } from "./_generated/server";
const http = httpRouter();
const say = (text: string) => httpAction(async (ctx) => new Response(text + JSON.stringify(ctx.params)));
http.route({ path: "/users/me", method: "GET", handler: say("me") });
http.route({ path: "/users/{id}", method: "GET", handler: say("user") });
http.route({ path: "/users/{id}/posts/{post}", method: "GET", handler: say("post") });
http.route({ pathPrefix: "/users/", method: "GET", handler: say("prefix") });
http.route({ pathPrefix: "/users/deep/", method: "GET", handler: say("deep") });
http.route({ path: "/", method: "GET", handler: say("root") });
http.route({
  path: "/hook", method: "POST",
  handler: httpAction(async (ctx, request) => {
    const { text } = await request.json();
    await ctx.runMutation(internal.notes.add, { text });
    return Response.json({ text, url: request.url, method: request.method, agent: request.headers.get("user-agent") }, { status: 201, headers: { "X-Own": "yes" } });
  }),
});
http.route({ path: "/cookies", method: "GET", handler: httpAction(async () => { const r = new Response(null, { status: 204 }); r.headers.append("Set-Cookie", "a=1"); r.headers.append("Set-Cookie", "b=2"); return r; }) });
http.route({ path: "/hash", method: "PUT", handler: httpAction(async (ctx, request) => {
  const hash = createHash("sha256");
  let bytes = 0;
  for await (const chunk of request.body as any) { hash.update(chunk); bytes += chunk.length; }
  return Response.json({ bytes, hash: hash.digest("hex") });
}) });
http.route({ path: "/echo", method: "POST", handler: httpAction(async (ctx, request) => new Response(request.body, { headers: { "Content-Type": "application/x-echo" } })) });
http.route({ path: "/count", method: "GET", handler: httpAction(async (ctx, request) => {
  const { searchParams } = new URL(request.url);
  const [count, pause, fail] = ["count", "pause", "fail"].map((name) => Number(searchParams.get(name)));
  let n = 0;
  return new Response(new ReadableStream({
    async pull(controller) {
      if (pause > 0) await new Promise((done) => setTimeout(done, pause));
      if (n === fail) throw new Error("in the middle");
      if (n === count) return controller.close();
      controller.enqueue(new TextEncoder().encode(\`line \${n++}\\n\`));
    },
    async cancel() {
      await ctx.runMutation(internal.notes.add, { text: \`left, \${request.signal.aborted}\` });
    },
  }));
}) });
http.route({ path: "/gated", method: "GET", handler: httpAction(async (ctx, request) => {
  const gate = new URL(request.url).searchParams.get("gate");
  let n = 0;
  return new Response(new ReadableStream({
    async pull(controller) {
      while (n > 0 && !existsSync(gate + n)) await new Promise((done) => setTimeout(done, 10));
      if (n === 3) return controller.close();
      controller.enqueue(new TextEncoder().encode("line " + n++ + "\\n"));
    },
  }));
}) });
http.route({ path: "/large", method: "GET", handler: httpAction(async (ctx, request) => {
  const bytes = new Uint8Array(Number(new URL(request.url).searchParams.get("bytes")));
  return new Response(bytes);
}) });
http.route({ path: "/throw", method: "GET", handler: httpAction(async () => { throw new Error("what went wrong"); }) });
http.route({ path: "/who", method: "GET", handler: httpAction(async (ctx, request) => Response.json([await ctx.auth.getUserIdentity(), request.headers.get("authorization")])) });
http.route({ path: "/nothing", method: "GET", handler: httpAction(async () => "text" as any) });
http.route({ path: "/early", method: "POST", handler: httpAction(async () => new Response("no need", { status: 403 })) });
http.route({ path: "/open", method: "GET", cors: true, handler: httpAction(async () => new Response("open")) });
http.route({ path: "/closed", method: "PUT", cors: { origins: ["https://example.com"], credentials: true, headers: ["X-A"] }, handler: httpAction(async () => new Response("closed")) });
export default http;
`,
};

describe("endpoints", { skip: actionsMissing() }, () => {
  let stand;
  let site;
  before(async () => {
    const [port] = await freePorts(1);
    site = `http://127.0.0.1:${port}`;
    stand = await startStand({ mode: "processes", functions: FUNCTIONS, options: { gateway: { "http-actions-listen": `127.0.0.1:${port}`, "body-max": "8M", "http-response-max": "6M" } } });
  });
  after(() => stand?.stop());
  const ask = (path, init) => fetch(`${stand.url}/http${path}`, init);
  const text = async (path, init) => (await ask(path, init)).text();

  test("exact paths go before parameters, parameters before the longest prefix", async () => {
    for (const [path, expected] of [["/users/me", "me{}"], ["/users/a%20b", 'user{"id":"a b"}'], ["/users/7/posts/x", 'post{"id":"7","post":"x"}'], ["/users/1/2/3", "prefix{}"], ["/users/deep/er/and/er", "deep{}"], ["/users/", "prefix{}"], ["/", "root{}"], ["", "root{}"]]) {
      assert.equal(await text(path), expected, path);
    }
    assert.equal(await (await fetch(`${site}/users/me`)).text(), "me{}", "at the root of the second port");
  });

  test("404, 405 with Allow, and HEAD as GET", async () => {
    const missing = await ask("/none");
    assert.deepEqual([missing.status, (await missing.json()).code], [404, "NotFound"]);
    const wrong = await ask("/users/me", { method: "DELETE" });
    assert.deepEqual([wrong.status, wrong.headers.get("allow"), (await wrong.json()).code], [405, "GET, HEAD", "MethodNotAllowed"]);
    const head = await ask("/users/me", { method: "HEAD" });
    assert.deepEqual([head.status, await head.text()], [200, ""]);
  });

  test("a hook writes, and sees the whole request", async () => {
    const answer = await ask("/hook?x=1", { method: "POST", body: '{"text":"from a hook"}', headers: { "User-Agent": "hooker" } });
    assert.deepEqual([answer.status, answer.headers.get("x-own")], [201, "yes"]);
    assert.deepEqual(await answer.json(), { text: "from a hook", url: `${stand.url}/hook?x=1`, method: "POST", agent: "hooker" });
    assert.deepEqual(await stand.call("notes:list"), ["from a hook"]);
    assert.deepEqual((await ask("/cookies")).headers.getSetCookie(), ["a=1", "b=2"]);
  });

  test("a large body is read as it comes, and one that nobody reads is no trouble", async () => {
    const bytes = Buffer.alloc(5 << 20, "0123456789");
    const { createHash } = await import("node:crypto");
    const answer = await (await ask("/hash", { method: "PUT", body: bytes })).json();
    assert.deepEqual(answer, { bytes: bytes.length, hash: createHash("sha256").update(bytes).digest("hex") });
    const early = await ask("/early", { method: "POST", body: bytes });
    assert.deepEqual([early.status, await early.text()], [403, "no need"]);
  });

  test("request and response stream at the same time", async () => {
    const lines = [];
    await new Promise((done, fail) => {
      const outgoing = httpRequest(`${site}/echo`, { method: "POST" }, (response) => {
        assert.equal(response.headers["content-type"], "application/x-echo");
        let all = "";
        response.setEncoding("utf8").on("data", (chunk) => {
          all += chunk;
          lines.push(chunk);
          if (all.endsWith("one")) outgoing.write("two");
          else if (all.endsWith("two")) outgoing.end("three");
        });
        response.on("end", () => (assert.equal(all, "onetwothree"), done()));
        response.on("error", fail);
      });
      outgoing.on("error", fail);
      outgoing.write("one");
    });
    assert.ok(lines.length >= 2, "each part came back before the next was sent");
  });

  test("a response arrives while it is made; one that breaks is seen to be cut off", async () => {
    // Each line is made only when the one before it was here.
    const dir = mkdtempSync(join(tmpdir(), "bitbend-gate-"));
    const response = await ask(`/gated?gate=${encodeURIComponent(join(dir, "line"))}`);
    let seen = "";
    for await (const chunk of response.body) {
      seen += Buffer.from(chunk).toString();
      writeFileSync(join(dir, `line${seen.split("\n").length - 1}`), "");
    }
    rmSync(dir, { recursive: true });
    assert.equal(seen, "line 0\nline 1\nline 2\n");
    const cut = await ask("/count?count=9&pause=60&fail=3");
    assert.equal(cut.status, 200);
    await assert.rejects(cut.text(), "the body has no end");
  });

  test("limits: 413 for bodies, a response that is too large is cut off", async () => {
    const large = await ask("/hash", { method: "PUT", body: Buffer.alloc(9 << 20) });
    assert.deepEqual([large.status, (await large.json()).code], [413, "BodyTooLarge"]);
    const stream = new ReadableStream({ pull: (controller) => controller.enqueue(new Uint8Array(1 << 20)) });
    const endless = await ask("/hash", { method: "PUT", body: stream, duplex: "half" }).then(({ status }) => status, () => 413);
    assert.equal(endless, 413);
    assert.equal((await (await ask("/large?bytes=5000000")).arrayBuffer()).byteLength, 5000000);
    await assert.rejects(ask("/large?bytes=7000000").then((answer) => answer.arrayBuffer()));
  });

  test("errors that a handler throws are 500, with what went wrong where errors are shown", async () => {
    const thrown = await ask("/throw");
    assert.equal(thrown.status, 500);
    assert.match((await thrown.json()).message, /what went wrong[^]*http\.ts:/);
    const nothing = await ask("/nothing");
    assert.deepEqual([nothing.status, /must return a Response/.test((await nothing.json()).message)], [500, true]);
  });

  test("a client that leaves aborts request.signal and cancels the stream", async () => {
    const gone = new AbortController();
    const response = await ask("/count?count=1000&pause=50&fail=-1", { signal: gone.signal });
    const reader = response.body.getReader();
    await reader.read();
    gone.abort();
    await eventually(async () => (await stand.call("notes:list")).includes("left, true"), { what: "the handler's end" });
  });

  test("CORS: preflights, allowed origins, and nothing that the application did not say", async () => {
    const origin = { Origin: "https://example.com" };
    const plain = await ask("/users/me", { headers: origin });
    assert.equal(plain.headers.get("access-control-allow-origin"), null);
    assert.equal((await ask("/open", { headers: origin })).headers.get("access-control-allow-origin"), "*");
    const pre = await ask("/open", { method: "OPTIONS", headers: { ...origin, "Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "x-b" } });
    assert.deepEqual([pre.status, pre.headers.get("access-control-allow-methods"), pre.headers.get("access-control-allow-headers")], [204, "GET", "x-b"]);
    const closed = await ask("/closed", { method: "PUT", headers: origin });
    assert.deepEqual([closed.headers.get("access-control-allow-origin"), closed.headers.get("access-control-allow-credentials")], ["https://example.com", "true"]);
    assert.equal((await ask("/closed", { method: "PUT", headers: { Origin: "https://other.example" } })).headers.get("access-control-allow-origin"), null);
    assert.equal((await ask("/users/me", { method: "OPTIONS", headers: origin })).status, 405);
  });

  test("a token that is no user's is the handler's to judge", async () => {
    const answer = await ask("/who", { headers: { Authorization: "Bearer of-a-webhook" } });
    assert.deepEqual([answer.status, await answer.json()], [200, [null, "Bearer of-a-webhook"]]);
  });

  test("only runners reach the runner's side", async () => {
    const path = `/api/runner/http/${"0".repeat(32)}/request`;
    assert.equal((await fetch(stand.url + path)).status, 401);
    assert.equal((await fetch(stand.url + path, { headers: { Authorization: `BitBend ${stand.adminKey}` } })).status, 404);
  });

  test("routes follow a deploy, and without a runner there is 503", async () => {
    const { routes, functions } = await stand.deploy({ "http.ts": FUNCTIONS["http.ts"].replace('"/users/me"', '"/users/you"') });
    assert.deepEqual([routes.added, routes.removed, functions.added], [["GET /users/you"], ["GET /users/me"], []]);
    assert.equal((await stand.call("_system:status")).routes, routes.added.length + routes.changed.length);
    assert.equal(await text("/users/you"), "me{}");
    assert.equal(await text("/users/me"), 'user{"id":"me"}');
    await endChild(stand.runners.pop(), "SIGTERM");
    const away = await ask("/users/you");
    assert.deepEqual([away.status, away.headers.get("retry-after"), (await away.json()).code], [503, "1", "Unavailable"]);
    await stand.startRunner();
    assert.equal(await text("/users/you"), "me{}");
  });
});
