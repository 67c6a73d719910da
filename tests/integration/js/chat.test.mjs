/** The chat example on two gateways and two workers: who looks at which one makes no difference. */
import assert from "node:assert/strict";
import { cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

import { anyApi } from "../../../libs/js/bitbend/server/index.js";
import { eventually, ROOT, startSuite, suiteMissing } from "./suite.mjs";

test("p9_live_feed: a new post appears for all viewers on all nodes", { skip: suiteMissing() }, async (t) => {
  const app = mkdtempSync(join(tmpdir(), "bitbend-chat-"));
  t.after(() => rmSync(app, { recursive: true, force: true }));
  cpSync(join(ROOT, "docs/examples/chat/bitbend"), join(app, "bitbend"), { recursive: true });
  mkdirSync(join(app, "node_modules"));
  symlinkSync(join(ROOT, "libs/js/bitbend"), join(app, "node_modules/bitbend"));
  const suite = await startSuite({ mode: "processes", memory: true, appDir: app, gateways: 2, workers: 2 });
  t.after(() => suite.stop());
  assert.equal(suite.urls.length, 2);

  const channel = await suite.call("channels:open", { name: "general" });
  const viewers = [...suite.urls, ...suite.urls].map((url) => suite.client({ url }));
  const seen = viewers.map(() => []);
  viewers.forEach((viewer, i) => viewer.onUpdate(anyApi.messages.list, { channel }, (messages) => (seen[i] = messages.map(({ body }) => body))));
  for (const [i, viewer] of viewers.entries()) {
    await viewer.mutation(anyApi.messages.send, { channel, author: "Ada", body: `post ${i}` });
    await eventually(() => seen.every((bodies) => bodies[0] === `post ${i}`), { what: `post ${i} with all viewers` });
  }
  assert.deepEqual(seen, viewers.map(() => ["post 3", "post 2", "post 1", "post 0"]));
});
