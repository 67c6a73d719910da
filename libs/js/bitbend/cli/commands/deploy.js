import { connect, functionsDirOf } from "../app.js";
import { createBundler } from "../bundle.js";
import { generate } from "../codegen.js";
import { followBackfill, hasChanges, printChanges, printSharing } from "../report.js";

export async function run({ output, appDir, options, positionals }) {
  const functionsDir = functionsDirOf(appDir, positionals[0]);
  const admin = connect(appDir, options);
  generate(functionsDir);
  const bundler = createBundler({ appDir, functionsDir });
  try {
    const { modules, node, notes } = await bundler.build();
    for (const note of notes) output.note(`  ! ${note}`);
    const dryRun = options["dry-run"] === true;
    const result = await admin.deploy(modules, { dryRun, node });
    printChanges(output, result);
    printSharing(output, result);
    const failedIndexes = dryRun ? [] : await followBackfill(output, admin, result);
    if (output.isJson) output.json(plain({ status: "success", url: admin.url, dryRun, ...result, failedIndexes }));
    else if (dryRun) output.line(hasChanges(result) ? `${admin.url} would change so; nothing was deployed.` : `${admin.url} has all of this already.`);
    else if (failedIndexes.length > 0) output.line(`Deployed to ${admin.url}; not usable: ${failedIndexes.map((name) => `index ${name}`).join(", ")}.`);
    else output.line(hasChanges(result) ? `Deployed to ${admin.url}.` : `${admin.url} had all of this already.`);
    return failedIndexes.length > 0 ? 1 : 0;
  } finally {
    await bundler.dispose();
  }
}

/** JSON has no bigint; these are counters. */
function plain(value) {
  return JSON.parse(JSON.stringify(value, (_, item) => (typeof item === "bigint" ? Number(item) : item)));
}
