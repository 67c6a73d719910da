// Actions, endpoints and jobs: what they cost beside a plain Node.js server, how fast and how punctual jobs are.
import { existsSync } from "node:fs";
import { Agent, createServer, request } from "node:http";

import { actionsMissing, startStand } from "../integration/actions/stand.mjs";
import { freePort, record, seconds, sleep, wants } from "./common.mjs";
import { pssMb } from "./processes.mjs";

const CONCURRENT = 16;
const JOBS = { mutation: 2000, action: 300 };
const PUNCTUAL = 60;
const FUNCTIONS = {
  "schema.ts": `
import { defineSchema, defineTable } from "bitbend/server";
import { v } from "bitbend/values";
export default defineSchema({ counts: defineTable({ n: v.number() }) });
`,
  "bench.ts": `
import { v } from "bitbend/values";
import { internal } from "./_generated/api";
import { action, internalAction, internalMutation, mutation, query } from "./_generated/server";
export const echo = action({ args: { text: v.string() }, handler: (ctx, { text }) => text });
export const nothing = internalMutation({ args: {}, handler: () => null });
export const nothingOutside = internalAction({ args: {}, handler: () => null });
export const many = mutation({
  args: { count: v.number(), inMs: v.number(), isAction: v.boolean() },
  handler: async (ctx, { count, inMs, isAction }) => {
    for (let i = 0; i < count; i++) await (isAction ? ctx.scheduler.runAfter(inMs, internal.bench.nothingOutside, {}) : ctx.scheduler.runAfter(inMs, internal.bench.nothing, {}));
  },
});
export const open = query({ args: {}, handler: async (ctx) => (await ctx.db.query("_jobs").withIndex("by_state_due", (q) => q.eq("state", "pending")).take(1)).length + (await ctx.db.query("_jobs").withIndex("by_state_due", (q) => q.eq("state", "running")).take(1)).length });
export const ended = query({ args: { count: v.number() }, handler: async (ctx, { count }) => (await ctx.db.query("_jobs").order("desc").take(count)).map(({ due, started, ended }) => ({ due, started, ended })) });
`,
  "http.ts": `
import { httpRouter } from "bitbend/server";
import { httpAction } from "./_generated/server";
const http = httpRouter();
http.route({ path: "/echo", method: "POST", handler: httpAction(async (ctx, request) => new Response(await request.text())) });
export default http;
`,
};

const at = (times, q) => Math.round(times[Math.min(times.length - 1, Math.floor(times.length * q))] * 100) / 100;

function post(agent, url, body) {
  return new Promise((done, fail) => {
    const outgoing = request(url, { method: "POST", agent, headers: { "Content-Type": "application/json", "Content-Length": body.length } }, (response) => {
      response.resume();
      response.on("end", () => (response.statusCode === 200 ? done() : fail(new Error(`${url}: HTTP ${response.statusCode}`))));
    });
    outgoing.on("error", fail);
    outgoing.end(body);
  });
}

/** One caller after another, then several at once. */
async function callers(run, workload, system, url, body) {
  for (const connections of [1, CONCURRENT]) {
    const agent = new Agent({ keepAlive: true, maxSockets: connections });
    const times = [];
    let errors = 0;
    const began = performance.now();
    const end = began + seconds * 1000;
    const caller = async () => {
      while (performance.now() < end) {
        const before = performance.now();
        await post(agent, url, body).then(() => times.push(performance.now() - before), () => errors++);
      }
    };
    await Promise.all(Array.from({ length: connections }, caller));
    const took = (performance.now() - began) / 1000;
    agent.destroy();
    times.sort((a, b) => a - b);
    record({ workload: connections === 1 ? `${workload}_single` : workload, system, run, ops: times.length, ops_s: Math.round(times.length / took), p50_ms: at(times, 0.5), p99_ms: at(times, 0.99), errors });
  }
}

/** A plain server of Node.js that parses and answers the same: the floor. */
async function benchNode(run) {
  const port = await freePort();
  const server = createServer((incoming, response) => {
    const chunks = [];
    incoming.on("data", (chunk) => chunks.push(chunk));
    incoming.on("end", () => response.end(JSON.stringify({ status: "success", value: JSON.parse(Buffer.concat(chunks)).args.text })));
  });
  await new Promise((done) => server.listen(port, "127.0.0.1", done));
  await callers(run, "w14_action", "node", `http://127.0.0.1:${port}/`, CALL);
  server.close();
}
const CALL = JSON.stringify({ path: "bench:echo", args: { text: "x".repeat(200) } });

async function jobs(run, stand, isAction) {
  const system = isAction ? "bitbend-action" : "bitbend-mutation";
  const count = isAction ? JOBS.action : JOBS.mutation;
  const untilDone = async () => {
    while ((await stand.call("bench:open")) > 0) await sleep(20);
  };
  const began = performance.now();
  for (let i = 0; i < count; i += 100) await stand.call("bench:many", { count: 100, inMs: 0, isAction });
  await untilDone();
  const took = (performance.now() - began) / 1000;
  // At rest: from the moment a job is due to its start.
  for (let i = 0; i < PUNCTUAL; i++) {
    await stand.call("bench:many", { count: 1, inMs: 100, isAction });
    await sleep(20);
  }
  await sleep(500);
  await untilDone();
  const late = (await stand.call("bench:ended", { count: PUNCTUAL })).map(({ due, started }) => started - due).sort((a, b) => a - b);
  record({ workload: "w15_jobs", system, run, ops: count, ops_s: Math.round(count / took), p50_ms: at(late, 0.5), p99_ms: at(late, 0.99), errors: 0 });
}

/** PSS of the runner and of what it started. */
function runnerMb(stand) {
  return pssMb(stand.runners[0].pid);
}

export async function benchActions(run) {
  if (!["w14_action", "w15_jobs"].some(wants)) return;
  if (actionsMissing() || !existsSync("/usr/sbin/nats-server")) return console.log(`actions are left out: ${actionsMissing()}`);
  const stand = await startStand({ functions: FUNCTIONS, showErrors: false });
  try {
    await sleep(1000);
    record({ workload: "w14_rest", system: "bitbend", run, pss_mb: runnerMb(stand) });
    if (wants("w14_action")) {
      await benchNode(run);
      await callers(run, "w14_action", "bitbend", `${stand.url}/api/action`, CALL);
      await callers(run, "w14_endpoint", "bitbend", `${stand.url}/http/echo`, CALL);
    }
    if (wants("w15_jobs")) {
      await jobs(run, stand, false);
      await jobs(run, stand, true);
    }
  } finally {
    await stand.stop();
  }
}
