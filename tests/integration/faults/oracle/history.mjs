/**
 * The history as lines for tests/checkers: registers as lists, balances as numbers. One judge for real
 * processes and for the simulator; it looks for cycles without looking at any tx, too.
 */
const keyOf = { register: ({ key }) => `l-${key}`, balance: ({ name }) => `b-${name}` };
const us = (ms) => Math.round(ms * 1000);

const stepsOf = (reads) =>
  reads.filter(({ question }) => question in keyOf).map(({ question, args, value }) => ["r", keyOf[question](args), value]);

/** Reads, then what follows from them: the writes of append and transfer. */
function logOf({ name, args, value }) {
  const steps = [];
  for (const { question, args: asked, value: read } of value.reads) {
    if (!(question in keyOf)) continue;
    const key = keyOf[question](asked);
    steps.push(["r", key, read]);
    if (name === "append") steps.push(["w", key, [...read, args.value]]);
  }
  if (name === "transfer") {
    const [left, right] = value.reads.map((read) => read.value);
    steps.push(["w", `b-${args.from}`, left - args.amount], ["w", `b-${args.to}`, right + args.amount]);
  }
  return steps;
}

export function toLines(history) {
  const { mutations, looks, failures, seen, repeats, final } = history;
  const keys = new Map();
  const learn = (question, args) => question in keyOf && keys.set(keyOf[question](args), question === "register" ? [] : 0);
  for (const { question, args } of [...final, ...seen, ...[...mutations.map(({ value }) => value), ...looks, ...failures].flatMap(({ reads }) => reads)]) learn(question, args);
  const lines = [{ type: "txn", id: "before", start: 0, end: 0, tx: 1, log: [...keys].map(([key, value]) => ["w", key, value]) }];
  for (const call of mutations) {
    lines.push({ type: "txn", id: call.key, start: us(call.start), end: us(call.end), tx: call.tx, log: logOf(call) });
  }
  for (const { tx, first } of repeats) {
    lines.push({ type: "txn", id: first.key, start: us(first.start), end: us(first.end), tx, log: logOf(first) });
  }
  looks.forEach(({ reads, tx, start, end }, i) => lines.push({ type: "txn", id: `look-${i}`, start: us(start), end: us(end), at: tx, finish: true, log: stepsOf(reads) }));
  failures.forEach(({ reads, start, end }, i) => lines.push({ type: "txn", id: `failure-${i}`, start: us(start), end: us(end), outcome: "failed", log: stepsOf(reads) }));
  for (const { question, args, value, tx, start, end, isNewest } of seen) {
    const log = stepsOf([{ question, args, value }]);
    if (log.length > 0) lines.push({ type: "txn", start: us(start ?? end), end: us(end), at: tx, newest: isNewest, log });
  }
  return lines.map((line) => `${JSON.stringify(line)}\n`).join("");
}
