/** One stream for all tabs of a browser: more tabs than HTTP/1.1 has connections, leaders that close, crash and hang. */

import assert from "node:assert/strict";
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";

import { chromium } from "playwright-core";

import { eventually, get } from "../integration/http/api.mjs";
import { ROOT, startSuite, suiteMissing } from "../integration/js/suite.mjs";

const { build } = createRequire(join(ROOT, "libs/js/bitbend/package.json"))("esbuild");
const CHROMIUM = process.env.CHROMIUM ?? "/usr/bin/chromium";
const FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
const skip = suiteMissing() || (existsSync(CHROMIUM) ? false : `${CHROMIUM} is missing`);
const TABS = 8;

const SCHEMA = 'import { defineSchema, defineTable } from "bitbend/server"; export default defineSchema({ items: defineTable({}) });';
const FUNCTIONS = `import { mutation, query } from "bitbend/server";
export const count = query(async (ctx) => (await ctx.db.query("items").collect()).length);
export const mine = query(async (ctx, { tab }) => (await ctx.db.query("items").collect()).filter((item) => item.tab === tab).length);
export const add = mutation(async (ctx, { tab }) => void (await ctx.db.insert("items", { tab })));`;
const PAGE = `import { Client } from "bitbend/client";
const client = new Client(location.origin);
const tab = Number(new URLSearchParams(location.search).get("tab"));
client.onUpdate("m:count", {}, (count) => (document.querySelector("#count").textContent = count));
client.onUpdate("m:mine", { tab }, (mine) => (document.querySelector("#mine").textContent = mine));
window.add = () => client.mutation("m:add", { tab });`;

let browser;
before(async () => {
  if (!skip) browser = await chromium.launch({ executablePath: CHROMIUM, headless: true, args: FLAGS });
});
after(() => browser?.close());

/** A page of the suite, in as many tabs of one browser as are opened. */
async function openSite(t) {
  const dir = mkdtempSync(join(tmpdir(), "bitbend-tabs-"));
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  mkdirSync(join(dir, "built"));
  writeFileSync(join(dir, "app.js"), PAGE);
  writeFileSync(join(dir, "built/index.html"), '<!doctype html><p id="count"></p><p id="mine"></p><script type="module" src="app.js"></script>');
  await build({ entryPoints: [join(dir, "app.js")], outfile: join(dir, "built/app.js"), bundle: true, format: "esm", nodePaths: [join(ROOT, "libs/js")], logLevel: "error" });
  const suite = await startSuite({ functions: { "m.ts": FUNCTIONS, "schema.ts": SCHEMA }, staticDir: join(dir, "built") });
  t.after(() => suite.stop());
  const context = await browser.newContext();
  t.after(() => context.close());
  return {
    async openTab(tab) {
      const page = await context.newPage();
      page.setDefaultTimeout(60_000);
      page.on("pageerror", (error) => t.diagnostic(`page error: ${error.stack}`));
      await page.goto(`${suite.url}/?tab=${tab}`);
      return page;
    },
    shows: (page, count, mine) => page.waitForFunction(([a, b]) => document.querySelector("#count").textContent === a && document.querySelector("#mine").textContent === b, [String(count), String(mine)], { polling: 50 }),
    streams: async () => (await get(suite.url, "/api/admin/status", { authorization: `BitBend ${suite.adminKey}` })).body.gateway.subscribers,
  };
}

test("b20_tabs: eight tabs share one stream, and go on when the leading one closes or crashes", { skip, timeout: 170_000 }, async (t) => {
  const { openTab, shows, streams } = await openSite(t);
  let tabs = [];
  for (let tab = 0; tab < TABS; tab++) tabs.push(await openTab(tab));
  for (const page of tabs) await shows(page, 0, 0);
  await eventually(async () => (await streams()) === 1);
  // Calls of the last tab find a connection: six streams would have taken all.
  await tabs[TABS - 1].evaluate(() => window.add());
  for (const [tab, page] of tabs.entries()) await shows(page, 1, tab === TABS - 1 ? 1 : 0);

  await tabs.shift().close();
  await tabs[0].evaluate(() => window.add());
  for (const page of tabs) await page.waitForFunction(() => document.querySelector("#count").textContent === "2", undefined, { polling: 50 });
  await eventually(async () => (await streams()) === 1);

  const [crashed] = tabs;
  tabs = tabs.slice(1);
  crashed.goto("chrome://crash").catch(() => {});
  await tabs[3].evaluate(() => window.add());
  for (const page of tabs) await page.waitForFunction(() => document.querySelector("#count").textContent === "3", undefined, { polling: 50 });
  await eventually(async () => (await streams()) === 1);

  for (const page of tabs) await page.close();
  await eventually(async () => (await streams()) === 0);
});

test("b20_hung_tab: tabs go on while the leading one hangs, and it is one of them when it is back", { skip, timeout: 170_000 }, async (t) => {
  let release;
  const gate = createServer((request, response) => {
    response.setHeader("Access-Control-Allow-Origin", "*");
    release = () => response.end("go on");
  });
  await new Promise((listening) => gate.listen(0, "127.0.0.1", listening));
  t.after(() => (gate.close(), gate.closeAllConnections()));
  const { openTab, shows, streams } = await openSite(t);
  const tabs = [await openTab(0), await openTab(1), await openTab(2)];
  for (const page of tabs) await shows(page, 0, 0);
  await eventually(async () => (await streams()) === 1);

  let isBack = false;
  const hang = tabs[0].evaluate((url) => {
    const request = new XMLHttpRequest();
    request.open("GET", url, false); // the whole page waits
    request.send();
  }, `http://127.0.0.1:${gate.address().port}/`).then(() => (isBack = true));
  await eventually(async () => release !== undefined);
  await tabs[1].evaluate(() => window.add());
  await shows(tabs[1], 1, 1);
  await shows(tabs[2], 1, 0);
  assert.equal(isBack, false, "it still hangs");
  release();
  await hang;
  await shows(tabs[0], 1, 0);
  await eventually(async () => (await streams()) === 1);
  await tabs[0].evaluate(() => window.add());
  await shows(tabs[0], 2, 1);
  await shows(tabs[2], 2, 0);
});
