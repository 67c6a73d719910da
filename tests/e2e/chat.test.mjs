/** The example application docs/examples/chat in two real browsers, started as its README says. */

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";

import { chromium } from "playwright-core";

import { eventually, freePorts, ROOT, slotPids, suiteMissing } from "../integration/js/suite.mjs";

const CHROMIUM = process.env.CHROMIUM ?? "/usr/bin/chromium";
const FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
const skip = suiteMissing() || (existsSync(CHROMIUM) ? false : `${CHROMIUM} is missing`);

let app; // folder of the copied example
let dev; // the process `bitbend dev`
let url;
let output = "";
const browsers = [];
const pages = [];

before(async () => {
  if (skip) return;
  app = mkdtempSync(join(tmpdir(), "bitbend-chat-"));
  const isSource = (file) => !/(^|\/)(node_modules|\.bitbend|_generated)(\/|$)/.test(file.slice(ROOT.length));
  cpSync(join(ROOT, "docs/examples/chat"), app, { recursive: true, filter: isSource });
  mkdirSync(join(app, "node_modules"));
  symlinkSync(join(ROOT, "libs/js/bitbend"), join(app, "node_modules/bitbend"));
  const [port] = await freePorts(1);
  dev = spawn(process.execPath, ["node_modules/bitbend/bin/bitbend.cjs", "dev", "--port", String(port)], { cwd: app });
  dev.exited = new Promise((done) => dev.once("exit", done));
  for (const stream of [dev.stdout, dev.stderr]) stream.setEncoding("utf8").on("data", (text) => (output += text));
  url = await eventually(() => /BitBend is ready: (http:\S+)/.exec(output)?.[1], { what: "the ready line" });
  for (let i = 0; i < 2; i++) {
    const profile = mkdtempSync(join(tmpdir(), "bitbend-browser-"));
    const browser = await chromium.launchPersistentContext(profile, { executablePath: CHROMIUM, headless: true, args: FLAGS });
    browsers.push({ browser, profile });
    const page = browser.pages()[0] ?? (await browser.newPage());
    page.setDefaultTimeout(60_000);
    page.on("pageerror", (error) => (output += `page error: ${error.stack}\n`));
    await page.goto(url);
    pages.push(page);
  }
});

after(async () => {
  for (const { browser, profile } of browsers) {
    await browser.close();
    rmSync(profile, { recursive: true, force: true });
  }
  if (dev) {
    dev.kill("SIGINT");
    await dev.exited;
  }
  if (app) rmSync(app, { recursive: true, force: true });
});

/** A test that shows what `bitbend dev` printed when it fails. */
function check(name, body) {
  test(name, { skip, timeout: 170_000 }, async () => {
    try {
      await body();
    } catch (error) {
      error.message += `\n---- bitbend dev printed:\n${output.slice(-4000)}`;
      throw error;
    }
  });
}

async function send(page, text) {
  await page.fill("#author", "Ada");
  await page.fill("#body", text);
  await page.click("form button");
}
const message = (page, text) => page.locator("#messages li", { hasText: text });
const connected = (page) => page.locator('#connection[data-state="connected"]').waitFor();
const suitePid = () => JSON.parse(readFileSync(join(app, ".bitbend/dev.json"), "utf8")).pid;

check("two channels are there and the page is connected", async () => {
  for (const page of pages) {
    await connected(page);
    await page.locator('#channels button[aria-current="true"]', { hasText: "general" }).waitFor();
    assert.deepEqual(await page.locator("#channels button").allTextContents(), ["# general", "# random"]);
  }
});

check("a message that one browser sends appears in both, and only in its channel", async () => {
  await send(pages[0], "Hello from the first");
  for (const page of pages) await message(page, "Hello from the first").waitFor();
  await send(pages[1], "And <b>back</b> 👋");
  for (const page of pages) await message(page, "And <b>back</b> 👋").waitFor();
  await pages[1].click('button[data-channel="random"]');
  await pages[1].locator("#messages li.empty").waitFor();
  await pages[1].click('button[data-channel="general"]');
  await message(pages[1], "Hello from the first").waitFor();
});

check("a reload shows what was there", async () => {
  await pages[0].reload();
  await message(pages[0], "Hello from the first").waitFor();
  await connected(pages[0]);
});

check("kill -9 of the suite keeps every message, and the pages go on by themselves", async () => {
  const pid = suitePid();
  process.kill(pid, "SIGKILL");
  await send(pages[0], "Written while it was down");
  await eventually(() => existsSync(join(app, ".bitbend/dev.json")) && suitePid() !== pid, { what: "the restarted suite" });
  for (const page of pages) {
    await message(page, "Written while it was down").waitFor();
    await message(page, "Hello from the first").waitFor();
    await connected(page);
  }
  assert.equal(await message(pages[1], "Written while it was down").count(), 1, "sent again, stored once");
});

check("a killed slot is replaced without anybody noticing", async () => {
  for (const slot of slotPids(suitePid())) process.kill(slot, "SIGKILL");
  await send(pages[1], "After the slots");
  for (const page of pages) await message(page, "After the slots").waitFor();
});

check("a syntax error names file and line, and the functions before go on answering", async () => {
  const file = join(app, "bitbend/messages.ts");
  const source = readFileSync(file, "utf8");
  const printed = output.length;
  writeFileSync(file, source.replace("export const send", "export const"));
  const line = source.slice(0, source.indexOf("export const send")).split("\n").length;
  await eventually(() => output.slice(printed).includes(`bitbend/messages.ts:${line}:`), { what: "the error message" });
  await send(pages[0], "Still answering");
  await message(pages[1], "Still answering").waitFor();
  writeFileSync(file, source.replace("const text = body.trim();", 'const text = body.trim() + "!";'));
  await eventually(() => output.slice(printed).includes("Deployed in"), { what: "the next deploy" });
  await send(pages[0], "New version");
  await message(pages[1], "New version!").waitFor();
});

check("a new field of a query's result reaches the open page after a save", async () => {
  const file = join(app, "bitbend/messages.ts");
  const source = readFileSync(file, "utf8");
  const changed = source.replace(".take(50),", '.take(50).then((rows) => rows.map((row) => ({ ...row, author: row.author + " (v2)" }))),');
  assert.notEqual(changed, source);
  writeFileSync(file, changed);
  await pages[1].locator("#messages b", { hasText: "Ada (v2)" }).first().waitFor();
});

check("Ctrl-C ends dev, the suite and its slots", async () => {
  const pid = suitePid();
  dev.kill("SIGINT");
  assert.equal(await dev.exited, 0);
  assert.throws(() => process.kill(pid, 0), { code: "ESRCH" });
  for (const page of pages) await page.locator('#connection[data-state="reconnecting"]').waitFor();
});
