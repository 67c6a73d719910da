/** Log lines of actions, sent while they run to where `bitbend logs` reads; what cannot be sent is dropped and counted. */

const SEND_MS = 100;
const ENTRIES_MAX = 500;
const BYTES_MAX = 2 << 20;

export function createLogs({ gateway }) {
  let entries = [];
  let bytes = 0;
  let dropped = 0;
  let isSending = false;
  let timer = null;

  function add(entry) {
    const size = JSON.stringify(entry).length;
    if (entries.length >= ENTRIES_MAX || bytes + size > BYTES_MAX) {
      dropped++;
      return;
    }
    bytes += size;
    entries.push(entry);
    timer ??= setTimeout(send, SEND_MS);
  }

  async function send() {
    timer = null;
    if (isSending) {
      timer = setTimeout(send, SEND_MS);
      return;
    }
    const batch = entries;
    if (dropped > 0 && batch.length > 0) batch[0].lines.push({ level: "warn", text: `${dropped} groups of log lines of actions were dropped: they could not be sent in time.`, time: Date.now() });
    entries = [];
    bytes = dropped = 0;
    if (batch.length === 0) return;
    isSending = true;
    await gateway.sendLogs(batch).catch(() => (dropped += batch.length));
    isSending = false;
  }

  return {
    /** The lines of one action: `add(lines)` while it runs, `end(reply, ms)` with its outcome. */
    begin({ id, path }) {
      const entry = (more) => ({ requestId: id, path, time: Date.now(), lines: [], ...more });
      return {
        add: (lines) => add(entry({ lines })),
        end: ({ status, code, errorMessage }, ms) => add(entry({ status: status === "success" ? "Ok" : code, error: status === "success" ? null : errorMessage, durationUs: Math.round(ms * 1000) })),
      };
    },
    async close() {
      clearTimeout(timer);
      await send();
    },
  };
}
