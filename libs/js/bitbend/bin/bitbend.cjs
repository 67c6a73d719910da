#!/usr/bin/env node
// Written so that any Node.js can parse it: one that is too old gets a sentence, not a syntax error.
"use strict";
var version = process.versions.node.split(".").map(Number);
if (version[0] < 20 || (version[0] === 20 && version[1] < 19)) {
  console.error("bitbend needs Node.js 20.19 or newer; this is " + process.version + ". Install a newer one from https://nodejs.org and run the command again.");
  process.exit(1);
}
import("../cli/main.js").then(function (cli) {
  return cli.main(process.argv.slice(2));
});
