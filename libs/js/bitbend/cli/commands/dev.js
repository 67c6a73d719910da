/**
 * `bitbend dev`: the suite, the deploy, the watch, the logs. It ends with Ctrl-C, and takes along the suite
 * that it started. A mistake in the sources leaves what was deployed before running.
 */

import { join, resolve } from "node:path";

import { createAdmin, isConnectionTrouble } from "../admin.js";
import { dataDirOf, functionsDirOf, namedDeployment } from "../app.js";
import { createBundler } from "../bundle.js";
import { generate } from "../codegen.js";
import { followLogs, printEntry } from "../logs.js";
import { numberOption } from "../options.js";
import { CliError } from "../output.js";
import { followBackfill, hasChanges, printChanges } from "../report.js";
import { buildSite, findSite } from "../site.js";
import { ensureSuite } from "../suite.js";
import { watchFiles } from "../watch.js";

const DEPLOY_RETRY_MS = 200;
const DEPLOY_PATIENCE_MS = 15_000;

export async function run({ output, appDir, options }) {
  const functionsDir = functionsDirOf(appDir);
  const dataDir = dataDirOf(appDir, options);
  const port = numberOption(options, "port", 1, 65535);
  const siteDir = findSite(appDir, options.static);
  const outDir = siteDir === null ? null : join(dataDir, "static");
  const stopped = new AbortController();
  const onSignal = () => stopped.abort();
  // More than once: npx passes on what the terminal has sent already. Dying of the second would leave the suite behind.
  for (const name of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(name, onSignal);

  generate(functionsDir);
  const siteInputs = siteDir === null ? [] : await tryBuildSite(output, { appDir, siteDir, outDir });
  const deployment = await openDeployment({ output, appDir, dataDir, port, options, outDir });
  const dev = createDeployer({ output, appDir, functionsDir, deployment, signal: stopped.signal });
  try {
    const isDeployed = await dev.deploy();
    if (options.once) return isDeployed ? 0 : 1;

    printReady(output, deployment);
    // npm writes these when a package has come or gone.
    const ofPackages = ["package.json", "package-lock.json"].map((name) => join(appDir, name));
    const watcher = watchFiles([functionsDir, siteDir].filter(Boolean), changed);
    const logs = followLogs(deployment.admin, (entry) => isOwn(entry) || printEntry(output, entry), { signal: stopped.signal, cursor: await deployment.cursor() });
    watcher.setFiles([...dev.inputs(), ...siteInputs, ...ofPackages]);
    async function changed() {
      const inputs = siteDir === null ? [] : await tryBuildSite(output, { appDir, siteDir, outDir });
      await dev.deploy();
      watcher.setFiles([...dev.inputs(), ...inputs, ...ofPackages]);
    }
    await Promise.race([untilAborted(stopped.signal), logs]);
    watcher.close();
    return 0;
  } finally {
    stopped.abort();
    await dev.close();
    await deployment.stop();
  }
}

/** The named deployment, or the embedded suite. `admin()` is the one of the moment. */
async function openDeployment({ output, appDir, dataDir, port, options, outDir }) {
  const named = namedDeployment(options);
  if (named !== null) {
    if (!named.adminKey) throw new CliError(`The admin key of ${named.url} is missing: pass --admin-key, or set BITBEND_ADMIN_KEY.`);
    const admin = createAdmin(named);
    return { url: named.url, admin: () => admin, cursor: () => lastCursor(admin), stop: async () => {} };
  }
  let admin = null;
  const suite = await ensureSuite({
    appDir,
    dataDir,
    port,
    isMemory: options.memory,
    staticDir: outDir,
    nats: options.nats,
    hasRunner: options.once !== true,
    output,
    onRestart(next) {
      admin = createAdmin(next);
      output.note(`The suite runs again at ${next.url}.`);
    },
  });
  admin = createAdmin(suite);
  return {
    url: suite.url,
    isOwner: suite.isOwner,
    admin: () => admin,
    cursor: () => (suite.isOwner ? "0" : lastCursor(admin)),
    stop: suite.stop,
  };
}

/** Logs from now on: what others did before is not shown. */
async function lastCursor(admin) {
  return (await admin.logs({ cursor: "0" })).cursor;
}

/** One deploy at a time; changes that come meanwhile make one more. */
function createDeployer({ output, appDir, functionsDir, deployment, signal }) {
  const bundler = createBundler({ appDir, functionsDir });
  let inputs = [];
  let deployed = null;
  let lastTrouble = null;
  let running = Promise.resolve(false);
  let isQueued = false;

  async function deployOnce() {
    isQueued = false;
    const startedAt = performance.now();
    try {
      const written = generate(functionsDir);
      const built = await bundler.build();
      inputs = built.inputs;
      const text = JSON.stringify([built.modules, built.node?.archives.map(({ hash }) => hash), built.node?.functions]);
      if (text === deployed) {
        if (lastTrouble !== null) output.note(output.paint("green", "Fixed: the functions are what is deployed."));
        lastTrouble = null;
        return true;
      }
      for (const note of built.notes) output.note(`  ${output.paint("yellow", "!")} ${note}`);
      const result = await send(built.modules, built.node);
      deployed = text;
      lastTrouble = null;
      const took = `${Math.round(performance.now() - startedAt)} ms`;
      output.note(output.paint("green", hasChanges(result) || written.length > 0 ? `Deployed in ${took}.` : `Deployed in ${took}; no function, table or index is new.`));
      printChanges(output, result);
      followBackfill(output, deployment.admin(), result, { signal }).catch((error) => output.error(error.message));
      return true;
    } catch (error) {
      if (signal.aborted) return false;
      if (!(error instanceof CliError)) throw error;
      // A build that fails does not tell what it read: where the mistake is must be watched, or nobody sees that it is gone.
      inputs = [...new Set([...inputs, ...(error.files ?? []).map((file) => resolve(appDir, file))])];
      const after = deployed === null ? "" : "\nThe functions deployed before go on answering.";
      if (error.message !== lastTrouble) output.error(`${relativeTo(appDir, error.message)}${after}`);
      lastTrouble = error.message;
      return false;
    }
  }

  /** A suite that is being started again answers soon. */
  async function send(modules, node) {
    const isKnown = deployment.isOwner === true || deployed !== null;
    for (const end = Date.now() + DEPLOY_PATIENCE_MS; ; ) {
      try {
        return await deployment.admin().deploy(modules, { node, signal });
      } catch (error) {
        if (!isKnown || !isConnectionTrouble(error) || signal.aborted || Date.now() > end) throw error;
        await new Promise((done) => setTimeout(done, DEPLOY_RETRY_MS));
      }
    }
  }

  return {
    inputs: () => inputs,
    deploy() {
      if (!isQueued) {
        isQueued = true;
        running = running.then(deployOnce);
      }
      return running;
    },
    async close() {
      await running.catch(() => {});
      await bundler.dispose();
    },
  };
}

async function tryBuildSite(output, site) {
  try {
    return await buildSite(site);
  } catch (error) {
    if (!(error instanceof CliError)) throw error;
    output.error(error.message);
    return [];
  }
}

function printReady(output, { url, isOwner }) {
  const whose = isOwner === false ? " (it was running already)" : "";
  if (output.isJson) output.json({ event: "ready", url });
  else output.line(`${output.paint("green", "BitBend is ready:")} ${output.paint("bold", url)}${whose}`);
}

/** What this command told already, and what the scheduler asks for again by itself. */
function isOwn({ path }) {
  return path === "_system:deploy" || path.startsWith("_system:due");
}

function relativeTo(appDir, text) {
  return text.replaceAll(`${appDir}/`, "");
}

function untilAborted(signal) {
  return new Promise((done) => {
    if (signal.aborted) done();
    signal.addEventListener("abort", () => done(), { once: true });
  });
}
