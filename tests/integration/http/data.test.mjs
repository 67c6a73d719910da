import assert from "node:assert/strict";
import { test } from "node:test";

import { eventually, get, mutation, post, query, subscribe } from "./api.mjs";
import { inEachMode } from "./modes.mjs";

const encoded = async (url, route, path, args) =>
  (await post(url, route, { path, args, format: "convex_encoded_json" })).body;

inEachMode("data", (suite) => {
  test("t17_ping", async () => {
    const answer = await get(suite.url, "/api/ping");
    assert.equal(answer.status, 200);
    assert.match(answer.text, /pong/);
  });

  test("b1_v8: functions run in V8 and not in Node.js", async () => {
    assert.deepEqual(await query(suite.url, "nested/functions:probe"), {
      require: "undefined",
      versions: "undefined",
      stack: "function",
      environment: ["env"],
    });
  });

  test("values go both ways unchanged", async () => {
    const values = [
      null, true, 0, -1.5, 1e300, "", "\u0000\u{1F600}", [], {}, [[1], { a: [null] }],
      { $integer: "AQAAAAAAAAA=" }, { $integer: "AAAAAAAAAIA=" }, { $bytes: "AAEC/w==" },
      { $float: "AAAAAAAA+H8=" }, { $float: "AAAAAAAAAIA=" }, { $float: "AAAAAAAA8P8=" },
      { b: { $integer: "//////////8=" }, a: [{ $bytes: "" }] },
    ];
    for (const value of values) {
      for (const [route, path] of [["/api/query", "nested/functions:echo"], ["/api/mutation", "nested/functions:store"]]) {
        const answer = await encoded(suite.url, route, path, { value });
        assert.equal(answer.status, "success", JSON.stringify(answer));
        assert.deepEqual(answer.value, value);
      }
    }
  });

  test("a document can be inserted, read, patched, replaced and deleted", async () => {
    const id = await mutation(suite.url, "items:add", { group: "crud", n: 1 });
    const doc = await query(suite.url, "items:get", { id });
    assert.equal(doc._id, id);
    assert.equal(typeof doc._creationTime, "number");
    assert.deepEqual({ group: doc.group, n: doc.n }, { group: "crud", n: 1 });
    await mutation(suite.url, "items:patch", { id, fields: { n: 2, body: { deep: [1] } } });
    assert.deepEqual((await query(suite.url, "items:get", { id })).body, { deep: [1] });
    await mutation(suite.url, "items:replace", { id, doc: { group: "crud2", n: 3 } });
    assert.deepEqual(await query(suite.url, "items:numbers", { group: "crud" }), []);
    assert.deepEqual(await query(suite.url, "items:numbers", { group: "crud2" }), [3]);
    assert.equal((await query(suite.url, "items:get", { id })).body, undefined);
    await mutation(suite.url, "items:remove", { id });
    assert.equal(await query(suite.url, "items:get", { id }), null);
    assert.deepEqual(await query(suite.url, "items:numbers", { group: "crud2" }), []);
  });

  test("b7_no_constraints: duplicates, dangling references and documents unlike their schema are stored", async () => {
    const add = (n, body) => mutation(suite.url, "items:add", { group: "b7", n, body });
    const [first, second] = [await add(1), await add(1)];
    assert.notEqual(first, second);
    assert.deepEqual(await query(suite.url, "items:numbers", { group: "b7" }), [1, 1]);

    const reference = await add(2, { of: first });
    await mutation(suite.url, "items:remove", { id: first });
    assert.deepEqual((await query(suite.url, "items:get", { id: reference })).body, { of: first });
    assert.equal(await query(suite.url, "items:get", { id: first }), null);

    for (const doc of [{ group: "b7", n: "no number" }, { group: 7 }, {}, { group: ["b7"], n: null, more: { x: true } }]) {
      await mutation(suite.url, "items:replace", { id: second, doc });
      const { _id, _creationTime, ...stored } = await query(suite.url, "items:get", { id: second });
      assert.deepEqual(stored, doc);
    }
    await mutation(suite.url, "items:replace", { id: second, doc: { group: "b7", n: "text" } });
    assert.deepEqual(await query(suite.url, "items:numbers", { group: "b7" }), [2, "text"], "an index orders what it finds");
  });

  test("t13_entity: live documents come flat, each with its id; what is not there is null or nothing, not an error", async () => {
    const ids = [await mutation(suite.url, "items:add", { group: "t13", n: 1 }), await mutation(suite.url, "items:add", { group: "t13", n: 2 })];
    const rows = await query(suite.url, "items:list", { group: "t13" });
    assert.deepEqual(rows.map(({ _creationTime, ...fields }) => fields), ids.map((_id, i) => ({ _id, group: "t13", n: i + 1 })));
    assert.deepEqual(await query(suite.url, "items:list", { group: "t13, unknown" }), []);
    await mutation(suite.url, "items:remove", { id: ids[0] });
    assert.equal(await query(suite.url, "items:get", { id: ids[0] }), null);
    assert.deepEqual((await query(suite.url, "items:list", { group: "t13" })).map(({ _id }) => _id), [ids[1]]);
  });

  test("k7_k8_representable: whatever can be represented is stored as it is, whatever the schema says; the rest names its field", async () => {
    const id = await mutation(suite.url, "items:add", { group: "k8", n: 1 });
    const store = (body) => encoded(suite.url, "/api/mutation", "items:patch", { id, fields: { body } });
    const kept = async () => (await encoded(suite.url, "/api/query", "items:get", { id })).value.body;
    for (const body of ["x".repeat(1_000_000), "\u0000\ud83d\ude00", Number.MAX_VALUE, 2 ** 53 + 2, { $integer: "/////////38=" }, { $integer: "AAAAAAAAAIA=" }, [[[[]]]], { "a b-c": null }]) {
      const answer = await store(body);
      assert.equal(answer.status, "success", answer.errorMessage);
      assert.deepEqual(await kept(), body);
    }
    const refused = async (path, args, pattern) => {
      const answer = await encoded(suite.url, "/api/mutation", path, args);
      assert.deepEqual([answer.status, pattern.test(answer.errorMessage)], ["error", true], answer.errorMessage);
    };
    await refused("nested/functions:odd", { kind: "bigint" }, /odd\.deep.*64/);
    await refused("nested/functions:odd", { kind: "date" }, /odd\.deep.*Date/);
    await refused("nested/functions:odd", { kind: "map" }, /odd\.deep.*Map/);
    await refused("nested/functions:odd", { kind: "function" }, /odd\.deep.*function/);
    await refused("nested/functions:odd", { kind: "name" }, /\$odd/);
    await refused("items:patch", { id, fields: { body: "x".repeat(1_100_000) } }, /1,?048,?576|1 MiB/);
  });

  test("b10_reads: ranges, order, take, count, pages, filter, iteration", async () => {
    const group = "reads";
    await mutation(suite.url, "items:addMany", { group, from: 0, count: 250 });
    const all = Array.from({ length: 250 }, (_, n) => n);
    assert.deepEqual(await query(suite.url, "items:numbers", { group }), all);
    assert.deepEqual(await query(suite.url, "items:numbers", { group, order: "desc", take: 3 }), [249, 248, 247]);
    assert.deepEqual(await query(suite.url, "items:numbers", { group, above: 240 }), all.slice(241));
    assert.deepEqual(await query(suite.url, "items:numbers", { group, above: 240, order: "desc" }), all.slice(241).reverse());
    assert.equal(await query(suite.url, "items:count", { group }), 250);
    assert.deepEqual(await query(suite.url, "items:iterate", { group, until: 120 }), all.slice(0, 120));
    assert.deepEqual(await query(suite.url, "items:filtered", { group, least: 200 }), [200, 201, 202]);
    const seen = [];
    for (let cursor = null, pages = 0; ; pages++) {
      const page = await query(suite.url, "items:page", { group, cursor, numItems: 60 });
      seen.push(...page.page.map((row) => row.n));
      if (page.isDone) {
        assert.ok(pages >= 4);
        break;
      }
      cursor = page.continueCursor;
    }
    assert.deepEqual(seen, all);
    const many = await post(suite.url, "/api/query", { path: "items:firstAndUnique", args: { group } });
    assert.equal(many.body.code, "NotUnique", many.text);
    await mutation(suite.url, "items:add", { group: "one", n: 5 });
    assert.deepEqual(await query(suite.url, "items:firstAndUnique", { group: "one" }), { first: 5, unique: 5 });
  });

  test("t12_no_op: a mutation that changes nothing has tx null", async () => {
    const id = await mutation(suite.url, "items:add", { group: "noop", n: 1 });
    const same = await post(suite.url, "/api/mutation", { path: "items:patch", args: { id, fields: { n: 1 } } });
    assert.equal(same.body.status, "success", same.text);
    assert.equal(same.body.tx, null);
    assert.equal(typeof same.body.readTx, "number");
    const changed = await post(suite.url, "/api/mutation", { path: "items:patch", args: { id, fields: { n: 2 } } });
    assert.ok(changed.body.tx > same.body.readTx, changed.text);
  });

  test("nothing leaks from one call to the next, and calls are deterministic", async () => {
    const seen = [];
    for (let i = 0; i < 8; i++) seen.push(await query(suite.url, "nested/functions:memory"));
    for (const one of seen) {
      assert.equal(one.calls, 1);
      assert.equal(new Date(one.now).toISOString(), one.day);
    }
  });

  test("log lines come with the answer", async () => {
    const answer = await post(suite.url, "/api/query", { path: "nested/functions:logs", args: {} });
    assert.equal(answer.body.logLines.length, 2, answer.text);
    assert.match(answer.body.logLines[0], /^\[LOG\] hello \{ a: 1 \}$/);
    assert.match(answer.body.logLines[1], /^\[WARN\] careful$/);
  });

  test("functions are named by path, by URL, and without a name", async () => {
    assert.equal(await query(suite.url, "nested/functions"), "default");
    assert.equal(await query(suite.url, "nested/functions.js:echo", { value: 1 }), 1);
    const run = await post(suite.url, "/api/run/nested/functions/echo", { args: { value: [1] } });
    assert.deepEqual(run.body.value, [1], run.text);
    const any = await post(suite.url, "/api/function", { path: "items:add", args: { group: "any", n: 1 } });
    assert.equal(any.body.status, "success", any.text);
    const viaGet = await get(suite.url, `/api/query?path=nested/functions:echo&args=${encodeURIComponent('{"value":"x"}')}&format=json`);
    assert.equal(viaGet.body.value, "x", viaGet.text);
    const inArray = await post(suite.url, "/api/query", { path: "nested/functions:echo", args: [{ value: 3 }] });
    assert.equal(inArray.body.value, 3, inArray.text);
  });

  test("several queries can be read at one moment", async () => {
    await mutation(suite.url, "items:add", { group: "moment", n: 1 });
    const { ts } = (await post(suite.url, "/api/query_ts", "")).body;
    assert.equal(Buffer.from(ts, "base64").length, 8);
    await mutation(suite.url, "items:add", { group: "moment", n: 2 });
    const old = await post(suite.url, "/api/query_at_ts", { path: "items:numbers", args: { group: "moment" }, ts });
    assert.deepEqual(old.body.value, [1], old.text);
    const batch = await post(suite.url, "/api/query_batch", {
      queries: [
        { path: "items:numbers", args: { group: "moment" } },
        { path: "items:count", args: { group: "moment" } },
        { path: "trouble:throwsData", args: {} },
      ],
    });
    assert.deepEqual(batch.body.results.map((r) => r.status), ["success", "success", "error"], batch.text);
    assert.equal(batch.body.results[0].tx, batch.body.results[1].tx);
    assert.deepEqual(batch.body.results[0].value, [1, 2]);
  });

  test("an Idempotency-Key runs a mutation once", async () => {
    const send = (args, key) => post(suite.url, "/api/mutation", { path: "items:add", args }, { "idempotency-key": key });
    const first = await send({ group: "once", n: 1 }, "key-1");
    const again = await send({ group: "once", n: 1 }, "key-1");
    assert.equal(first.body.status, "success", first.text);
    assert.deepEqual([again.body.value, again.body.tx], [first.body.value, first.body.tx]);
    assert.equal(await query(suite.url, "items:count", { group: "once" }), 1);
    const reused = await send({ group: "once", n: 2 }, "key-1");
    assert.equal(reused.status, 409, reused.text);
    assert.equal(reused.body.code, "IdempotencyKeyReused");
    const together = await Promise.all(Array.from({ length: 8 }, () => send({ group: "once", n: 7 }, "key-2")));
    assert.equal(new Set(together.map((answer) => answer.body.value)).size, 1, JSON.stringify(together.map((a) => a.text)));
    assert.equal(await query(suite.url, "items:count", { group: "once" }), 2);
  });

  test("BitBend-After reads one's own writes and refuses the future", async () => {
    const written = await post(suite.url, "/api/mutation", { path: "items:add", args: { group: "after", n: 1 } });
    const read = await post(suite.url, "/api/query", { path: "items:count", args: { group: "after" } }, { "bitbend-after": String(written.body.tx) });
    assert.equal(read.body.value, 1);
    assert.ok(read.body.tx >= written.body.tx);
    const future = String((Date.now() + 3600_000) * 1000);
    const refused = await post(suite.url, "/api/query", { path: "items:count", args: { group: "after" } }, { "bitbend-after": future });
    assert.equal(refused.status, 400, refused.text);
    assert.equal(refused.body.code, "TxInFuture");
  });

  test("CORS lets any page call", async () => {
    const preflight = await fetch(`${suite.url}/api/query`, {
      method: "OPTIONS",
      headers: { origin: "http://example.test", "access-control-request-headers": "x-a, content-type", "access-control-request-method": "POST" },
    });
    assert.ok(preflight.status === 200 || preflight.status === 204);
    assert.equal(preflight.headers.get("access-control-allow-origin"), "http://example.test");
    assert.match(preflight.headers.get("access-control-allow-headers"), /x-a/);
    assert.equal(preflight.headers.get("access-control-allow-credentials"), "true");
    const answer = await post(suite.url, "/api/query", { path: "nested/functions:echo", args: { value: 1 } }, { origin: "http://example.test" });
    assert.equal(answer.headers.get("access-control-allow-origin"), "http://example.test");
  });

  test("b18_live: a subscription shows a value, then each change, and nothing for irrelevant writes", async () => {
    const group = "live";
    const stream = await subscribe(suite.url, "items:numbers", { group });
    assert.equal(stream.status, 200);
    assert.match(stream.headers.get("content-type"), /^text\/event-stream/);
    assert.equal(stream.headers.get("x-accel-buffering"), "no");
    const first = await stream.next((e) => e.event === "value");
    assert.deepEqual(first.data.value, []);
    assert.equal(first.id, first.data.tx);
    const { body } = await post(suite.url, "/api/mutation", { path: "items:add", args: { group, n: 1 } });
    const second = await stream.next((e) => e.event === "value" && e.data.value.length === 1);
    assert.ok(second.data.tx >= body.tx);
    await mutation(suite.url, "items:add", { group: "elsewhere", n: 1 });
    const id = await mutation(suite.url, "items:add", { group, n: 0 });
    await stream.next((e) => e.event === "value" && e.data.value.join() === "0,1");
    await mutation(suite.url, "items:patch", { id, fields: { n: 9 } });
    await stream.next((e) => e.event === "value" && e.data.value.join() === "1,9");
    await mutation(suite.url, "items:remove", { id });
    await stream.next((e) => e.event === "value" && e.data.value.join() === "1" && e.id > second.id);
    const values = stream.events.filter((e) => e.event === "value").map((e) => e.data.value.join());
    assert.deepEqual(values, ["", "1", "0,1", "1,9", "1"]);
    const ids = stream.events.map((e) => e.id);
    assert.deepEqual(ids, [...ids].sort((a, b) => a - b));
    stream.close();
  });

  test("a live query that throws says so and recovers; what cannot be watched is refused", async () => {
    const stream = await subscribe(suite.url, "items:firstAndUnique", { group: "recover" });
    await stream.next((e) => e.event === "value" && e.data.value.first === null);
    await mutation(suite.url, "items:add", { group: "recover", n: 1 });
    const id = await mutation(suite.url, "items:add", { group: "recover", n: 2 });
    const failed = await stream.next((e) => e.event === "failed");
    assert.equal(failed.data.code, "NotUnique");
    await mutation(suite.url, "items:remove", { id });
    await stream.next((e) => e.event === "value" && e.data.value.unique === 1 && e.id > failed.id);
    stream.close();
    for (const [path, code] of [["nothing:here", "FunctionNotFound"], ["items:add", "WrongKind"], ["trouble:anAction", "WrongKind"]]) {
      const refused = await subscribe(suite.url, path, {});
      assert.equal((await refused.next((e) => e.event === "failed")).data.code, code, `b5 ${path}`);
      refused.close();
    }
  });

  test("many watchers of one query all see each change", async () => {
    const streams = await Promise.all(Array.from({ length: 50 }, () => subscribe(suite.url, "items:count", { group: "fan" })));
    await Promise.all(streams.map((stream) => stream.next((e) => e.data.value === 0)));
    for (let n = 1; n <= 5; n++) {
      await mutation(suite.url, "items:add", { group: "fan", n });
      await Promise.all(streams.map((stream) => stream.next((e) => e.data.value === n)));
    }
    for (const stream of streams) stream.close();
  });

  test("b13_serializable: counters, write skew, phantoms and appends under contention", async () => {
    const { url } = suite;
    const counts = await Promise.all(Array.from({ length: 100 }, () => mutation(url, "accounts:increment", { name: "hot" })));
    assert.deepEqual([...counts].sort((a, b) => a - b), Array.from({ length: 100 }, (_, i) => i + 1));
    for (let round = 0; round < 10; round++) {
      const [one, other] = [`skew-a-${round}`, `skew-b-${round}`];
      await mutation(url, "accounts:open", { name: one, balance: 60 });
      await mutation(url, "accounts:open", { name: other, balance: 60 });
      const done = await Promise.all([
        mutation(url, "accounts:withdrawIfTogether", { one, other, amount: 100 }),
        mutation(url, "accounts:withdrawIfTogether", { one: other, other: one, amount: 100 }),
      ]);
      assert.equal(done.filter(Boolean).length, 1, "write skew");
      const claims = await Promise.all(Array.from({ length: 6 }, (_, by) => mutation(url, "accounts:claim", { name: `claim-${round}`, by })));
      assert.equal(claims.filter(Boolean).length, 1, "phantom");
    }
    const befores = await Promise.all(Array.from({ length: 60 }, (_, value) => mutation(url, "accounts:append", { key: "list", value })));
    const list = await query(url, "accounts:register", { key: "list" });
    assert.equal(list.length, 60);
    // Each append saw exactly the list before it: a prefix of the final one that ends where its own value is.
    befores.forEach((before, value) => assert.deepEqual(before, list.slice(0, list.indexOf(value))));
  });

  test("b13_bank: transfers keep the sum at every moment", async () => {
    const { url } = suite;
    const names = Array.from({ length: 8 }, (_, i) => `bank-${i}`);
    const sum = async () => {
      const balances = await query(url, "accounts:balances");
      return names.reduce((total, name) => total + balances[name], 0);
    };
    for (const name of names) await mutation(url, "accounts:open", { name, balance: 100 });
    let isOver = false;
    const watching = (async () => {
      while (!isOver) assert.equal(await sum(), 800);
    })();
    await Promise.all(
      Array.from({ length: 16 }, async (_, worker) => {
        for (let i = 0; i < 15; i++) {
          const from = (worker + i) % names.length;
          const to = (from + 1 + (i % (names.length - 1))) % names.length;
          if (from !== to) await mutation(url, "accounts:transfer", { from: names[from], to: names[to], amount: 1 });
        }
      }),
    );
    isOver = true;
    await watching;
    assert.equal(await eventually(sum), 800);
  });
}, { modes: ["solo", "processes", "cluster"] });
