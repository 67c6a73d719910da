/** What a deploy did, for people. */

const SIGNS = { added: ["+", "green"], changed: ["~", "yellow"], removed: ["-", "red"], ready: ["=", "gray"] };

/** The differences that a deploy's result has, by what they are of. */
function differencesOf({ tables = {}, indexes = {}, functions = {}, routes = {}, crons = {} }) {
  return { table: tables, index: indexes, function: functions, route: routes, cron: crons };
}

/** Prints one line for each function, table, index, route and cron that is new, changed or gone, and the notes. */
export function printChanges(output, result) {
  const { indexes = {}, notes = [] } = result;
  for (const [noun, difference] of Object.entries(differencesOf(result))) {
    for (const change of ["added", "changed", "removed"]) {
      for (const item of difference[change] ?? []) {
        const [sign, colour] = SIGNS[change];
        output.note(`  ${output.paint(colour, sign)} ${noun} ${nameOf(item)}`);
      }
    }
  }
  const gone = (indexes.removed ?? []).filter((name) => !(indexes.added ?? []).some((index) => nameOf(index) === name));
  for (const name of gone) {
    output.note(`  ${output.paint("yellow", "!")} Index ${name} is gone: reading it is an error from now on. Documents are not touched.`);
  }
  for (const note of notes) output.note(`  ${output.paint("yellow", "!")} ${note}`);
}

/** Which modules keep nothing between calls, so that one instance serves all; why others may, and which change built-in objects. */
export function printSharing(output, { sharing = { shared: [], perCall: [], context: [] } }) {
  const grey = (text) => output.paint("gray", text);
  if (sharing.shared.length > 0) output.note(grey(`  = one instance serves all calls: ${sharing.shared.join(", ")}`));
  for (const { module, why } of sharing.context ?? []) output.note(`  ${output.paint("yellow", "!")} each call has a context of its own for ${module}: ${why}`);
  for (const { module, why } of sharing.perCall) output.note(grey(`  = each call has its own instance of ${module}: ${why}`));
}

export function hasChanges(result) {
  return Object.values(differencesOf(result)).some((difference) => Object.values(difference).some((items) => items.length > 0));
}

function nameOf(item) {
  return typeof item === "string" ? item : `${item.table}.${item.name}`;
}

/**
 * Follows the indexes that a deploy added to full tables until they are ready, or cannot be. `admin.call`
 * is asked again and again: the suite fills them by itself. Prints why those that failed did, and returns
 * their names.
 */
export async function followBackfill(output, admin, result, { signal } = {}) {
  const filling = (result.indexes?.added ?? []).filter((index) => index.state === "backfilling").map(nameOf);
  const failed = [];
  while (filling.length > 0 && !signal?.aborted) {
    // One that is being removed may have the name of one that is being filled.
    const rows = (await admin.call("_system:indexes")).filter(({ state }) => state !== "removing");
    for (const name of [...filling]) {
      const row = rows.find((one) => nameOf(one) === name);
      if (row?.state === "failed") {
        output.error(`  ${row.error}`);
        failed.push(name);
      } else if (row !== undefined) {
        const done = Number(row.done);
        const total = Math.max(Number(row.total), done);
        const isReady = row.state === "ready";
        // Before the first part is filled the total is not known.
        if (isReady || total > 0) output.progress(`  index ${name}`, isReady ? total : Math.min(done, total - 1), total);
        if (!isReady) continue;
      }
      filling.splice(filling.indexOf(name), 1); // also when a later deploy removed it
    }
    if (filling.length > 0) await new Promise((done) => setTimeout(done, 100));
  }
  return failed;
}
