// Reading the transaction feed in tests: a stream of events, or page after page.
import { readFileSync, readdirSync, writeFileSync } from "node:fs";
import { get } from "node:http";
import { join } from "node:path";

import { get as fetchJson } from "./api.mjs";

/** All records that `query` names, page by page, until the head; at least `least`. */
export async function pull(suite, query, least = 0) {
  const search = new URLSearchParams(query);
  const txs = [];
  for (;;) {
    if (!search.has("limit")) search.set("limit", "100");
    search.set("wait", txs.length < least ? "10" : "0");
    const { status, body, text } = await fetchJson(suite.url, `/api/tx?${search}`, suite.admin);
    if (status !== 200) throw new Error(`${status} ${text}`);
    txs.push(...body.txs);
    search.set("from", String(body.next));
    if (body.next === body.closed && txs.length >= least) return { txs, next: body.next, cluster: body.cluster };
  }
}

/** How many files the feed of a node's folder has. */
export const feedFiles = (folder) => readdirSync(join(folder, "feed")).filter((name) => name.endsWith(".feed")).length;

/** Flips a bit in the middle of the oldest one. */
export function damageFeed(folder) {
  const file = join(folder, "feed", readdirSync(join(folder, "feed")).sort()[0]);
  const bytes = readFileSync(file);
  bytes[bytes.length >> 1] ^= 1;
  writeFileSync(file, bytes);
}

/** Opens the stream with node:http, whose pause really stops reading. */
export function openFeed(suite, query, headers = {}, { isPaused = false } = {}) {
  return new Promise((done, fail) => {
    const request = get(`${suite.url}/api/tx?${query}`, { headers: { ...suite.admin, ...headers } }, (answer) => {
      const events = [];
      let waiting = [];
      let rest = "";
      let isEnded = false;
      const look = () => {
        waiting = waiting.filter(({ test, found, lost }) => {
          const event = test === null ? isEnded : events.find(test);
          if (event) found(event);
          else if (isEnded) lost(new Error("the stream ended"));
          return !event && !isEnded;
        });
      };
      answer.setEncoding("utf8");
      const listen = () => answer.on("data", (text) => {
        rest += text;
        const blocks = rest.split("\n\n");
        rest = blocks.pop();
        for (const block of blocks) if (!/^(:|retry)/.test(block)) events.push(parse(block));
        look();
      });
      answer.on("close", () => {
        isEnded = true;
        look();
      });
      answer.on("error", () => {});
      if (!isPaused) listen();
      done({
        status: answer.statusCode,
        headers: new Headers(answer.headers),
        events,
        resume: listen,
        close: () => request.destroy(),
        records: () => events.filter(({ event }) => event === "message").map(({ data }) => data),
        next: (test) => new Promise((found, lost) => {
          waiting.push({ test, found, lost });
          look();
        }),
        ended: () => new Promise((found, lost) => {
          waiting.push({ test: null, found, lost });
          look();
        }),
      });
    });
    request.on("error", fail);
  });
}

function parse(block) {
  const event = { event: "message", id: null, data: "" };
  for (const line of block.split("\n")) {
    if (line.startsWith("event: ")) event.event = line.slice(7);
    else if (line.startsWith("id: ")) event.id = Number(line.slice(4));
    else if (line.startsWith("data: ")) event.data += line.slice(6);
  }
  return { ...event, data: event.data === "" ? null : JSON.parse(event.data) };
}
