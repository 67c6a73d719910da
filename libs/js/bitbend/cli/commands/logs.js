import { connect } from "../app.js";
import { followLogs, printEntry } from "../logs.js";

export async function run({ output, appDir, options }) {
  const admin = connect(appDir, options);
  const { cursor, entries } = await admin.logs({ cursor: "0" });
  for (const entry of entries) printEntry(output, entry);
  if (!options.follow) return;
  const abort = new AbortController();
  process.once("SIGINT", () => abort.abort());
  process.once("SIGTERM", () => abort.abort());
  await followLogs(() => admin, (entry) => printEntry(output, entry), { cursor, signal: abort.signal });
}
