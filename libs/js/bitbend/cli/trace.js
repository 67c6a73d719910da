/** What a call read and wrote, for people. */

const SIGNS = { eq: "=", gt: ">", gte: ">=", lt: "<", lte: "<=" };

/** What the call shared with others; the slot's words for it. */
const ISOLATION = {
  shared: "instances of modules that keep nothing, shared by calls",
  perCall: "instances of its modules of its own",
  context: "a context of its own (a module changes built-in objects)",
};

/** Prints one line a scan, one a document that was read or written by its id, and the sums, to stderr. */
export function printTrace(output, trace) {
  const line = (text) => process.stderr.write(`${text}\n`);
  if (trace === undefined) {
    line("There is no trace: the call did not come to run.");
    return;
  }
  for (const scan of trace.scans) line(`  scan  ${scanText(scan)}`);
  for (const { table, id, read, written, bytes } of trace.documents) {
    line(`  ${read ? (written ? "write" : "get  ") : "new  "} ${table} ${id}, ${bytes} bytes`);
  }
  const isolation = ISOLATION[trace.isolation];
  if (isolation !== undefined) line(`  isolation: ${isolation}`);
  const runs = trace.runs > 1 ? ` in ${trace.runs} runs (others wrote what it had read)` : "";
  line(`  ${trace.rows} rows, ${trace.bytes} bytes in ${trace.ranges} ranges read; ${trace.written} documents written; ${trace.ms} ms${runs}, ${trace.jsMs} of them JavaScript`);
}

/** `messages.by_channel channel = "a", _creationTime > 5, desc: 12 rows, 800 bytes` */
function scanText({ table, index, range, order, keysOnly, rows, bytes }) {
  const steps = range.map(([step, field, value]) => `${field} ${SIGNS[step] ?? step} ${JSON.stringify(value)}`);
  const where = steps.length === 0 ? "all of it" : steps.join(", ");
  return `${table}.${index} ${where}${order === "desc" ? ", from the end" : ""}: ${rows} ${keysOnly ? "keys" : "rows"}, ${bytes} bytes`;
}
