/** The unmodified ConvexReactClient of the npm package convex in real browsers, against a real suite; and the feed in a page. */

import assert from "node:assert/strict";
import { existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";

import { chromium } from "playwright-core";

import { ROOT, startSuite, suiteMissing } from "../integration/js/suite.mjs";

const { build } = createRequire(join(ROOT, "libs/js/bitbend/package.json"))("esbuild");
const CHROMIUM = process.env.CHROMIUM ?? "/usr/bin/chromium";
const FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
const skip = suiteMissing() || (existsSync(CHROMIUM) ? false : `${CHROMIUM} is missing`);

const FUNCTIONS = {
  "schema.ts": `
import { defineSchema, defineTable } from "bitbend/server";
import { v } from "bitbend/values";
export default defineSchema({ items: defineTable({ list: v.string(), n: v.number() }).index("by_list", ["list", "n"]) });
`,
  "items.ts": `
import { paginationOptsValidator } from "bitbend/server";
import { v } from "bitbend/values";
import { mutation, query } from "./_generated/server";
const of = (ctx, list) => ctx.db.query("items").withIndex("by_list", (q) => q.eq("list", list));
export const numbers = query({ args: { list: v.string() }, handler: async (ctx, { list }) => (await of(ctx, list).collect()).map(({ n }) => n) });
export const sum = query({ args: { list: v.string() }, handler: async (ctx, { list }) => (await of(ctx, list).collect()).reduce((sum, { n }) => sum + n, 0) });
export const page = query({ args: { list: v.string(), paginationOpts: paginationOptsValidator }, handler: (ctx, { list, paginationOpts }) => of(ctx, list).paginate(paginationOpts) });
export const add = mutation({ args: { list: v.string(), n: v.number() }, handler: (ctx, item) => ctx.db.insert("items", item) });
`,
};

const APP = `
import { createRoot } from "react-dom/client";
import { ConvexProvider, ConvexReactClient, useMutation, usePaginatedQuery, useQuery } from "convex/react";
import { anyApi as api } from "convex/server";
import { Client } from "bitbend/client";

const convex = new ConvexReactClient(location.origin, { unsavedChangesWarning: false });
Object.assign(window, { convex, Client, seen: [], torn: [] });

function Numbers() {
  const numbers = useQuery(api.items.numbers, { list: "a" });
  const sum = useQuery(api.items.sum, { list: "a" });
  if (numbers && sum !== undefined) {
    window.seen.push(numbers);
    if (numbers.filter((n) => n < 1000).reduce((a, b) => a + b, 0) !== sum) window.torn.push([numbers, sum]);
  }
  return <p id="numbers">{numbers === undefined ? "loading" : numbers.join(" ")}</p>;
}
function Pages() {
  const { results, status, loadMore } = usePaginatedQuery(api.items.page, { list: "pages" }, { initialNumItems: 3 });
  window.loadMore = loadMore;
  return <p id="pages">{status + ": " + results.map(({ n }) => n).join(" ")}</p>;
}
function Sender() {
  window.add = useMutation(api.items.add);
  window.optimistic = window.add.withOptimisticUpdate((store, { list, n }) => {
    const now = store.getQuery(api.items.numbers, { list });
    if (now) store.setQuery(api.items.numbers, { list }, [...now, n]);
  });
  return null;
}
createRoot(document.getElementById("root")).render(<ConvexProvider client={convex}><Numbers /><Pages /><Sender /></ConvexProvider>);
`;

let suite;
let site;
const opened = [];
const pages = [];

before(async () => {
  if (skip) return;
  site = mkdtempSync(join(tmpdir(), "bitbend-convex-"));
  mkdirSync(join(site, "web"));
  mkdirSync(join(site, "node_modules"));
  for (const name of ["convex", "react", "react-dom", "scheduler"]) symlinkSync(join(ROOT, "tests/node_modules", name), join(site, "node_modules", name));
  symlinkSync(join(ROOT, "libs/js/bitbend"), join(site, "node_modules/bitbend"));
  writeFileSync(join(site, "app.jsx"), APP);
  writeFileSync(join(site, "web/index.html"), '<!doctype html><meta charset="utf-8"><title>t</title><div id="root"></div><script src="/app.js"></script>');
  await build({ entryPoints: [join(site, "app.jsx")], outfile: join(site, "web/app.js"), bundle: true, jsx: "automatic", define: { "process.env.NODE_ENV": '"production"' }, logLevel: "error", preserveSymlinks: true });
  suite = await startSuite({ functions: FUNCTIONS, staticDir: join(site, "web") });
  for (let i = 0; i < 2; i++) {
    const profile = mkdtempSync(join(tmpdir(), "bitbend-browser-"));
    const browser = await chromium.launchPersistentContext(profile, { executablePath: CHROMIUM, headless: true, args: FLAGS });
    opened.push({ browser, profile });
    const page = browser.pages()[0] ?? (await browser.newPage());
    page.setDefaultTimeout(60_000);
    await page.goto(suite.url);
    pages.push(page);
  }
});

after(async () => {
  for (const { browser, profile } of opened) {
    await browser.close();
    rmSync(profile, { recursive: true, force: true });
  }
  await suite?.stop();
  if (site) rmSync(site, { recursive: true, force: true });
});

const shows = (page, id, text) => page.waitForFunction(([element, wanted]) => document.getElementById(element)?.textContent === wanted, [id, text]);

test("two browsers see each other's mutations, at one moment, and each its own at once", { skip, timeout: 170_000 }, async () => {
  const [a, b] = pages;
  for (const page of pages) await shows(page, "numbers", "");
  await a.evaluate(() => window.optimistic({ list: "a", n: 1 }));
  await shows(b, "numbers", "1");
  await Promise.all([a.evaluate(() => Promise.all([2, 3, 4].map((n) => window.optimistic({ list: "a", n })))), b.evaluate(() => Promise.all([5, 6, 7].map((n) => window.add({ list: "a", n }))))]);
  for (const page of pages) await shows(page, "numbers", "1 2 3 4 5 6 7");
  assert.deepEqual(await b.evaluate(() => window.torn), []);
  const seen = await a.evaluate(() => window.seen);
  for (const numbers of seen) assert.equal(new Set(numbers).size, numbers.length, `doubled: ${numbers}`);
});

test("pages load, and stay gapless in the browser", { skip, timeout: 170_000 }, async () => {
  const [a, b] = pages;
  for (const n of [10, 20, 30, 40, 50, 60]) await suite.call("items:add", { list: "pages", n });
  await b.reload();
  await shows(b, "pages", "CanLoadMore: 10 20 30");
  await b.evaluate(() => window.loadMore(2));
  await shows(b, "pages", "CanLoadMore: 10 20 30 40 50");
  await a.evaluate(() => window.add({ list: "pages", n: 25 }));
  await shows(b, "pages", "CanLoadMore: 10 20 25 30 40 50");
});

test("a killed server: the page comes back, and what was sent meanwhile takes effect once", { skip, timeout: 170_000 }, async () => {
  const [a, b] = pages;
  await suite.kill();
  const sent = a.evaluate(() => window.optimistic({ list: "a", n: 1000 }));
  await shows(a, "numbers", "1 2 3 4 5 6 7 1000");
  await suite.start();
  await sent;
  await shows(b, "numbers", "1 2 3 4 5 6 7 1000");
});

test("p2_feed_in_a_page: client.txs in a browser brings transactions as they come", { skip, timeout: 170_000 }, async () => {
  const [a] = pages;
  await a.evaluate((adminKey) => {
    window.feed = [];
    const client = new window.Client(location.origin, { adminKey });
    window.stop = () => client.close();
    (async () => {
      for await (const { tx, fn, changes } of client.txs({ from: "earliest", tables: ["items"] })) window.feed.push([tx, fn, changes[0].after.n]);
    })();
  }, suite.adminKey);
  await a.waitForFunction(() => window.feed.length >= 14);
  await suite.call("items:add", { list: "feed", n: 77 });
  await a.waitForFunction(() => window.feed.at(-1)[2] === 77);
  const feed = await a.evaluate(() => (window.stop(), window.feed));
  assert.deepEqual(feed.map(([tx]) => tx), feed.map(([tx]) => tx).sort((x, y) => x - y));
  assert.equal(feed.length, 16, "7 of one list, 7 pages, the one over the kill, and the last");
});
