/**
 * Archives of Node.js code (docs/formats/code.md): "BBCODE1\n", a line of JSON with path, size and mode of
 * each file, then the files' bytes in that order; all of it compressed with gzip. Named by their SHA-256.
 */

import { createHash } from "node:crypto";
import { gzipSync } from "node:zlib";

import { CliError } from "./output.js";

const MAGIC = "BBCODE1\n";
const PART_BYTES = 1 << 19;
export const ARCHIVE_BYTES_MAX = 128 << 20;

/** Of files `{path, bytes, mode}`: `{name, hash, size, bytes, parts}`. */
export function pack(name, files) {
  const index = JSON.stringify(files.map(({ path, bytes, mode = 0o644 }) => ({ path, size: bytes.length, mode })));
  const bytes = gzipSync(Buffer.concat([Buffer.from(`${MAGIC}${index}\n`), ...files.map((file) => file.bytes)]));
  if (bytes.length > ARCHIVE_BYTES_MAX) {
    throw new CliError(`${name} has ${megabytes(bytes.length)} MB of Node.js code, compressed; the limit is ${megabytes(ARCHIVE_BYTES_MAX)} MB. Use a smaller package.`);
  }
  return { name, hash: createHash("sha256").update(bytes).digest("hex"), size: bytes.length, parts: Math.ceil(bytes.length / PART_BYTES), bytes };
}

/** Sends what the deployment does not have, part by part; returns what a deploy names. */
export async function uploadArchives(admin, archives) {
  if (archives.length === 0) return [];
  const missing = new Set(await admin.call("_system:missingCode", { hashes: archives.map(({ hash }) => hash) }));
  for (const { hash, parts, bytes } of archives.filter((archive) => missing.has(archive.hash))) {
    for (let part = 0; part < parts; part++) {
      const slice = bytes.subarray(part * PART_BYTES, (part + 1) * PART_BYTES);
      await admin.call("_system:putCode", { hash, part, parts, bytes: new Uint8Array(slice).buffer });
    }
  }
  return archives.map(({ name, hash, size, parts }) => ({ name, hash, size, parts }));
}

/** Removes archives that no deployment uses any more. */
export async function dropArchives(admin, hashes) {
  for (const hash of hashes) {
    while (!(await admin.call("_system:dropCode", { hash })).isDone);
  }
}

const megabytes = (bytes) => (bytes / (1 << 20)).toFixed(1);
