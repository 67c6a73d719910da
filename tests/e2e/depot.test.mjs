/** The example of what happens outside of transactions, in a browser: webhook, import, reminders, a call to the outside. */

import assert from "node:assert/strict";
import { cpSync, existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

import { chromium } from "playwright-core";

import { generate } from "../../libs/js/bitbend/cli/codegen.js";
import { actionsMissing, startStand } from "../integration/actions/stand.mjs";
import { freePorts, ROOT } from "../integration/js/suite.mjs";

const { build } = createRequire(join(ROOT, "libs/js/bitbend/package.json"))("esbuild");
const CHROMIUM = process.env.CHROMIUM ?? "/usr/bin/chromium";
const FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
const skip = actionsMissing() || (existsSync(CHROMIUM) ? false : `${CHROMIUM} is missing`);

/** A weather service on this machine. */
async function startWeather(t, key) {
  const [port] = await freePorts(1);
  const server = createServer((request, response) => {
    const town = new URL(request.url, "http://x").searchParams.get("town");
    response.statusCode = request.headers["x-key"] === key ? 200 : 403;
    response.end(JSON.stringify({ text: `rain in ${town}` }));
  });
  await new Promise((done) => server.listen(port, "127.0.0.1", done));
  t.after(() => server.close());
  return `http://127.0.0.1:${port}/now`;
}

test("depot: a webhook, an import with its progress, a reminder, a call to the outside, all live on the page", { skip, timeout: 170_000 }, async (t) => {
  const app = mkdtempSync(join(tmpdir(), "bitbend-depot-"));
  t.after(() => rmSync(app, { recursive: true, force: true }));
  const isSource = (file) => !/(^|\/)(node_modules|\.bitbend|_generated)(\/|$)/.test(file.slice(ROOT.length));
  cpSync(join(ROOT, "docs/examples/depot"), app, { recursive: true, filter: isSource });
  mkdirSync(join(app, "node_modules"));
  symlinkSync(join(ROOT, "libs/js/bitbend"), join(app, "node_modules/bitbend"));
  generate(join(app, "bitbend"));
  await build({ entryPoints: [join(app, "web/app.js")], outfile: join(app, "built/app.js"), bundle: true, format: "esm", logLevel: "error" });
  cpSync(join(app, "web/index.html"), join(app, "built/index.html"));
  const stand = await startStand({ mode: "processes", appDir: app, staticDir: join(app, "built") });
  t.after(() => stand.stop());
  const url = await startWeather(t, "weather-key");
  const variables = { CARRIER_SECRET: "hush", WEATHER_URL: url, WEATHER_KEY: "weather-key" };
  await stand.call("_system:changeEnvironment", { changes: Object.entries(variables).map(([name, value]) => ({ name, value })) });

  const browser = await chromium.launch({ executablePath: CHROMIUM, headless: true, args: FLAGS });
  t.after(() => browser.close());
  const page = await browser.newPage();
  page.setDefaultTimeout(60_000);
  page.on("pageerror", (error) => t.diagnostic(`page error: ${error.stack}`));
  await page.goto(stand.url);
  await page.locator('#connection[data-state="connected"]').waitFor();
  const shows = (selector, text) => page.waitForFunction(([one, wanted]) => [...document.querySelectorAll(one)].map((item) => item.textContent).join("|") === wanted, [selector, text], { polling: 50 });

  const tell = (body, secret) => fetch(`${stand.url}/http/parcels/A1`, { method: "POST", body: JSON.stringify(body), headers: { "X-Carrier-Secret": secret } });
  assert.equal((await tell({ place: "Ulm" }, "wrong")).status, 401);
  assert.equal((await tell({}, "hush")).status, 400);
  assert.equal((await tell({ place: "Ulm" }, "hush")).status, 200);
  await shows("#parcels li", "A1: Ulm");
  await tell({ place: "Bonn" }, "hush");
  await tell({ place: "Bonn" }, "hush");
  await shows("#parcels li", "A1: Bonn");
  assert.equal((await stand.call("parcels:all"))[0].events, 2, "what was sent twice happened once");

  const csv = Array.from({ length: 700 }, (_, n) => `name ${n},street ${n}`).join("\n");
  // Once more where the machine was so slow that the page saw the end alone.
  let imports = 0;
  for (let seen = 0; seen === 0 && imports < 5; seen = Number(await page.locator("#job").getAttribute("data-seen"))) {
    imports++;
    await page.fill("#csv", csv);
    await page.click("#import");
    await shows("#count", String(700 * imports));
    await shows("#job", "done");
  }
  assert.ok(Number(await page.locator("#job").getAttribute("data-seen")) > 0, "its progress was seen on the page");
  const file = await (await fetch(`${stand.url}/http/addresses.csv`)).text();
  assert.equal(file, `${csv}\n`.repeat(imports));

  // What it shows in between may be short: the cron comes each 5 s, whenever the reminder was due.
  await page.evaluate(() => {
    window.shown = [];
    const list = document.querySelector("#reminders");
    new MutationObserver(() => window.shown.push([...list.querySelectorAll("li")].map((item) => item.textContent).join("|"))).observe(list, { childList: true });
  });
  const shown = async () => (await page.evaluate(() => window.shown)).filter((text, at, all) => text !== all[at - 1]);
  const all = ["water the plants", "now: water the plants", ""];
  for (let left = 5; left > 0 && (await shown()).join() !== all.join(); left--) {
    await page.evaluate(() => (window.shown.length = 0));
    await page.fill("#text", "water the plants");
    await page.fill("#seconds", "1");
    await page.click("#reminder button");
    await page.waitForFunction(() => window.shown.at(-1) === "", undefined, { polling: 50 });
  }
  assert.deepEqual(await shown(), all);

  await page.fill("#town", "Ulm");
  await page.click("#weather button");
  await shows("#towns li", "Ulm: rain in Ulm");
  await stand.call("_system:changeEnvironment", { changes: [{ name: "WEATHER_KEY", value: "no" }] });
  await page.click("#weather button");
  await shows("#trouble", "the weather service says 403");
});
