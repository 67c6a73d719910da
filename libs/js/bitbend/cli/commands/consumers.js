import { connect } from "../app.js";
import { usageError } from "../options.js";

/** `consumers`: the durable consumers of the transaction feed; `consumers remove NAME`; `consumers move NAME TX`. */
export async function run({ output, appDir, options, positionals }) {
  const admin = connect(appDir, options);
  const [action = "list", name, tx] = positionals;
  if (action === "list" && name === undefined) return await list(output, admin);
  if (name === undefined) throw usageError("The name of a consumer is missing.", "Usage: bitbend consumers [remove NAME | move NAME TX]");
  if (action === "remove" && tx === undefined) return show(output, name, await admin.consumer("DELETE", name));
  if (action === "move") {
    if (!/^\d{1,16}$/.test(tx ?? "")) throw usageError(`"${tx ?? ""}" is no tx.`, "Give the tx after which the consumer should go on.");
    return show(output, name, await admin.consumer("POST", name, { tx: Number(tx) }));
  }
  throw usageError(`There is no "consumers ${action}".`, "Usage: bitbend consumers [remove NAME | move NAME TX]");
}

async function list(output, admin) {
  const { consumers, closed } = await admin.consumers();
  if (output.isJson) return consumers.forEach((one) => output.json({ ...one, closed }));
  if (consumers.length === 0) return output.line("No consumers: client.consumer(\"name\") makes one.");
  const rows = consumers.map(({ name, tx, time }) => [name, String(tx), lagOf(tx, closed), new Date(time).toISOString()]);
  output.table(["name", "position", "behind", "acknowledged"], rows);
}

/** Transactions are numbered by their microseconds. */
function lagOf(tx, closed) {
  return tx >= closed ? "-" : `${((closed - tx) / 1e6).toFixed(1)} s`;
}

function show(output, name, answer) {
  if (output.isJson) return output.json(answer);
  output.line(answer.tx === undefined ? `${name} ${answer.state}` : `${name} is at ${answer.tx}`);
}
