/**
 * Decides whether a recorded history is one that the promises allow.
 *
 * A history: `mutations` {name, args, tx, value, start, end} that wrote; `looks` {reads, tx, start, end},
 * calls that only read, at the newest moment; `failures` {reads, start, end}, calls that threw; `seen`
 * {question, args, value, tx, from, start?, end}: answers of queries and pushed values; `repeats`
 * {tx, value, first}: answers to a key that was sent again.
 */
import { isDeepStrictEqual } from "node:util";

import { createModel } from "./model.mjs";

const SHOWN = 300;
const text = (value) => {
  const json = JSON.stringify(value) ?? "undefined";
  return json.length > SHOWN ? `${json.slice(0, SHOWN)}..` : json;
};

/** The violations by promise: {serializable: [..], asOf: [..], lost: [..]}; empty lists when all is well. */
export function verify(history) {
  const found = { serializable: [], asOf: [], lost: [] };
  checkTxs(history, found);
  checkRealTime(history, found);
  replay(history, found);
  checkLists(history, found);
  return found;
}

function checkTxs({ mutations, repeats }, found) {
  const byTx = new Map();
  for (const mutation of mutations) {
    if (byTx.has(mutation.tx)) found.serializable.push(`tx ${mutation.tx} was given to ${describe(mutation)} and ${describe(byTx.get(mutation.tx))}`);
    byTx.set(mutation.tx, mutation);
  }
  for (const { tx, value, first } of repeats) {
    if (tx !== first.tx || !isDeepStrictEqual(value, first.value)) found.lost.push(`a repeated key gave tx ${tx} ${text(value)}, first tx ${first.tx} ${text(first.value)}`);
  }
}

const describe = ({ name, args }) => `${name} ${text(args)}`;

/** Whoever starts after an answer was seen comes after it; what only reads may see the same moment. */
function checkRealTime({ mutations, looks, seen }, found) {
  const known = [...mutations, ...looks, ...seen].sort((a, b) => a.end - b.end);
  const started = [...mutations.map((call) => ({ ...call, wrote: true })), ...looks, ...seen.filter(({ isNewest }) => isNewest)].sort((a, b) => a.start - b.start);
  const what = ({ name, question, from, args }) => `${name ?? from ?? "a look"} ${question ?? ""} ${text(args)}`;
  let newest = { tx: 0 };
  let at = 0;
  for (const call of started) {
    for (; at < known.length && known[at].end < call.start; at++) if (known[at].tx > newest.tx) newest = known[at];
    if (call.wrote ? call.tx > newest.tx : call.tx >= newest.tx) continue;
    found.serializable.push(`${what(call)} is at ${call.tx}, but ${what(newest)} had told ${newest.tx} ${(call.start - newest.end).toFixed(1)} ms before it started`);
  }
}

/** Runs all mutations in the order of their tx and compares everything that anybody saw. */
function replay(history, found) {
  const model = createModel();
  const mutations = [...history.mutations].sort((a, b) => a.tx - b.tx);
  const seen = [...history.looks.flatMap(({ reads, tx }) => reads.map((read) => ({ ...read, tx, from: "a mutation without writes" }))), ...history.seen].sort((a, b) => a.tx - b.tx);
  const failures = history.failures.map((failure) => ({ ...failure, ...windowOf(failure, history), isExplained: false }));
  let at = 0;
  const see = (before) => {
    for (; at < seen.length && seen[at].tx < before; at++) {
      const { question, args, value, tx, from } = seen[at];
      const right = model.ask(question, args);
      if (!isDeepStrictEqual(value, right)) found.asOf.push(`${from}: ${question} ${text(args)} at ${tx} is ${text(right)}, told was ${text(value)}`);
    }
  };
  const explain = (tx) => {
    // The state that holds until the mutation at `tx`, since the one before it.
    for (const failure of failures) {
      if (failure.isExplained || tx <= failure.low || failure.last > failure.high) continue;
      failure.isExplained = failure.reads.every(({ question, args, value }) => isDeepStrictEqual(value, model.ask(question, args)));
    }
  };

  let last = 0;
  for (const mutation of [...mutations, { tx: Infinity }]) {
    see(mutation.tx);
    for (const failure of failures) failure.last = last;
    explain(mutation.tx);
    last = mutation.tx;
    if (mutation.tx === Infinity) break;
    const { name, args, tx, value } = mutation;
    for (const read of value.reads) {
      const right = model.ask(read.question, read.args);
      if (!isDeepStrictEqual(read.value, right)) found.serializable.push(`${describe(mutation)} at ${tx} read ${read.question} ${text(read.args)} = ${text(read.value)}, serial is ${text(right)}`);
    }
    try {
      model.apply(name, args, value.inserted);
    } catch (error) {
      found.lost.push(`${describe(mutation)} at ${tx}: ${error.message}`);
    }
    for (const { id, doc } of [...value.after, ...value.inserted.map((doc) => ({ id: doc._id, doc }))]) {
      const right = model.ask("get", { id });
      if (!isDeepStrictEqual(doc, right)) found.serializable.push(`${describe(mutation)} at ${tx} wrote ${text(doc)}, the model ${text(right)}`);
    }
  }
  for (const { reads, isExplained, low, high } of failures) if (!isExplained) found.serializable.push(`a call that threw saw ${text(reads)}, which was never so between ${low} and ${high}`);

  for (const { question, args, value, from } of history.final) {
    const right = model.ask(question, args);
    if (!isDeepStrictEqual(value, right)) found.lost.push(`${from}: at the end ${question} ${text(args)} is ${text(value)}, what was acknowledged makes ${text(right)}`);
  }
}

/** The moments at which a call may have looked: [what was known when it started, what came after it ended). */
function windowOf({ start, end }, { mutations, looks, seen }) {
  let low = 0;
  let high = Infinity;
  for (const call of [...mutations, ...looks, ...seen]) if (call.end < start) low = Math.max(low, call.tx);
  for (const call of mutations) if (call.start > end) high = Math.min(high, call.tx - 1);
  return { low, high };
}

/**
 * The registers alone, without looking at any tx: every list that was read is a beginning of the last
 * one, and "wrote before", "was read by" and "overwrote what was read" have no cycle.
 */
function checkLists(history, found) {
  const finals = new Map(history.final.filter(({ question }) => question === "register").map(({ args, value }) => [args.key, value]));
  const appends = history.mutations.filter(({ name }) => name === "append");
  const writer = new Map(appends.map((call) => [call.args.value, call]));
  const edges = new Map(); // call -> calls after it
  const link = (from, to) => from !== undefined && to !== undefined && from !== to && edges.set(from, (edges.get(from) ?? new Set()).add(to));

  for (const [key, list] of finals) {
    if (new Set(list).size !== list.length) found.lost.push(`register ${key} holds a value twice: ${text(list)}`);
    for (let i = 1; i < list.length; i++) link(writer.get(list[i - 1]), writer.get(list[i]));
    for (const call of appends) if (call.args.keys.includes(key) && !list.includes(call.args.value)) found.lost.push(`${call.args.value} is lost from register ${key}`);
  }
  for (const call of [...appends.map((append) => ({ call: append, reads: append.value.reads })), ...history.looks.map((look) => ({ call: look, reads: look.reads }))]) {
    for (const { question, args, value } of call.reads) {
      if (question !== "register") continue;
      const list = finals.get(args.key) ?? [];
      if (!isDeepStrictEqual(list.slice(0, value.length), value)) found.serializable.push(`register ${args.key}: ${text(value)} is no beginning of ${text(list)}`);
      link(writer.get(value.at(-1)), call.call);
      link(call.call, writer.get(list[value.length]));
    }
  }
  if (hasCycle(edges)) found.serializable.push("the registers' history has a cycle");
}

function hasCycle(edges) {
  const done = new Set();
  for (const root of edges.keys()) {
    const open = new Set();
    const stack = [{ node: root, next: null }];
    while (stack.length > 0) {
      const top = stack.at(-1);
      if (top.next === null) {
        if (done.has(top.node)) {
          stack.pop();
          continue;
        }
        open.add(top.node);
        top.next = [...(edges.get(top.node) ?? [])];
      }
      const to = top.next.pop();
      if (to === undefined) {
        open.delete(top.node);
        done.add(top.node);
        stack.pop();
      } else if (open.has(to)) return true;
      else if (!done.has(to)) stack.push({ node: to, next: null });
    }
  }
  return false;
}
