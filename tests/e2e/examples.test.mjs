/** The smaller examples, each in two browsers against a suite of its own. */

import assert from "node:assert/strict";
import { cpSync, existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";

import { chromium } from "playwright-core";

import { generate } from "../../libs/js/bitbend/cli/codegen.js";
import { ROOT, startSuite, suiteMissing } from "../integration/js/suite.mjs";

const { build } = createRequire(join(ROOT, "libs/js/bitbend/package.json"))("esbuild");
const CHROMIUM = process.env.CHROMIUM ?? "/usr/bin/chromium";
const FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
const skip = suiteMissing() || (existsSync(CHROMIUM) ? false : `${CHROMIUM} is missing`);
let browser;

before(async () => {
  if (!skip) browser = await chromium.launch({ executablePath: CHROMIUM, headless: true, args: FLAGS });
});
after(() => browser?.close());

/** Starts the example and opens it for two users who share nothing. */
async function open(t, name, path = "") {
  const app = mkdtempSync(join(tmpdir(), `bitbend-${name}-`));
  t.after(() => rmSync(app, { recursive: true, force: true }));
  const isSource = (file) => !/(^|\/)(node_modules|\.bitbend|_generated)(\/|$)/.test(file.slice(ROOT.length));
  cpSync(join(ROOT, "docs/examples", name), app, { recursive: true, filter: isSource });
  mkdirSync(join(app, "node_modules"));
  symlinkSync(join(ROOT, "libs/js/bitbend"), join(app, "node_modules/bitbend"));
  generate(join(app, "bitbend"));
  await build({ entryPoints: [join(app, "web/app.js")], outfile: join(app, "built/app.js"), bundle: true, format: "esm", logLevel: "error" });
  cpSync(join(app, "web/index.html"), join(app, "built/index.html"));
  const suite = await startSuite({ appDir: app, staticDir: join(app, "built") });
  t.after(() => suite.stop());
  const pages = [];
  for (let i = 0; i < 2; i++) {
    const context = await browser.newContext();
    t.after(() => context.close());
    const page = await context.newPage();
    page.setDefaultTimeout(60_000);
    page.on("pageerror", (error) => t.diagnostic(`page error: ${error.stack}`));
    await page.goto(suite.url + path);
    await page.locator('#connection[data-state="connected"]').waitFor();
    pages.push(page);
  }
  return { suite, pages };
}
const shows = (page, selector, text, options) => page.waitForFunction(([one, wanted]) => [...document.querySelectorAll(one)].map((item) => (item.tagName === "INPUT" ? item.value : item.textContent)).join("|") === wanted, [selector, text], options);

test("b20_dashboard: all see the same numbers, and the window moves without a write", { skip, timeout: 170_000 }, async (t) => {
  const { pages } = await open(t, "dashboard", "/?seconds=6");
  const [ann, bob] = pages;
  const sell = async () => {
    for (const product of ["tea", "cake", "tea"]) await ann.click(`button[data-product=${product}]`);
    for (const page of pages) await shows(page, "#totals td", "tea|2|8|cake|1|5", { timeout: 6000, polling: 50 });
    await shows(bob, "#sum", "13", { timeout: 6000, polling: 50 });
  };
  const untilNothing = async () => {
    await shows(bob, "#totals td", "");
    await shows(bob, "#sum", "0");
  };
  // The window has moved on where the machine was slow: all again.
  for (let left = 4; left > 0; left--) {
    const hasShown = await sell().then(() => true, (error) => (left > 1 ? false : Promise.reject(error)));
    await untilNothing();
    if (hasShown) break;
  }
});

test("b20_document: two people write at once, each line ends as it was typed", { skip, timeout: 170_000 }, async (t) => {
  const { pages } = await open(t, "document");
  const [ann, bob] = pages;
  for (const page of pages) {
    await page.click("#add");
    await page.waitForFunction(() => document.activeElement?.tagName === "INPUT");
  }
  for (const page of pages) await page.waitForFunction(() => document.querySelectorAll("#lines input").length === 2);
  const type = (page, at, text) => page.locator("#lines input").nth(at).pressSequentially(text, { delay: 2 });
  await Promise.all([type(ann, 0, "the quick brown fox jumps"), type(bob, 1, "over the lazy dog")]);
  for (const page of pages) await shows(page, "#lines input", "the quick brown fox jumps|over the lazy dog");
  await ann.locator("#lines input").nth(0).press("Enter");
  await ann.waitForFunction(() => document.querySelectorAll("#lines input").length === 3);
  await type(ann, 1, "(high)");
  await shows(bob, "#lines input", "the quick brown fox jumps|(high)|over the lazy dog");
});

test("b20_todo: what is done offline shows at once and happens once, when the server is back", { skip, timeout: 170_000 }, async (t) => {
  const { pages, suite } = await open(t, "todo");
  const [ann, bob] = pages;
  const add = async (page, text) => {
    await page.fill("#text", text);
    await page.click("form button");
  };
  await add(ann, "milk");
  await shows(bob, "#todos li", " milk");
  await suite.kill("solo");
  for (const text of ["bread", "salt"]) await add(ann, text);
  await ann.locator("#todos li", { hasText: "bread" }).locator("input").click();
  await shows(ann, "#todos li", " milk| bread| salt");
  assert.equal(await ann.locator("#todos li[data-waits]").count(), 2);
  await ann.locator('#connection[data-state="reconnecting"]').waitFor();
  await suite.start();
  for (const page of pages) {
    await shows(page, "#todos li", " milk| bread| salt");
    await page.waitForFunction(() => document.querySelectorAll("#todos li[data-waits]").length === 0);
    assert.ok(await page.locator("#todos li", { hasText: "bread" }).locator("input").isChecked());
  }
  assert.equal((await suite.call("todos:all", {})).length, 3, "each once");
});
