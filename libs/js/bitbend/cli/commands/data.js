import { connect } from "../app.js";
import { numberOption } from "../options.js";
import { cellOf } from "../output.js";
import { encodeValue } from "../../values/encode.js";

const LIMIT_DEFAULT = 100;
const COLUMNS_MAX = 12;

export async function run({ output, appDir, options, positionals }) {
  const admin = connect(appDir, options);
  const limit = numberOption(options, "limit", 1, 1_000_000) ?? LIMIT_DEFAULT;
  if (positionals.length === 0) await listTables(output, admin);
  else await showTable(output, admin, positionals[0], limit);
}

async function listTables(output, admin) {
  const tables = await admin.call("_system:tables");
  if (output.isJson) return tables.forEach((table) => output.json(encodeValue(table)));
  if (tables.length === 0) return output.line("No tables yet: declare some in schema.ts, or insert a document.");
  const rows = tables.map(({ name, state, indexes }) => [name, state, indexes.join(", ")].map((cell) => String(cell)));
  output.table(["table", "state", "indexes"], rows);
}

async function showTable(output, admin, table, limit) {
  const rows = [];
  for (let cursor = null; ; ) {
    const answer = await admin.call("_system:tableData", { table, limit: Math.min(limit - rows.length, 1000), cursor });
    rows.push(...answer.page);
    cursor = answer.continueCursor;
    if (answer.isDone || rows.length >= limit) break;
  }
  if (output.isJson) return rows.forEach((row) => output.json(encodeValue(row)));
  if (rows.length === 0) return output.line(`Table ${table} is empty.`);
  printRows(output, rows);
}

/** One column for each field that any row has, up to a bound; `_id` first, other system fields last. */
function printRows(output, rows) {
  const names = [...new Set(rows.flatMap((row) => Object.keys(row)))];
  const isSystem = (name) => name.startsWith("_");
  const head = [...names.filter((name) => name === "_id"), ...names.filter((name) => !isSystem(name)), ...names.filter((name) => isSystem(name) && name !== "_id")];
  const shown = head.slice(0, COLUMNS_MAX);
  output.table(shown, rows.map((row) => shown.map((name) => cellOf(row[name]))));
  const left = head.length - shown.length;
  if (left > 0) output.note(`(${left} more ${left === 1 ? "column is" : "columns are"} not shown; --json has all)`);
}
