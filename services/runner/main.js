/** `node main.js --nats URL --gateway URL --admin-key-file FILE --data DIR`: a runner until SIGTERM. */

import { connectBus, shownUrl } from "./bus.js";
import { createCode } from "./code.js";
import { createGateway } from "./gateway.js";
import { createLogs } from "./logs.js";
import { createJobs } from "./jobs.js";
import { OptionError, parseOptions, usage } from "./options.js";
import { createPool } from "./pool.js";
import { createRunner } from "./runner.js";

/** One event a line, as the other services write them. */
function log(event, fields = {}) {
  const text = Object.entries(fields).map(([name, value]) => ` ${name}=${typeof value === "string" ? JSON.stringify(value) : value}`).join("");
  process.stderr.write(`${new Date().toISOString()} info runner ${event}${text}\n`);
}

async function main() {
  if (process.argv.includes("--help")) return void process.stdout.write(usage());
  const options = parseOptions(process.argv.slice(2), process.env);
  delete process.env.BITBEND_ADMIN_KEY;
  delete process.env.BITBEND_RUNNER_ADMIN_KEY;
  delete process.env.BITBEND_RUNNER_NATS;
  const stopped = new Promise((done) => {
    for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"]) process.once(signal, () => done(signal));
  });
  const gateway = createGateway({ gateways: options.gateways, adminKey: options["admin-key"] });
  const bus = await Promise.race([connectBus({ nats: options.nats, deployment: options.deployment, log }), stopped.then(() => null)]);
  if (bus === null) return;
  const code = createCode({ data: options.data, gateway });
  const pool = createPool({ code, gateway, memoryMb: options["memory-mb"], processMemoryMb: options["process-memory-mb"], idleMs: options["idle-s"] * 1000, log });
  const logs = createLogs({ gateway });
  const runner = createRunner({ bus, gateway, pool, logs, options, log });
  process.on("exit", () => pool.kill());
  const jobs = createJobs({ bus, gateway, runner, options, log });
  runner.start();
  jobs.run();
  log("runner.ready", { id: runner.id, slots: options.slots, nats: shownUrl(options.nats) });
  process.stdout.write("bitbend-runner: ready\n");

  log("runner.draining", { signal: await stopped, running: runner.running });
  for (const signal of ["SIGTERM", "SIGINT"]) process.once(signal, () => process.exit(0)); // a second one: at once
  jobs.stop();
  await runner.drain(options["drain-s"] * 1000);
  await pool.close();
  await logs.close();
  await bus.close();
  gateway.close();
}

main().then(
  () => process.exit(0),
  (error) => {
    process.stderr.write(`bitbend-runner: ${error.message}\n`);
    process.exit(error instanceof OptionError ? 2 : 1);
  },
);
