/** Rules as packages of user land: an application that has installed two, under concurrency. */

import assert from "node:assert/strict";
import { cpSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";

import { ROOT, startSuite, suiteMissing } from "./suite.mjs";

const EXAMPLE = join(ROOT, "docs/examples/rules");
const skip = suiteMissing();
let app;
let suite;

before(async () => {
  if (skip) return;
  app = mkdtempSync(join(tmpdir(), "bitbend-rules-"));
  cpSync(join(EXAMPLE, "bitbend"), join(app, "bitbend"), { recursive: true });
  // As `npm install` leaves them.
  for (const name of ["rules", "audit"]) cpSync(join(EXAMPLE, "packages", name), join(app, "node_modules", name), { recursive: true });
  suite = await startSuite({ memory: true, appDir: app, options: { solo: { slots: 3 } } });
});
after(async () => {
  await suite?.stop();
  if (app) rmSync(app, { recursive: true });
});

/** The answer of a call, as a user when one is named. */
async function call(kind, path, args = {}, user) {
  const key = user === undefined ? suite.adminKey : `${suite.adminKey}:${Buffer.from(JSON.stringify({ subject: user, issuer: "test", tokenIdentifier: `test|${user}` })).toString("base64")}`;
  for (;;) {
    const { status, json } = await suite.http(`/api/${kind}`, { body: { path, args }, headers: { Authorization: `BitBend ${key}` } });
    if (status !== 503) return json; // a machine that is busy; nothing has happened
  }
}
async function value(...args) {
  const answer = await call(...args);
  assert.equal(answer.status, "success", JSON.stringify(answer));
  return answer.value;
}
const code = async (...args) => (await call(...args)).errorData?.code;

test("b8_uniqueness: of many who take one address at a time, one gets it", { skip }, async () => {
  const team = await value("mutation", "teams:found", { name: "unique" });
  const wanted = Array.from({ length: 48 }, (_, i) => `${i % 6}@example.com`);
  const answers = await Promise.all(wanted.map((email) => call("mutation", "teams:join", { team, email })));
  assert.equal(answers.filter(({ status }) => status === "success").length, 6);
  for (const { status, errorData } of answers) assert.ok(status === "success" || errorData?.code === "taken", JSON.stringify(errorData));
  const { emails } = await value("query", "teams:members");
  assert.deepEqual(emails, [...new Set(wanted)].sort());
  // A change is no way around it; keeping one's own address is none.
  const member = answers.find(({ status }) => status === "success").value;
  const [own] = wanted.filter((_, i) => answers[i].value === member);
  assert.equal(await code("mutation", "teams:move", { member, email: emails.find((email) => email !== own) }), "taken");
  assert.equal((await call("mutation", "teams:move", { member, email: own })).status, "success");
});

test("b8_references: a team that goes while members join leaves none without a team", { skip }, async () => {
  const outcomes = new Set();
  for (let i = 0; i < 12; i++) {
    const team = await value("mutation", "teams:found", { name: `t${i}` });
    const [joined, gone] = await Promise.all([call("mutation", "teams:join", { team, email: `r${i}@example.com` }), call("mutation", "teams:dissolve", { team })]);
    outcomes.add(`${joined.errorData?.code ?? joined.status} ${gone.errorData?.code ?? gone.status}`);
    assert.equal((await value("query", "teams:members")).dangling, 0);
  }
  for (const outcome of outcomes) assert.ok(["success named", "dangling success"].includes(outcome), outcome);
});

test("b8_rows: each sees and writes its own rows, and cannot tell those of others from none", { skip }, async () => {
  const id = await value("mutation", "notes:add", { owner: "ada", text: "of Ada" }, "ada");
  await value("mutation", "notes:add", { owner: "bob", text: "of Bob" }, "bob");
  assert.deepEqual(await value("query", "notes:list", {}, "ada"), ["of Ada"]);
  assert.deepEqual(await value("query", "notes:list", {}, "bob"), ["of Bob"]);
  assert.deepEqual(await value("query", "notes:list"), []);
  assert.equal(await value("query", "notes:get", { id }, "bob"), null);
  assert.equal(await code("mutation", "notes:edit", { id, text: "x" }, "bob"), "notFound");
  assert.equal(await code("mutation", "notes:add", { owner: "ada", text: "forged" }, "bob"), "forbidden");
  await value("mutation", "notes:edit", { id, text: "edited" }, "ada");
  assert.equal(await value("query", "notes:get", { id }, "ada"), "edited");
});

test("b9_package: one that was installed has a table and a function of its own, written in the same transaction", { skip }, async () => {
  const id = await value("mutation", "notes:add", { owner: "eve", text: "a" }, "eve");
  await value("mutation", "notes:edit", { id, text: "b" }, "eve");
  await call("mutation", "notes:edit", { id, text: "c" }, "bob"); // refused, and so not written down
  assert.deepEqual(await value("query", "audit:history", { document: id }), [{ op: "insert", by: "eve" }, { op: "patch", by: "eve" }]);
});
