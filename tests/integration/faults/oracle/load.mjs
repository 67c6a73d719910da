/**
 * Random clients, subscriptions and faults against a suite; what they saw is the history that
 * verify.mjs judges. All randomness of choices comes from one seed (the interleaving does not).
 */
import { isDeepStrictEqual } from "node:util";

import { post } from "../../http/api.mjs";
import { watchSession } from "./session.mjs";

const GROUPS = ["a", "b", "c"];
const ACCOUNTS = ["ann", "bob", "cyd"];
const WRITERS = 6;
const READERS = 2;
const ANSWER_TIMEOUT_MS = 40_000;
const SETTLE_TIMEOUT_MS = 15_000;
const SESSIONS = 3;
const ROUND_MUTATIONS = 40; // at least, however slow the machine is
const PROBES = 12; // single mutations per round that every subscription must show

export const now = () => performance.now();
export const pause = (ms) => new Promise((done) => setTimeout(done, ms));

/** Mulberry32: numbers in [0, 1) from a seed. */
export function createRandom(seed) {
  let state = seed >>> 0;
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
  return { chance: (p) => next() < p, below: (n) => Math.floor(next() * n), pick: (list) => list[Math.floor(next() * list.length)] };
}

/** Runs the load for `seconds` with faults; gives the history. Throws when something never answers or settles. */
export async function record(suite, { seed, seconds }) {
  const random = createRandom(seed);
  const history = { mutations: [], looks: [], failures: [], seen: [], repeats: [], final: [], faults: [] };
  const state = { suite, random, history, ids: [], value: 0, round: 0, run: `${seed}-${Date.now()}`, broken: null };
  const watched = [
    ...GROUPS.flatMap((group) => [
      ["list", { group }],
      ["count", { group }],
      ["sum", { group }],
      ["first", { group, order: "asc" }],
      ["above", { group, n: 20, take: 3 }],
    ]),
    ["first", { group: "a", order: "desc" }],
    ["list", { group: "a" }], // shared with another one
    ["total", {}],
    ...ACCOUNTS.map((name) => ["balance", { name }]),
    ...registersOf(0).map((key) => ["register", { key }]),
  ].map(([question, args]) => watch(state, question, args));
  const sessions = Array.from({ length: SESSIONS }, (_, n) => watchSession(state, n, Array.from({ length: 6 }, () => sessionQuestion(state))));
  state.sessions = sessions;

  try {
    const rounds = Math.max(2, Math.round(seconds / 4));
    for (let round = 0; round < rounds; round++) {
      state.round = round;
      await loadRound(state, (seconds * 1000) / rounds);
      await settle(state, watched, "after a round");
      for (let probe = 0; probe < PROBES; probe++) {
        await mutate(state, `probe-${round}-${probe}`);
        await settle(state, watched, "after one mutation");
      }
    }
    await repeatSome(state);
    const keys = Array.from({ length: rounds }, (_, round) => registersOf(round)).flat();
    await finish(state, watched, keys);
    return history;
  } catch (error) {
    error.message += `\nfaults so far: ${history.faults.join(", ")}`;
    throw error;
  } finally {
    for (const one of [...watched, ...sessions]) one.close();
  }
}

/** Registers are new in each second round, which bounds their lists; the first ones are watched. */
function registersOf(round) {
  return ["x", "y", "z"].map((name) => `${name}${round >> 1}`);
}

async function loadRound(state, ms) {
  const end = now() + ms;
  const enough = state.history.mutations.length + ROUND_MUTATIONS;
  const isOver = () => now() >= end && (state.history.mutations.length >= enough || now() >= end + ANSWER_TIMEOUT_MS);
  const clients = [];
  for (let i = 0; i < WRITERS; i++) clients.push(untilThen(isOver, (n) => mutate(state, `${state.round}-${i}-${n}`)));
  for (let i = 0; i < READERS; i++) clients.push(untilThen(isOver, () => look(state)));
  for (const session of state.sessions) clients.push(untilThen(isOver, () => disturb(state, session)));
  clients.push(makeFaults(state, end));
  const results = await Promise.allSettled(clients);
  const failed = results.find(({ status }) => status === "rejected");
  if (failed) throw failed.reason;
}

async function untilThen(isOver, act) {
  for (let n = 0; !isOver(); n++) await act(n);
}

/* ---- mutations ---- */

function choose({ random, ids, round }, value) {
  const group = () => random.pick(GROUPS);
  const keys = () => registersOf(round).filter(() => random.chance(0.6));
  const order = () => random.pick(["asc", "desc"]);
  const id = () => ids.at(-1 - random.below(Math.min(ids.length, 30)));
  const n = () => random.below(50);
  const kinds = [
    [20, () => ["insert", { group: group(), n: n() }]],
    [6, () => ["copySum", { from: group(), to: group() }]],
    [12, () => ["bump", { group: group(), by: 1 + random.below(30) }]],
    [8, () => (ids.length === 0 ? null : ["edit", { id: id(), body: value }])],
    [4, () => (ids.length === 0 ? null : ["replace", { id: id(), group: group(), n: n() }])],
    [12, () => ["move", { from: group(), to: group() }]],
    [14, () => ["remove", { group: group(), order: order() }]],
    [2, () => ["trim", { group: group(), n: 10 + random.below(40) }]],
    [14, () => ["append", { keys: keys(), value }]],
    [10, () => ["transfer", { from: random.pick(ACCOUNTS), to: random.pick(ACCOUNTS), amount: 1 + random.below(9) }]],
    [4, () => ["look", { group: group(), keys: keys() }]],
    [4, () => ["fail", { group: group(), keys: keys() }]],
  ];
  let at = random.below(kinds.reduce((sum, [weight]) => sum + weight, 0));
  const [, make] = kinds.find(([weight]) => (at -= weight) < 0);
  return make() ?? ["insert", { group: group(), n: n() }];
}

async function mutate(state, key) {
  const [name, args] = choose(state, ++state.value);
  const send = () => until(state, "/api/mutation", { path: `checker:${name}`, args }, { "idempotency-key": `${state.run}-${key}` });
  // Now and then the same twice at once, as an impatient proxy does.
  const answers = await Promise.all(state.random.chance(0.08) ? [send(), send()] : [send()]);
  let first = null;
  for (const { body, start, end } of answers) {
    if (body.status === "error") {
      if (name !== "fail" || body.code !== "UserError") throw new Error(`${name} ${JSON.stringify(args)} failed: ${JSON.stringify(body)}`);
      state.history.failures.push({ reads: body.errorData.reads, start, end });
    } else if (body.tx === null) {
      state.history.looks.push({ reads: body.value.reads, tx: body.readTx, start, end });
    } else if (first === null) {
      first = { name, args, tx: body.tx, value: body.value, start, end, key: `${state.run}-${key}` };
      state.history.mutations.push(first);
      for (const doc of body.value.inserted) state.ids.push(doc._id);
    } else {
      state.history.repeats.push({ tx: body.tx, value: body.value, first });
      first.start = Math.min(first.start, start);
      first.end = Math.min(first.end, end);
    }
  }
}

/** Sends until there is an answer, whatever dies meanwhile. */
async function until({ suite }, route, body, headers) {
  const start = now();
  let trouble = "";
  for (;;) {
    try {
      const answer = await post(suite.url, route, body, headers);
      if (answer.status === 200 && !ranOutOfTime(route, answer.body)) return { body: answer.body, start, end: now() };
      if (answer.status !== 200 && answer.status !== 503) throw Object.assign(new Error(`${JSON.stringify(body)}: ${answer.status} ${answer.text}`), { isFinal: true });
      trouble = answer.text;
    } catch (error) {
      if (error.isFinal) throw error;
      trouble = error.cause?.code ?? error.message;
    }
    if (now() - start > ANSWER_TIMEOUT_MS) throw new Error(`no answer to ${JSON.stringify(body)} within ${ANSWER_TIMEOUT_MS} ms: ${trouble}`);
    await pause(25);
  }
}

/** A query that waited for its slot until little of its time was left: the machine is busy. */
function ranOutOfTime(route, body) {
  return route !== "/api/mutation" && [body, ...(body.results ?? [])].some(({ code }) => code === "FunctionTimeout");
}

/** Old keys again: the first outcome, nothing new. */
async function repeatSome(state) {
  const { random, history } = state;
  for (let i = 0; i < 30; i++) {
    const first = random.pick(history.mutations);
    const { body } = await until(state, "/api/mutation", { path: `checker:${first.name}`, args: first.args }, { "idempotency-key": first.key });
    history.repeats.push({ tx: body.tx, value: body.value, first });
  }
}

/* ---- queries ---- */

function anyQuestion({ random, ids, round }) {
  const group = random.pick(GROUPS);
  return random.pick([
    ["list", { group }],
    ["count", { group }],
    ["sum", { group }],
    ["first", { group, order: random.pick(["asc", "desc"]) }],
    ["above", { group, n: random.below(50), take: 1 + random.below(4) }],
    ["register", { key: random.pick(registersOf(round)) }],
    ["balance", { name: random.pick(ACCOUNTS) }],
    ["total", {}],
    ids.length === 0 ? ["total", {}] : ["get", { id: ids.at(-1 - random.below(Math.min(ids.length, 30))) }],
  ]);
}

const call = ([question, args]) => ({ path: `checker:${question}`, args });

/** One question at the newest moment, several at one moment, or one at a moment of the last second. */
async function look(state) {
  const { random, history } = state;
  const kind = random.below(10);
  if (kind < 6) {
    const question = anyQuestion(state);
    note(history, question, "a query", await until(state, "/api/query", call(question)));
  } else if (kind < 8) {
    const questions = Array.from({ length: 4 }, () => anyQuestion(state));
    const { body, start, end } = await until(state, "/api/query_batch", { queries: questions.map(call) });
    if (new Set(body.results.map(({ tx }) => tx)).size !== 1) throw new Error(`a batch is at several moments: ${JSON.stringify(body)}`);
    questions.forEach((question, i) => note(history, question, "a batch", { body: body.results[i], start, end }));
  } else if (history.mutations.length > 0) {
    const question = anyQuestion(state);
    const { tx } = history.mutations.at(-1 - random.below(Math.min(history.mutations.length, 40)));
    const ts = Buffer.alloc(8);
    ts.writeBigUInt64LE(BigInt(tx));
    const answer = await asOf(state, { ...call(question), ts: ts.toString("base64") });
    if (answer === null) return;
    if (answer.body.tx !== tx) throw new Error(`query_at_ts for ${tx} says ${JSON.stringify(answer.body)}`);
    note(history, question, "a query of the past", answer, false);
  }
  await pause(random.below(4));
}

/** As `until`, but once: a past moment may be gone. */
async function asOf({ suite }, body) {
  const start = now();
  const answer = await post(suite.url, "/api/query_at_ts", body).catch(() => null);
  return answer?.status === 200 ? { body: answer.body, start, end: now() } : null;
}

function note(history, [question, args], from, { body, start, end }, isNewest = true) {
  if (body.status !== "success") throw new Error(`${question} ${JSON.stringify(args)} failed: ${JSON.stringify(body)}`);
  history.seen.push({ question, args, value: body.value, tx: body.tx, from, start, end, isNewest });
}

/* ---- subscriptions ---- */

/** A subscription that comes back after each loss; `value` is what it shows now. */
function watch(state, question, args) {
  const abort = new AbortController();
  const one = { question, args, value: undefined, tx: 0, connects: 0, pushes: 0, close: () => abort.abort() };
  const from = `subscription ${question}`;
  const take = (event, id, data) => {
    if (event === "resync") one.tx = 0;
    if (event === "failed") state.broken ??= `${from} ${JSON.stringify(args)} failed: ${JSON.stringify(data)}`;
    if (event !== "value") return;
    if (data.tx !== Number(id)) state.broken ??= `${from}: id ${id}, but tx ${data.tx}`;
    if (data.tx < one.tx) state.broken ??= `${from} ${JSON.stringify(args)} went back from ${one.tx} to ${data.tx}`;
    one.tx = data.tx;
    one.value = data.value;
    one.pushes++;
    state.history.seen.push({ question, args, value: data.value, tx: data.tx, from, end: now(), isNewest: false });
  };
  (async () => {
    const url = `${state.suite.url}/api/subscribe?path=checker:${question}&args=${encodeURIComponent(JSON.stringify(args))}`;
    while (!abort.signal.aborted) {
      try {
        one.connects++;
        const answer = await fetch(url, { headers: one.tx > 0 ? { "last-event-id": String(one.tx) } : {}, signal: abort.signal });
        if (answer.status !== 200 && answer.status !== 503) state.broken ??= `${from}: ${answer.status} ${await answer.text()}`;
        if (answer.status === 200) for await (const event of eventsOf(answer.body)) take(event.event, event.id, JSON.parse(event.data));
        else await answer.body.cancel();
      } catch {
        // the connection is lost
      }
      await pause(20);
    }
  })();
  return one;
}

export async function* eventsOf(body) {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const chunk of body) {
    rest += decoder.decode(chunk, { stream: true });
    for (let end; (end = rest.indexOf("\n\n")) >= 0; rest = rest.slice(end + 2)) {
      const event = { event: "message", data: "" };
      for (const line of rest.slice(0, end).split("\n")) {
        const [, field, value] = /^(\w+): (.*)$/.exec(line) ?? [];
        if (field !== undefined) event[field] = value;
      }
      if (event.data !== "") yield event;
    }
  }
}

/** Now and then a session changes its set, or loses its connection. */
async function disturb(state, session) {
  await pause(50 + state.random.below(400));
  if (state.random.chance(0.2)) session.cut();
  else await session.change(sessionQuestion(state));
}

/** What a session watches: anything but single documents, which come and go. */
function sessionQuestion(state) {
  for (;;) {
    const question = anyQuestion(state);
    if (question[0] !== "get") return question;
  }
}

/** Nobody writes now: every subscription comes to show what a query answers. */
async function settle(state, singles, when) {
  const watched = [...singles, ...state.sessions.flatMap(({ queries }) => [...queries.values()])];
  const { body } = await until(state, "/api/query_batch", { queries: watched.map(({ question, args }) => call([question, args])) });
  const end = now() + SETTLE_TIMEOUT_MS;
  for (let i = 0; i < watched.length; i++) {
    const one = watched[i];
    const right = body.results[i].value;
    while (!isDeepStrictEqual(one.value, right) && state.broken === null) {
      if (now() > end) throw new Error(`${when} the subscription ${one.question} ${JSON.stringify(one.args)} shows ${JSON.stringify(one.value)} of ${one.tx}, a query at ${body.results[i].tx} says ${JSON.stringify(right)}`);
      await pause(1);
    }
  }
  if (state.broken !== null) throw new Error(state.broken);
}

/** The last values of everything, as queries and subscriptions show them. */
async function finish(state, watched, keys) {
  await settle(state, watched, "at the end");
  const { final } = state.history;
  for (const { question, args, value } of watched) final.push({ question, args, value, from: "a subscription" });
  const questions = [...GROUPS.map((group) => ["list", { group }]), ...ACCOUNTS.map((name) => ["balance", { name }]), ...keys.map((key) => ["register", { key }])];
  for (const question of questions) {
    const { body } = await until(state, "/api/query", call(question));
    final.push({ question: question[0], args: question[1], value: body.value, from: "a query" });
  }
}

/* ---- faults ---- */

/** One or two faults a round; the last one is mended before it returns. */
async function makeFaults({ suite, random, history }, end) {
  const ms = end - now();
  const count = 1 + random.below(2);
  for (let i = 0; i < count; i++) {
    await pause((ms / (count + 1)) * (0.5 + random.below(100) / 100));
    const fault = random.pick(suite.mode === "solo" ? ["solo", "solo", "slots", "pause solo"] : ["worker", ...suite.names.filter((name) => name.startsWith("gateway")), "sequencer", "storage", "all", "slots", "pause sequencer", "pause storage", "pause worker"]);
    history.faults.push(fault);
    if (fault === "slots") {
      for (const pid of suite.slotPids()) if (random.chance(0.6)) killQuietly(pid);
    } else if (fault.startsWith("pause ")) {
      const pid = suite.pid(fault.slice("pause ".length));
      process.kill(pid, "SIGSTOP");
      await pause(100 + random.below(1200));
      process.kill(pid, "SIGCONT");
    } else {
      const name = fault === "all" ? undefined : fault;
      await suite.kill(name);
      await pause(random.below(300));
      await suite.start(...(name === undefined ? [] : [name]));
    }
  }
}

function killQuietly(pid) {
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // gone already
  }
}
