/** NATS: one connection that comes back by itself, subjects below "bb.<deployment>." */

import { connect } from "@nats-io/transport-node";

const RECONNECT_WAIT_MS = 200;

/** This client takes addresses and what opens them apart: nats://TOKEN@HOST:PORT, nats://USER:PASSWORD@HOST:PORT. */
function connectionOptions(nats) {
  const urls = nats.split(",").map((url) => new URL(url.trim()));
  const [{ username, password }] = urls;
  const opens = username === "" ? {} : password === "" ? { token: decodeURIComponent(username) } : { user: decodeURIComponent(username), pass: decodeURIComponent(password) };
  return { servers: urls.map(({ protocol, host }) => `${protocol}//${host}`), ...opens };
}

/** As logs may have it. */
export const shownUrl = (nats) => connectionOptions(nats).servers.join(",");

export async function connectBus({ nats, deployment, log }) {
  const connection = await connect({ ...connectionOptions(nats), name: "bitbend-runner", maxReconnectAttempts: -1, reconnectTimeWait: RECONNECT_WAIT_MS, waitOnFirstConnect: true, ignoreAuthErrorAbort: true });
  const prefix = `bb.${deployment}.`;
  const subscriptions = new Map(); // what -> subscription
  const decoder = new TextDecoder();
  let isUp = true;

  (async () => {
    for await (const { type } of connection.status()) {
      if (type === "disconnect") isUp = false;
      else if (type === "reconnect") isUp = true;
      else continue;
      log(isUp ? "runner.nats_up" : "runner.nats_away", { nats: shownUrl(nats) });
    }
  })().catch(() => {});

  function publish(subject, text) {
    if (!isUp || connection.isClosed()) return false;
    try {
      connection.publish(subject, text);
      return true;
    } catch {
      return false;
    }
  }

  return {
    connection,
    prefix,
    get isUp() {
      return isUp;
    },
    publish: (what, text) => publish(prefix + what, text),
    /** `handle(text, respond)`, or null to listen no more. One of all runners gets a message, unless `isForAll`. */
    listen(what, handle, { isForAll = false } = {}) {
      const open = subscriptions.get(what);
      if ((open !== undefined) === (handle !== null)) return;
      if (handle === null) {
        subscriptions.delete(what);
        open.drain().catch(() => {}); // what is on its way is still handed over
        return;
      }
      const callback = (error, message) => {
        if (error === null) handle(decoder.decode(message.data), (text) => message.reply !== undefined && publish(message.reply, text));
      };
      subscriptions.set(what, connection.subscribe(prefix + what, { ...(isForAll ? {} : { queue: "runners" }), callback }));
    },
    close: () => connection.drain().catch(() => connection.close()),
  };
}
