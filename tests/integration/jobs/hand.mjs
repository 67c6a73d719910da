// A runner by hand: takes messages from the work queue and makes the calls that a runner makes, one by one.
import { join } from "node:path";
import { pathToFileURL } from "node:url";

import { ROOT } from "../js/suite.mjs";

const STREAM = "BB_main_JOBS";
const packageOf = (name) => import(pathToFileURL(join(ROOT, "services/runner/node_modules/@nats-io", name)));

export async function takeHand({ nats, suite, name = "hand" }) {
  const { connect } = await packageOf("transport-node/index.js");
  const { AckPolicy, jetstream, jetstreamManager } = await packageOf("jetstream/lib/mod.js");
  const connection = await connect({ servers: nats.replace("nats://", ""), reconnect: false });
  let consumer;
  const open = async () => {
    const manager = await jetstreamManager(connection);
    await manager.consumers.add(STREAM, { durable_name: "runners", ack_policy: AckPolicy.Explicit, ack_wait: 30e9 });
    consumer = await jetstream(connection).consumers.get(STREAM, "runners");
  };
  await open().catch(async (error) => {
    await connection.close();
    throw error;
  });
  return {
    /** The next message {jobId, attempt, ack, nak}, or null. */
    async next(expires = 5000) {
      const message = await consumer.next({ expires }).catch(async () => {
        await open(); // the server has forgotten it
        return null;
      });
      return message === null ? null : { ...message.json(), ack: () => message.ack(), nak: () => message.nak() };
    },
    start: ({ jobId, attempt }, runner = name) => suite.call("_system:startJob", { jobId, attempt, runner }),
    finish: ({ jobId, attempt }, end) => suite.call("_system:finishJob", { jobId, attempt, ...end }),
    renew: ({ jobId, attempt }, runner = name) => suite.call("_system:renewJobs", { runner, jobs: [{ jobId, attempt }] }),
    progress: ({ jobId, attempt }, progress) => suite.call("_system:progressJob", { jobId, attempt, progress }),
    close: () => connection.close(),
  };
}
