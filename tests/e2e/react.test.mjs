/** bitbend/react in a real browser, against a real suite; and on a server, where nothing is opened. */

import assert from "node:assert/strict";
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
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
import { BitBendError, v } from "bitbend/values";
import { mutation, query } from "./_generated/server";
const of = (ctx, list) => ctx.db.query("items").withIndex("by_list", (q) => q.eq("list", list));
export const numbers = query({ args: { list: v.string() }, handler: async (ctx, { list }) => (await of(ctx, list).collect()).map(({ n }) => n) });
export const sum = query({ args: { list: v.string() }, handler: async (ctx, { list }) => (await of(ctx, list).collect()).reduce((sum, { n }) => sum + n, 0) });
export const page = query({ args: { list: v.string(), paginationOpts: paginationOptsValidator }, handler: (ctx, { list, paginationOpts }) => of(ctx, list).paginate(paginationOpts) });
export const fails = query({ args: {}, handler: async (ctx) => { if (await of(ctx, "trouble").first()) throw new BitBendError({ why: "trouble" }); return "fine"; } });
export const add = mutation({
  args: { list: v.string(), n: v.number() },
  handler: (ctx, item) => { if (item.n < 0) throw new BitBendError({ why: "negative" }); return ctx.db.insert("items", item); },
});
`,
};

const APP = `
import { Component, lazy, StrictMode, Suspense, useState } from "react";
import { createRoot, hydrateRoot } from "react-dom/client";
import { renderToString } from "react-dom/server";
import { Client } from "bitbend/client";
import { BitBendProvider, useAction, useConnectionState, useMutation, usePaginatedQuery, useQueries, useQuery } from "bitbend/react";

const client = new Client(location.origin);
Object.assign(window, { client, seen: [], torn: [], renders: 0 });

class Boundary extends Component {
  state = { error: null };
  static getDerivedStateFromError = (error) => ({ error });
  render() {
    return this.state.error ? <p id="caught">{this.state.error.data.why}</p> : this.props.children;
  }
}
function Numbers({ list }) {
  const numbers = useQuery("items:numbers", list ? { list } : "skip");
  const sum = useQuery("items:sum", list ? { list } : "skip");
  window.renders++;
  if (numbers && sum !== undefined) {
    // An optimistic update changes one of the two; the server's news both.
    if (numbers.filter((n) => n < 100).reduce((a, b) => a + b, 0) !== sum) window.torn.push([numbers, sum]);
    window.seen.push(numbers);
  }
  return <p id="numbers">{numbers === undefined ? "loading" : numbers.join(" ")}</p>;
}
function Sender() {
  const add = useMutation("items:add");
  const optimistic = add.withOptimisticUpdate((store, { list, n }) => {
    const now = store.getQuery("items:numbers", { list });
    if (now) store.setQuery("items:numbers", { list }, [...now, n]);
  });
  window.add = add;
  window.optimistic = optimistic;
  window.action = useAction("items:none");
  return null;
}
function Pages() {
  const { results, status, loadMore } = usePaginatedQuery("items:page", { list: "pages" }, { initialNumItems: 3 });
  window.loadMore = loadMore;
  return <p id="pages">{status + ": " + results.map(({ n }) => n).join(" ")}</p>;
}
function Many() {
  const { a, b, c } = useQueries({ a: { query: "items:sum", args: { list: "a" } }, b: { query: "items:sum", args: { list: "b" } }, c: "skip" });
  return <p id="many">{[a, b, c].map(String).join(" ")}</p>;
}
const Fails = () => <p id="fails">{useQuery("items:fails")}</p>;
const State = () => <p id="state">{useConnectionState()}</p>;
let finishLazy;
const Late = lazy(() => new Promise((done) => (finishLazy = () => done({ default: () => <p id="late">late</p> }))));
window.finishLazy = () => finishLazy();

function App() {
  const [list, setList] = useState("a");
  const [hasMore, setMore] = useState(false);
  Object.assign(window, { setList, setMore });
  return (
    <BitBendProvider client={client}>
      <State />
      <Sender />
      <Numbers list={list} />
      {hasMore && <><Pages /><Many /><Boundary><Fails /></Boundary></>}
      <Suspense fallback={<p id="waiting">waiting</p>}><Numbers list={list} /><Late /></Suspense>
    </BitBendProvider>
  );
}
createRoot(document.getElementById("root")).render(<StrictMode><App /></StrictMode>);

// What a server renders: everything is loading, and the browser takes it over without a complaint.
const Inner = () => <p id="inner">{String(useQuery("items:sum", { list: "ssr" }))}</p>;
const Page = () => <BitBendProvider client={client}><Inner /></BitBendProvider>;
window.serverHtml = renderToString(<Page />);
window.hydrate = () => {
  const root = document.getElementById("hydrate");
  root.innerHTML = window.serverHtml;
  window.recovered = [];
  hydrateRoot(root, <Page />, { onRecoverableError: (error) => window.recovered.push(String(error)) });
};
`;

let suite;
let page;
let browser;
let dir;
const errors = [];
/** Attached, not visible: a paragraph without text has no height. */
const eventually = (text, selector) => page.locator(selector, { hasText: text }).first().waitFor({ state: "attached" });

before(async () => {
  if (skip) return;
  dir = mkdtempSync(join(tmpdir(), "bitbend-react-"));
  mkdirSync(join(dir, "web"));
  writeFileSync(join(dir, "app.jsx"), APP);
  writeFileSync(join(dir, "web/index.html"), '<!doctype html><div id="root"></div><div id="hydrate"></div><script type="module" src="/app.js"></script>');
  await build({
    entryPoints: [join(dir, "app.jsx")],
    outfile: join(dir, "web/app.js"),
    bundle: true,
    format: "esm",
    jsx: "automatic",
    nodePaths: [join(ROOT, "tests/node_modules")],
    alias: { bitbend: join(ROOT, "libs/js/bitbend"), "bitbend/client": join(ROOT, "libs/js/bitbend/client/index.js"), "bitbend/react": join(ROOT, "libs/js/bitbend/react/index.js") },
    define: { "process.env.NODE_ENV": '"development"' },
    logLevel: "error",
  });
  suite = await startSuite({ functions: FUNCTIONS, staticDir: join(dir, "web") });
  browser = await chromium.launch({ executablePath: CHROMIUM, headless: true, args: FLAGS });
  page = await browser.newPage();
  page.setDefaultTimeout(60_000);
  page.on("pageerror", (error) => errors.push(error.message));
  page.on("console", (message) => message.type() === "error" && errors.push(message.text()));
  await page.goto(suite.url);
});
after(async () => {
  await browser?.close();
  await suite?.stop();
  if (dir) rmSync(dir, { recursive: true, force: true });
});

const check = (name, body) => test(name, { skip }, body);

check("useQuery is live, and all components see one moment", async () => {
  await eventually("", "#numbers");
  await page.waitForFunction(() => window.seen.length > 0);
  for (let n = 1; n <= 10; n++) await suite.call("items:add", { list: "a", n });
  await eventually("1 2 3 4 5 6 7 8 9 10", "#numbers");
  await eventually("connected", "#state");
  assert.deepEqual(await page.evaluate(() => window.torn), []);
});

check("what suspends beside it keeps what it shows", async () => {
  await eventually("waiting", "#waiting");
  await page.evaluate(() => window.finishLazy());
  await eventually("late", "#late");
  assert.equal(await page.locator("#numbers").count(), 2);
  await suite.call("items:add", { list: "a", n: 11 });
  await page.waitForFunction(() => [...document.querySelectorAll("#numbers")].every((one) => one.textContent.endsWith("10 11")));
});

check("other arguments, and skip", async () => {
  await page.evaluate(() => window.setList("b"));
  await page.waitForFunction(() => document.querySelector("#numbers").textContent === "");
  await page.evaluate(() => window.setList(null));
  await eventually("loading", "#numbers");
  await page.evaluate(() => window.setList("a"));
  await eventually("10 11", "#numbers");
});

check("an optimistic update shows at once, once, and is taken back when the mutation fails", async () => {
  await page.evaluate(() => ((window.seen.length = 0), window.optimistic({ list: "a", n: 100 })));
  await eventually("11 100", "#numbers");
  await page.waitForTimeout(100);
  const shown = await page.evaluate(() => window.seen.map((numbers) => numbers.filter((n) => n === 100).length));
  assert.ok(shown.every((count) => count <= 1), `never twice: ${shown}`);
  const refused = await page.evaluate(() => window.optimistic({ list: "a", n: -1 }).then(() => "sent", (error) => error.data.why));
  assert.equal(refused, "negative");
  await page.waitForFunction(() => document.querySelector("#numbers").textContent.endsWith("11 100"));
  assert.ok(await page.evaluate(() => window.action().then(() => false, () => true)), "an action that is not there is refused");
});

check("pages grow, are live, and have no gap when rows come between", async () => {
  for (let n = 10; n <= 70; n += 10) await suite.call("items:add", { list: "pages", n });
  await page.evaluate(() => window.setMore(true));
  await eventually("CanLoadMore: 10 20 30", "#pages");
  await page.evaluate(() => window.loadMore(2));
  await eventually("CanLoadMore: 10 20 30 40 50", "#pages");
  for (const n of [15, 25, 35, 45]) await suite.call("items:add", { list: "pages", n });
  // The first page's end is fixed: it grows, and the second, which is the last, keeps its length.
  await eventually("CanLoadMore: 10 15 20 25 30 35 40", "#pages");
  await page.evaluate(() => window.loadMore(10));
  await eventually("Exhausted: 10 15 20 25 30 35 40 45 50 60 70", "#pages");
});

check("useQueries, and a failure that an error boundary shows", async () => {
  await eventually("166 0 undefined", "#many");
  await eventually("fine", "#fails");
  await suite.call("items:add", { list: "trouble", n: 1 });
  await eventually("trouble", "#caught");
});

check("server rendering shows loading, opens nothing, and hydrates without a complaint", async () => {
  assert.match(await page.evaluate(() => window.serverHtml), /undefined/);
  await page.evaluate(() => window.hydrate());
  await eventually("0", "#inner");
  await suite.call("items:add", { list: "ssr", n: 7 });
  await eventually("7", "#inner");
  assert.deepEqual(await page.evaluate(() => window.recovered), []);
  const unexpected = errors.filter((text) => !/trouble|Boundary|status of 404|status of 501/.test(text));
  assert.deepEqual(unexpected, []);
});
