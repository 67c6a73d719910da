// New code through the whole suite: how long a deploy takes, and the first call of what it brought.
import { join } from "node:path";

import { record, root, sleep } from "./common.mjs";

const DEPLOYS = 12;

async function post(url, path, body, headers = {}) {
  const started = performance.now();
  const answer = await fetch(url + path, { method: "POST", headers: { "content-type": "application/json", ...headers }, body: JSON.stringify(body) });
  const { status, ...rest } = await answer.json();
  if (!answer.ok || (status ?? "success") !== "success") throw new Error(`${path}: ${JSON.stringify(rest)}`);
  return performance.now() - started;
}

const at = (times, part) => Math.round(times.sort((a, b) => a - b)[Math.min(times.length - 1, Math.floor(times.length * part))] * 10) / 10;

/** Changes one function at a time and calls it as soon as the deploy is answered. */
export async function benchFirstCall({ run, url, adminKey }) {
  const { createBundler } = await import(join(root, "libs/js/bitbend/cli/bundle.js"));
  const app = join(root, "tests/bench/app");
  const bundler = createBundler({ appDir: app, functionsDir: join(app, "bitbend") });
  const { modules } = await bundler.build();
  await bundler.dispose();
  const times = { deploy: [], first: [], later: [] };
  for (let n = 0; n < DEPLOYS; n++) {
    const changed = modules.map(({ path, source, sourceMap }) => ({ path, source: path === "tiny.js" ? `${source}\n// ${run} ${n}` : source, sourceMap: sourceMap ?? null }));
    const call = () => post(url, "/api/query", { path: "tiny:threeReads", args: {}, format: "json" });
    times.deploy.push(await post(url, "/api/deploy", { modules: changed }, { authorization: `BitBend ${adminKey}` }));
    times.first.push(await call());
    for (let i = 0; i < 3; i++) times.later.push(await call());
    await sleep(200);
  }
  for (const [name, values] of Object.entries(times)) {
    record({ workload: `w11_${name}_call`.replace("deploy_call", "deploy"), system: "bitbend", run, p50_ms: at(values, 0.5), p99_ms: at(values, 0.99) });
  }
}
