// Every test of the API runs against the embedded suite and against separate processes; those that say so against a cluster
// too. BB_TEST_MODES=cluster (a list) runs all of them in other modes.
import { after, before, describe } from "node:test";
import { fileURLToPath } from "node:url";
import { dirname, join } from "node:path";

import { startSuite } from "../js/suite.mjs";

export const app = join(dirname(fileURLToPath(import.meta.url)), "../app");

/** The modes that tests run in, of those that are `usual`. */
export function testModes(usual = ["solo", "processes"]) {
  return process.env.BB_TEST_MODES?.split(",") ?? usual;
}

/** `body(suite)` registers tests; suite.url and suite.adminKey are there when they run. */
export function inEachMode(name, body, { modes, ...options } = {}) {
  for (const mode of testModes(modes)) {
    describe(`${name} (${mode})`, () => {
      const suite = {};
      before(async () => {
        suite.suite = await startSuite({ mode, appDir: app, ...options });
        suite.url = suite.suite.url;
        suite.adminKey = suite.suite.adminKey;
        suite.admin = { authorization: `BitBend ${suite.adminKey}` };
      });
      after(() => suite.suite?.stop());
      body(suite, mode);
    });
  }
}
