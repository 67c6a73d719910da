/** An application written for the npm package convex, deployed as it is, and used by that package's clients. */

import assert from "node:assert/strict";
import { cpSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";

import { ConvexClient, ConvexHttpClient } from "convex/browser";
import { anyApi as api } from "convex/server";
import { ConvexError } from "convex/values";

import { functionsDirOf } from "../../../libs/js/bitbend/cli/app.js";
import { createBundler } from "../../../libs/js/bitbend/cli/bundle.js";
import { generate } from "../../../libs/js/bitbend/cli/codegen.js";
import { ROOT, eventually, startSuite, suiteMissing } from "./suite.mjs";

const FILES = {
  "package.json": `{"name": "app", "type": "module"}`,
  "convex/schema.ts": `
import { defineSchema, defineTable } from "convex/server";
import { v } from "convex/values";
export default defineSchema({
  users: defineTable({ name: v.string(), email: v.optional(v.string()) }).index("by_name", ["name"]),
  issues: defineTable({ title: v.string(), status: v.union(v.literal("open"), v.literal("closed")), owner: v.optional(v.id("users")), priority: v.number(), tags: v.array(v.string()) })
    .index("by_status", ["status", "priority"]),
  counters: defineTable({ name: v.string(), n: v.int64() }).index("by_name", ["name"]),
});`,
  "convex/issues.ts": `
import { paginationOptsValidator } from "convex/server";
import { ConvexError, v } from "convex/values";
import { zonedQuery } from "convex-helper";
import { api, internal } from "./_generated/api";
import type { Doc, Id } from "./_generated/dataModel";
import { internalMutation, mutation, query, type MutationCtx, type QueryCtx } from "./_generated/server";

async function bump(ctx: MutationCtx, name: string) {
  const row = await ctx.db.query("counters").withIndex("by_name", (q) => q.eq("name", name)).unique();
  if (row) await ctx.db.patch(row._id, { n: row.n + 1n });
  else await ctx.db.insert("counters", { name, n: 1n });
}
async function withOwner(ctx: QueryCtx, issue: Doc<"issues">) {
  return { ...issue, owner: issue.owner ? await ctx.db.get("users", issue.owner) : null };
}
export const createUser = mutation({ args: { name: v.string() }, returns: v.id("users"), handler: (ctx, user) => ctx.db.insert("users", user) });
export const create = mutation({
  args: { title: v.string(), owner: v.optional(v.id("users")), priority: v.optional(v.number()) },
  handler: async (ctx, { title, owner, priority = 0 }): Promise<Id<"issues">> => {
    if (title === "") throw new ConvexError({ code: "EMPTY" });
    await bump(ctx, "created");
    const id = await ctx.db.insert("issues", { title, status: "open", owner, priority, tags: [] });
    await ctx.scheduler.runAfter(0, internal.issues.tag, { id, tag: "new" });
    return id;
  },
});
export const tag = internalMutation({
  args: { id: v.id("issues"), tag: v.string() },
  handler: async (ctx, { id, tag }) => {
    const issue = await ctx.db.get(id);
    if (issue) await ctx.db.patch(id, { tags: [...issue.tags, tag] });
  },
});
export const list = query({
  args: { status: v.union(v.literal("open"), v.literal("closed")), paginationOpts: paginationOptsValidator },
  handler: async (ctx, { status, paginationOpts }) => {
    const found = await ctx.db.query("issues").withIndex("by_status", (q) => q.eq("status", status).gte("priority", 0)).order("desc").paginate(paginationOpts);
    return { ...found, page: await Promise.all(found.page.map((issue) => withOwner(ctx, issue))) };
  },
});
export const get = query({ args: { id: v.id("issues") }, handler: (ctx, { id }) => ctx.db.get(id) });
export const counters = query({
  handler: async (ctx) => {
    const out: Record<string, bigint> = {};
    for await (const { name, n } of ctx.db.query("counters")) out[name] = n;
    return out;
  },
});
export const failing = internalMutation({ args: {}, handler: async (ctx) => { await bump(ctx, "never"); throw new ConvexError("inner"); } });
export const nested = mutation({
  args: {},
  handler: async (ctx) => {
    try {
      await ctx.runMutation(internal.issues.failing, {});
    } catch (error) {
      if (error instanceof ConvexError) return [await ctx.runQuery(api.issues.counters, {}), error.data];
      throw error;
    }
  },
});
export const helped = zonedQuery((ctx) => ctx.db.query("users").first());`,
  "convex/node.ts": `
"use node";
import { arch } from "node:os";
import { ConvexError, v } from "convex/values";
import { api } from "./_generated/api";
import { action } from "./_generated/server";
export const make = action({
  args: { title: v.string() },
  handler: async (ctx, { title }): Promise<string> => {
    try {
      const id = await ctx.runMutation(api.issues.create, { title });
      return (await ctx.runQuery(api.issues.get, { id })).title + arch().slice(0, 0);
    } catch (error) {
      return error instanceof ConvexError ? "refused " + error.data.code : "lost";
    }
  },
});`,
  "convex/crons.ts": `
import { cronJobs } from "convex/server";
import { internal } from "./_generated/api";
const crons = cronJobs();
crons.daily("nightly", { hourUTC: 1, minuteUTC: 5 }, internal.issues.failing, {});
export default crons;`,
  "convex/http.ts": `
import { httpRouter } from "convex/server";
import { httpAction } from "./_generated/server";
const http = httpRouter();
http.route({ path: "/hook", method: "POST", handler: httpAction(async (_ctx, request) => new Response(await request.text(), { status: 201 })) });
export default http;`,
  // Packages that help such functions import the same names.
  "node_modules/convex-helper/package.json": `{"name": "convex-helper", "type": "module", "exports": "./index.js"}`,
  "node_modules/convex-helper/index.js": `
import { queryGeneric } from "convex/server";
import { v } from "convex/values";
export const zonedQuery = (handler) => queryGeneric({ args: { zone: v.string() }, handler: async (ctx, { zone }) => [zone, (await handler(ctx))?.name ?? null] });`,
};

const skip = suiteMissing();
let app;
let suite;
let result; // of the deploy

before(async () => {
  if (skip) return;
  app = mkdtempSync(join(tmpdir(), "bitbend-convex-"));
  for (const [name, text] of Object.entries(FILES)) {
    mkdirSync(join(app, name, ".."), { recursive: true });
    writeFileSync(join(app, name), text);
  }
  // The package is installed, and not what the functions get.
  cpSync(join(ROOT, "tests/node_modules/convex"), join(app, "node_modules/convex"), { recursive: true });
  suite = await startSuite({ memory: true });
  const functionsDir = functionsDirOf(app);
  generate(functionsDir);
  const bundler = createBundler({ appDir: app, functionsDir });
  const { modules, node } = await bundler.build();
  await bundler.dispose();
  result = await suite.admin.deploy(modules, { node });
});
after(async () => {
  await suite?.stop();
  if (app) rmSync(app, { recursive: true });
});

test("its folder is the one for functions when there is no other", { skip }, () => {
  assert.equal(functionsDirOf(app), join(app, "convex"));
  assert.ok(existsSync(join(app, "convex/_generated/server.js")));
});

test("its functions, schema, crons and routes are deployed, those for Node.js too", { skip }, () => {
  const functions = ["counters", "create", "createUser", "failing", "get", "helped", "list", "nested", "tag"].map((name) => `issues:${name}`);
  assert.deepEqual(result.functions.added.sort(), [...functions, "node:make"]);
  assert.deepEqual([result.tables.added.sort(), result.crons.added, result.routes.added], [["counters", "issues", "users"], ["nightly"], ["POST /hook"]]);
});

test("mutations, queries, pages, sub-transactions and scheduled functions do what they say there", { skip }, async () => {
  const http = new ConvexHttpClient(suite.url);
  const owner = await http.mutation(api.issues.createUser, { name: "Ada" });
  let id;
  for (let i = 0; i < 25; i++) id = await http.mutation(api.issues.create, { title: `t${i}`, owner, priority: i });
  const pages = [];
  for (let cursor = null, isDone = false; !isDone; ) {
    const page = await http.query(api.issues.list, { status: "open", paginationOpts: { numItems: 10, cursor } });
    pages.push(page.page.map(({ title, owner: { name } }) => `${title} ${name}`));
    ({ isDone, continueCursor: cursor } = page);
  }
  assert.deepEqual(pages.flat(), Array.from({ length: 25 }, (_, i) => `t${24 - i} Ada`));
  assert.deepEqual(await http.mutation(api.issues.nested, {}), [{ created: 25n }, "inner"]);
  assert.deepEqual(await http.query(api.issues.helped, { zone: "UTC" }), ["UTC", "Ada"]);
  await eventually(async () => (await http.query(api.issues.get, { id })).tags.includes("new"), { what: "the scheduled mutation" });
});

test("its errors are ConvexErrors with data, at the client and inside", { skip }, async () => {
  const http = new ConvexHttpClient(suite.url);
  await assert.rejects(http.mutation(api.issues.create, { title: "" }), (error) => error instanceof ConvexError && error.data.code === "EMPTY");
  await assert.rejects(http.mutation(api.issues.create, { title: 7 }), /args\.title: expected string/);
});

test("what it shows is live in its client", { skip }, async () => {
  const client = new ConvexClient(suite.url);
  const heard = [];
  client.onUpdate(api.issues.counters, {}, (value) => heard.push(value.created ?? 0n));
  await eventually(() => heard.length > 0, { what: "a first value" });
  const before = heard.at(-1);
  await client.mutation(api.issues.create, { title: "live" });
  await eventually(() => heard.at(-1) === before + 1n, { what: "the next value" });
  await client.close();
});
