/**
 * The code of a deployment on this host: archives are fetched part by part, checked against their hash and
 * unpacked into a folder of the data folder that is named by what is in it. What is there is used again.
 */

import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, readdir, rename, rm, utimes, writeFile } from "node:fs/promises";
import { dirname, join, resolve, sep } from "node:path";
import { promisify } from "node:util";
import { gunzip } from "node:zlib";

const MAGIC = "BBCODE1\n";
const UNPACKED_MAX = 1 << 30;
const KEPT = 3;

export function createCode({ data, gateway }) {
  const root = resolve(data, "code");
  const loading = new Map(); // name -> promise of its folder

  /** The folder with the code of these archives; `functions/` holds the modules. */
  async function folderOf({ archives }) {
    const name = createHash("sha256").update(archives.map(({ name: archive, hash }) => `${archive} ${hash}\n`).join("")).digest("hex").slice(0, 32);
    if (!loading.has(name)) {
      const work = load(name, archives).finally(() => loading.delete(name));
      loading.set(name, work);
    }
    return await loading.get(name);
  }

  async function load(name, archives) {
    const dir = join(root, name);
    if (existsSync(dir)) {
      await utimes(dir, new Date(), new Date());
      return dir;
    }
    await mkdir(root, { recursive: true });
    const fresh = await mkdtemp(join(root, ".new-"));
    try {
      for (const archive of archives) await unpack(await fetchArchive(archive), archive.name === "functions" ? join(fresh, "functions") : fresh);
      await rename(fresh, dir);
    } catch (error) {
      await rm(fresh, { recursive: true, force: true });
      if (!existsSync(dir)) throw error;
    }
    return dir;
  }

  async function fetchArchive({ name, hash, parts }) {
    const chunks = [];
    for (let part = 0; part < parts; part++) chunks.push(Buffer.from(await gateway.call("_system:codePart", { hash, part })));
    const bytes = Buffer.concat(chunks);
    const found = createHash("sha256").update(bytes).digest("hex");
    if (found !== hash) throw new Error(`the archive ${name} is damaged: its hash is ${found}, not ${hash}; deploy it again`);
    return bytes;
  }

  /** Removes folders of older code, but those in use. */
  async function prune(inUse) {
    const names = await readdir(root).catch(() => []);
    const old = names.filter((name) => !name.startsWith(".") && !inUse.has(join(root, name)));
    for (const name of old.slice(0, Math.max(0, old.length - KEPT))) await rm(join(root, name), { recursive: true, force: true });
  }

  return { folderOf, prune };
}

/** Writes the files of an archive below `dir`. */
export async function unpack(archive, dir) {
  const bytes = await promisify(gunzip)(archive, { maxOutputLength: UNPACKED_MAX });
  const lineEnd = bytes.indexOf(0x0a, MAGIC.length);
  if (bytes.subarray(0, MAGIC.length).toString("latin1") !== MAGIC || lineEnd < 0) throw new Error("this is no archive of Node.js code");
  let at = lineEnd + 1;
  for (const { path, size, mode } of JSON.parse(bytes.subarray(MAGIC.length, lineEnd).toString("utf8"))) {
    const file = resolve(dir, path);
    if (!file.startsWith(resolve(dir) + sep) || !Number.isInteger(size) || size < 0 || at + size > bytes.length) throw new Error(`the archive is damaged at ${path}`);
    await mkdir(dirname(file), { recursive: true });
    await writeFile(file, bytes.subarray(at, at + size), { mode: mode & 0o777 });
    at += size;
  }
}
