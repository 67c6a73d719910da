/** Log lines of function calls, as they come. */

import { isConnectionTrouble } from "./admin.js";

const WAIT_MS = 20_000;
const RETRY_MS = 500;
const COLOURS = { ERROR: "red", WARN: "yellow", INFO: "blue" };

/**
 * Calls `onEntry` for each entry after `cursor`, until the signal. `connection()` gives the admin of the
 * moment: a suite that was started again has a new one and counts from the start.
 */
export async function followLogs(connection, onEntry, { signal, cursor = "0" } = {}) {
  let admin = connection();
  while (!signal?.aborted) {
    try {
      if (connection() !== admin) {
        admin = connection();
        cursor = "0";
      }
      const answer = await admin.logs({ cursor, waitMs: WAIT_MS, signal });
      for (const entry of answer.entries) onEntry(entry);
      cursor = answer.cursor;
    } catch (error) {
      if (signal?.aborted) return;
      if (!isConnectionTrouble(error)) throw error;
      await new Promise((done) => setTimeout(done, RETRY_MS));
    }
  }
}

/** The lines of one call: its console output, and its error. */
export function printEntry(output, entry) {
  if (output.isJson) {
    output.json(entry);
    return;
  }
  const time = output.paint("gray", timeOf(entry.time));
  const where = `${time} ${output.paint("cyan", entry.path)}`;
  for (const line of entry.lines ?? []) {
    const level = line.level.toUpperCase();
    output.line(`${where} ${output.paint(COLOURS[level] ?? "gray", `[${level}]`)} ${line.text}`);
  }
  if (entry.error) output.line(`${where} ${output.paint("red", `failed: ${entry.error}`)}`);
}

/** Of milliseconds since 1970: the local time of day. */
function timeOf(time) {
  return new Date(time).toTimeString().slice(0, 8);
}
