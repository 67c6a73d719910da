// A few hundred small pure functions give the same result in BitBend and in plain Node.js.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import { decodeValue, encodeValue } from "../../libs/js/bitbend/values/encode.js";
import { startSuite } from "../integration/js/suite.mjs";
import { makeApp } from "./app.mjs";

const app = await makeApp({ hasPure: true });

describe("functions: the same here and in Node.js", { concurrency: 4 }, () => {
  let suite;
  before(async () => {
    suite = await startSuite({ memory: true, appDir: app.dir, options: { solo: { "results-bytes": 0 } } });
  });
  after(async () => {
    await suite?.stop();
    app.remove();
  });
  for (const [module, functions] of Object.entries(app.pure)) {
    for (const [name, inNode] of Object.entries(functions)) {
      test(`b2_language: ${module}: ${name}`, async () => {
        const wanted = decodeValue(encodeValue((await inNode()) ?? null));
        const { json, text } = await suite.http("/api/query", { body: { path: `pure/${module}:${name}`, args: {}, format: "convex_encoded_json" } });
        assert.equal(json?.status, "success", json?.errorMessage ?? text);
        assert.deepEqual(decodeValue(json.value), wanted);
      });
    }
  }
});
