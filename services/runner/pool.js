/**
 * Hosts by version of the code: the newest one takes new actions, older ones end when their last action has
 * ended, and one that has had nothing to do for a while ends, too.
 */

import { startHost } from "./host.js";

const CHECK_MS = 1000;

export function createPool({ code, gateway, memoryMb, processMemoryMb, idleMs, log }) {
  let current = { version: -1, dir: null, host: null, usedAt: 0 };
  const draining = new Set();
  let switching = null;
  let isClosed = false;

  const timer = setInterval(() => {
    if (current.host !== null && current.host.running === 0 && Date.now() - current.usedAt > idleMs) retire(current);
  }, CHECK_MS);
  timer.unref();

  function retire(entry) {
    const { host } = entry;
    if (host === null) return;
    entry.host = null;
    draining.add(host);
    endWhenIdle(host);
  }

  function endWhenIdle(host) {
    if (host.running > 0) return;
    host.end().finally(() => draining.delete(host));
  }

  async function switchTo(version) {
    const { version: found, node } = await gateway.call("_system:code", {});
    if (found < version) throw new Error(`version ${version} of the code is not known yet`);
    if (node === null) throw new Error("nothing with actions is deployed");
    const dir = await code.folderOf(node);
    if (dir !== current.dir) {
      retire(current);
      current = { version: found, dir, host: null, usedAt: Date.now() };
      log("runner.code", { version: found, dir });
      code.prune(new Set([dir, ...[...draining].map((host) => host.dir)])).catch(() => {});
    }
    current.version = found;
  }

  /** The host for this version or a newer one. */
  async function hostFor(version) {
    while (current.version < version) {
      switching ??= switchTo(version).finally(() => (switching = null));
      await switching;
    }
    if (isClosed) throw new Error("this runner ends");
    if (current.host === null || current.host.isGone) current.host = startHost({ dir: current.dir, memoryMb, processMemoryMb, log });
    return current;
  }

  return {
    get version() {
      return current.version;
    },
    /** Runs one action; `onStart(host)` hears who runs it. Fails only when there is no code to run. */
    async run(version, task, events) {
      const entry = await hostFor(version);
      const { host } = entry;
      entry.usedAt = Date.now();
      events.onStart(host);
      try {
        return await host.run(task, events);
      } finally {
        entry.usedAt = Date.now();
        if (draining.has(host)) endWhenIdle(host);
      }
    },
    async close() {
      isClosed = true;
      clearInterval(timer);
      await Promise.all([...draining, current.host].filter(Boolean).map((host) => host.end()));
    },
    /** All that user code started, at once. */
    kill() {
      for (const host of [...draining, current.host]) host?.kill();
    },
  };
}
