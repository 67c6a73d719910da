/** Calls back, a moment after files of an application changed. */

import { existsSync, watch } from "node:fs";
import { basename, dirname, relative, sep } from "node:path";

const DEBOUNCE_MS = 20;

/**
 * Watches `folders` with all below, and `setFiles(files)` besides. `onChange` is called once for changes
 * that come together. What the command line itself writes (`_generated`) does not count.
 */
export function watchFiles(folders, onChange) {
  const roots = folders.filter(existsSync);
  const watchers = roots.map((folder) => watch(folder, { recursive: true }, (_, name) => isSource(name) && schedule()));
  const extra = new Map(); // folder -> { names, watcher }
  let timer = null;

  function schedule() {
    clearTimeout(timer);
    timer = setTimeout(onChange, DEBOUNCE_MS);
  }

  return {
    /** Files outside the folders that the build read (not those of packages). */
    setFiles(files) {
      const wanted = new Map();
      for (const file of files) {
        const isBelow = roots.some((root) => !relative(root, file).startsWith(".."));
        if (isBelow || file.includes(`${sep}node_modules${sep}`) || !existsSync(file)) continue;
        wanted.set(dirname(file), (wanted.get(dirname(file)) ?? new Set()).add(basename(file)));
      }
      for (const [folder, { watcher }] of extra) {
        if (wanted.has(folder)) continue;
        watcher.close();
        extra.delete(folder);
      }
      for (const [folder, names] of wanted) {
        const known = extra.get(folder);
        if (known) known.names = names;
        else {
          const entry = { names };
          entry.watcher = watch(folder, (_, name) => entry.names.has(name) && schedule());
          extra.set(folder, entry);
        }
      }
    },
    close() {
      clearTimeout(timer);
      for (const watcher of watchers) watcher.close();
      for (const { watcher } of extra.values()) watcher.close();
    },
  };
}

function isSource(name) {
  if (name === null) return true;
  const parts = name.split(sep);
  return !parts.some((part) => part === "_generated" || part === "node_modules") && !parts.at(-1).startsWith(".");
}
