// The transaction feed over kills: every gateway shows every transaction, in order, once; what was
// acknowledged is among them; durable consumers go on where they were.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readFileSync, readdirSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";

import { eventually, get, mutation, post } from "../http/api.mjs";
import { app } from "../http/modes.mjs";
import { damageFeed, feedFiles, pull } from "../http/tx-feed.mjs";
import { Client } from "../../../libs/js/bitbend/index.js";
import { ROOT, startSuite } from "../js/suite.mjs";

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Clients that write until told to stop; what was acknowledged is noted by its tx. */
function writers(urls, group, count) {
  const state = { acknowledged: new Map(), isStopped: false };
  const clients = Array.from({ length: count }, async (_, client) => {
    for (let i = 0; !state.isStopped; i++) {
      const n = client * 1_000_000 + i;
      while (!state.isStopped) {
        try {
          const { status, body } = await post(urls[i % urls.length], "/api/mutation", { path: "items:add", args: { group, n } }, { "idempotency-key": `${group}-${n}` });
          if (status === 200) {
            state.acknowledged.set(n, body.tx);
            break;
          }
        } catch {
          // killed in between: again, under the same key
        }
        await pause(20);
      }
    }
  });
  state.stop = async () => {
    state.isStopped = true;
    await Promise.all(clients);
  };
  return state;
}

/** What a client sees of the feed, until `stop`. */
function watch(client, options) {
  const abort = new AbortController();
  const seen = [];
  const done = (async () => {
    for await (const { tx, prev, changes } of client.txs({ ...options, signal: abort.signal })) seen.push({ tx, prev, ns: changes.map(({ after }) => after?.n) });
  })();
  return { seen, done, stop: () => (abort.abort(), done) };
}

describe("the transaction feed over kills (processes)", () => {
  let suite;
  const clients = [];
  before(async () => {
    suite = await startSuite({ mode: "processes", appDir: app, gateways: 2 });
    suite.admin2 = { authorization: `BitBend ${suite.adminKey}` };
    for (const url of suite.urls) clients.push(new Client(url, { adminKey: suite.adminKey }));
  });
  after(async () => {
    for (const client of clients) client.close();
    await suite?.stop();
  });
  const page = (query, url = suite.url) => get(url, `/api/tx?${query}`, suite.admin2);

  test("p2_p3_every_peer: two peers see every transaction in order, once, while each process is killed", async () => {
    const { next } = (await page("from=now&limit=1")).body;
    const peers = [watch(clients[0], { from: next }), watch(clients[1], { from: next }), watch(clients[1], { from: next, tables: ["items"] })];
    const load = writers(suite.urls, "peers", 6);
    for (const role of ["gateway", "worker", "gateway2", "sequencer", "storage"]) {
      const before = load.acknowledged.size;
      await eventually(() => load.acknowledged.size > before + 20);
      await suite.kill(role);
      await pause(100);
      await suite.start(role);
    }
    const before = load.acknowledged.size;
    await eventually(() => load.acknowledged.size > before + 20);
    await load.stop();

    const truth = (await pull({ url: suite.url, admin: suite.admin2 }, `from=${next}`)).txs;
    assert.ok(truth.length >= load.acknowledged.size);
    await eventually(() => peers.slice(0, 2).every(({ seen }) => seen.length >= truth.length));
    await eventually(() => peers[2].seen.length >= truth.filter(({ changes }) => changes.length > 0).length);
    for (const peer of peers) await peer.stop();
    const txsOf = (records) => records.map(({ tx }) => tx);
    assert.deepEqual(txsOf(peers[0].seen), txsOf(truth), "the first peer saw what storage has");
    assert.deepEqual(peers[1].seen, peers[0].seen, "both peers saw the same");
    assert.deepEqual(peers[2].seen, peers[0].seen.filter(({ ns }) => ns.length > 0), "a filter leaves out, and nothing else");
    peers[0].seen.forEach(({ tx, prev }, i) => assert.equal(prev, i === 0 ? next : peers[0].seen[i - 1].tx, `gap before ${tx}`));
    const shown = new Map(peers[0].seen.flatMap(({ tx, ns }) => ns.map((n) => [n, tx])));
    for (const [n, tx] of load.acknowledged) assert.equal(shown.get(n), tx, `acknowledged ${n}`);
    const numbers = peers[0].seen.flatMap(({ ns }) => ns);
    assert.equal(new Set(numbers).size, numbers.length, "nothing twice");
  });

  test("p3_resume: from any transaction of the past, through any peer, after everything was restarted", async () => {
    const { txs } = await pull({ url: suite.url, admin: suite.admin2 }, "from=earliest&include=keys");
    await suite.restart();
    for (const share of [0, 0.3, 0.9]) {
      const at = Math.floor((txs.length - 1) * share);
      for (const client of clients) {
        const seen = [];
        for await (const { tx } of client.txs({ from: txs[at].tx, include: "keys" })) if (seen.push(tx) === txs.length - 1 - at) break;
        assert.deepEqual(seen, txs.slice(at + 1).map(({ tx }) => tx));
      }
    }
  });

  test("a durable consumer goes on behind what it acknowledged, through another peer, after a restart", async () => {
    const take = async (client, count, acks) => {
      const taken = [];
      for await (const record of client.consumer("mailer", { tables: ["items"] })) {
        taken.push(record.changes[0].after.n);
        if (taken.length <= acks) await record.ack();
        if (taken.length === count) break;
      }
      return taken;
    };
    // The first record makes sure that the consumer is there before the others are written.
    const first = take(clients[0], 4, 3);
    await eventually(async () => (await get(suite.url, "/api/tx/consumers", suite.admin2)).body.consumers.length === 1);
    for (let n = 1; n <= 6; n++) await mutation(suite.url, "items:add", { group: "consumer", n });
    assert.deepEqual(await first, [1, 2, 3, 4]);
    await suite.restart("storage");
    await suite.restart("gateway");
    assert.deepEqual(await take(clients[1], 3, 0), [4, 5, 6], "what was not acknowledged comes again");
    const { consumers, closed } = (await get(suite.url, "/api/tx/consumers", suite.admin2)).body;
    assert.equal(consumers.length, 1);
    assert.equal(consumers[0].name, "mailer");
    assert.ok(consumers[0].tx < closed);
  });
});

describe("a feed whose past is gone", () => {
  test("p3_truncated: a position that is too old is an error that names the earliest, on each way to read", async (t) => {
    const suite = await startSuite({ mode: "processes", appDir: app, options: { storage: { "retention-bytes": "1M" } } });
    t.after(() => suite.stop());
    const admin = { authorization: `BitBend ${suite.adminKey}` };
    const body = "x".repeat(900_000);
    const old = (await get(suite.url, "/api/tx?from=now&limit=1", admin)).body.next;
    const refused = await eventually(async () => {
      await Promise.all(Array.from({ length: 8 }, (_, n) => mutation(suite.url, "items:add", { group: "old", n, body })));
      const answer = await get(suite.url, `/api/tx?from=${old}&limit=1`, admin);
      return answer.status !== 200 && answer;
    }, 60000);
    assert.deepEqual([refused.status, refused.body.code], [410, "TxTruncated"]);
    const { earliest } = refused.body;
    assert.ok(earliest > old);
    assert.match(refused.body.message, new RegExp(String(earliest)));
    assert.equal((await get(suite.url, `/api/tx?from=${old}`, admin)).status, 410);
    const client = new Client(suite.url, { adminKey: suite.adminKey });
    t.after(() => client.close());
    await assert.rejects(client.txs({ from: old }).next(), { code: "TxTruncated" });
    const from = (await get(suite.url, "/api/tx?from=earliest&limit=1&include=keys", admin)).body.txs[0];
    assert.ok(from.prev >= earliest);
    const { value } = await client.txs({ from: from.prev, include: "keys" }).next();
    assert.equal(value.tx, from.tx);
  });

  test("p3_earliest: where the feed begins is told while a node is away that may have more", async (t) => {
    const suite = await startSuite({ mode: "cluster", appDir: app, sequencers: 1, workers: 1, gateways: 1, options: { storage: { "retention-bytes": "1M" } } });
    t.after(() => suite.stop());
    const admin = { authorization: `BitBend ${suite.adminKey}` };
    const body = "x".repeat(900_000);
    const old = (await get(suite.url, "/api/tx?from=now&limit=1", admin)).body.next;
    await eventually(async () => {
      await Promise.all(Array.from({ length: 8 }, (_, n) => mutation(suite.url, "items:add", { group: "old", n, body })));
      return (await get(suite.url, `/api/tx?from=${old}&limit=1`, admin)).status === 410;
    }, 60000);
    await suite.kill("storage3");
    const begins = await eventually(async () => {
      const answer = await get(suite.url, "/api/tx?from=earliest&limit=1&include=keys", admin);
      return answer.status === 200 && answer.body;
    });
    assert.ok(begins.txs[0].prev > old);
    assert.equal((await get(suite.url, `/api/tx?from=${old}&limit=1`, admin)).status, 503, "the one that is away may have it");
  });
});

describe("a feed with a damaged file", () => {
  const body = "x".repeat(900_000);
  const fill = (suite, folder) =>
    eventually(async () => {
      await Promise.all(Array.from({ length: 8 }, (_, n) => mutation(suite.url, "items:add", { group: "damage", n, body })));
      return feedFiles(folder) >= 2;
    }, 60000);

  test("the only node says what is damaged and where it goes on, and takes writes", async (t) => {
    const suite = await startSuite({ mode: "processes", appDir: app });
    t.after(() => suite.stop());
    const admin = { authorization: `BitBend ${suite.adminKey}` };
    const folder = suite.settings("storage").data;
    const { next } = (await get(suite.url, "/api/tx?from=now&limit=1", admin)).body;
    await fill(suite, folder);
    await suite.kill("storage");
    damageFeed(folder);
    await suite.start("storage");
    const refused = await eventually(async () => {
      const answer = await get(suite.url, `/api/tx?from=${next}&limit=1`, admin);
      return answer.status !== 503 && answer;
    });
    assert.deepEqual([refused.status, refused.body.code], [500, "Corrupt"]);
    const goesOn = /it goes on at (\d+)/.exec(refused.body.message)[1];
    const begins = await get(suite.url, "/api/tx?from=earliest&limit=1", admin);
    assert.deepEqual([begins.status, begins.body.code], [500, "Corrupt"], "nothing is left out without a word");
    assert.match(begins.body.message, new RegExp(`it goes on at ${goesOn}`));
    const { txs } = (await get(suite.url, `/api/tx?from=${goesOn}&limit=1&include=keys`, admin)).body;
    assert.equal(txs[0].prev, Number(goesOn));
    assert.match(readFileSync(join(suite.dir, "storage.log"), "utf8"), /storage\.feed_damaged .*is damaged at byte \d+/);
    await mutation(suite.url, "items:add", { group: "after", n: 1 });

    // What fits no more together is told by inspect as well, although each file is whole.
    const isCut = (names) => names.some((name) => /^snapshot-[0-9-]+$/.test(name)) && !names.some((name) => /^0*1-/.test(name));
    await eventually(async () => {
      await Promise.all(Array.from({ length: 8 }, (_, n) => mutation(suite.url, "items:add", { group: "cut", n, body })));
      return isCut(readdirSync(join(folder, "raft")));
    }, 60000);
    await suite.kill("storage", "SIGTERM");
    const inspect = () => spawnSync(join(ROOT, process.env.BB_TEST_BUILD ?? "build/release", "bin/bb-ctl"), ["inspect", folder], { encoding: "utf8", timeout: 120_000 });
    const raft = join(folder, "raft");
    for (const name of readdirSync(raft).filter((name) => /^snapshot-[0-9-]+$/.test(name))) renameSync(join(raft, name), join(raft, `away-${name}`));
    assert.match(inspect().stdout, /the log begins at entry \d+, its newest whole snapshot is of 0/);
    for (const name of readdirSync(raft).filter((name) => name.startsWith("away-"))) renameSync(join(raft, name), join(raft, name.slice(5)));
    for (const name of readdirSync(join(folder, "feed"))) rmSync(join(folder, "feed", name));
    const torn = inspect();
    assert.equal(torn.status, 1);
    assert.match(torn.stdout, /the log begins at entry \d+, data and feed together reach 0 only/);
  });

  test("p2_damaged: of several nodes another one has it", async (t) => {
    const suite = await startSuite({ mode: "cluster", appDir: app, sequencers: 1, workers: 1, gateways: 1 });
    t.after(() => suite.stop());
    const admin = { authorization: `BitBend ${suite.adminKey}` };
    const { next } = (await get(suite.url, "/api/tx?from=now&limit=1", admin)).body;
    const add = () => post(suite.url, "/api/mutation", { path: "items:add", args: { group: "damage", n: 100 } }, { "idempotency-key": "p2-damaged" });
    const first = await add();
    assert.equal(first.status, 200);
    await fill(suite, suite.settings("storage").data);
    const names = ["storage", "storage2", "storage3"];
    await eventually(() => names.every((name) => feedFiles(suite.settings(name).data) >= 2));
    const whole = (await pull({ url: suite.url, admin }, `from=${next}&include=keys`)).txs;
    const damage = async (name) => {
      await suite.kill(name);
      damageFeed(suite.settings(name).data);
      await suite.start(name);
    };
    for (const name of names.slice(0, 2)) await damage(name);
    const { txs } = await pull({ url: suite.url, admin }, `from=${next}&include=keys`);
    assert.deepEqual(txs.slice(0, whole.length).map(({ tx }) => tx), whole.map(({ tx }) => tx));

    // No node can read it any more: that is said, with where it goes on, and what has committed is not run again.
    await damage(names[2]);
    const refused = async (from) => {
      const answer = await eventually(async () => {
        const answer = await get(suite.url, `/api/tx?from=${from}&limit=1`, admin);
        return answer.status !== 503 && answer;
      });
      assert.deepEqual([answer.status, answer.body.code], [500, "Corrupt"]);
      return Number(/it goes on at (\d+)/.exec(answer.body.message)[1]);
    };
    const goesOn = await refused(next);
    assert.equal(await refused("earliest"), goesOn);
    const rest = (await pull({ url: suite.url, admin }, `from=${goesOn}&include=keys`)).txs;
    assert.equal(rest[0].prev, goesOn);
    assert.deepEqual(rest.filter(({ tx }) => whole.some((one) => one.tx === tx)).map(({ tx }) => tx), whole.map(({ tx }) => tx).filter((tx) => tx > goesOn));
    const again = await eventually(async () => {
      const answer = await add();
      return answer.status === 200 && answer;
    });
    assert.equal(again.body.tx, first.body.tx);
  });
});
