/** Calls back, a moment after files of an application changed. */

import { existsSync, readdirSync, watch } from "node:fs";
import { basename, dirname, join, relative, sep } from "node:path";

const DEBOUNCE_MS = 20;

/**
 * Watches `folders` with all below, and `setFiles(files)` besides. `onChange` is called once for changes
 * that come together. What the command line itself writes (`_generated`) does not count.
 */
export function watchFiles(folders, onChange) {
  const roots = folders.filter(existsSync);
  const watchers = roots.map((folder) => watchTree(folder, schedule));
  const extra = new Map(); // folder -> { names, watcher }
  let timer = null;

  function schedule() {
    clearTimeout(timer);
    timer = setTimeout(onChange, DEBOUNCE_MS);
  }

  return {
    /** Files outside the folders that the build read (not those of packages), or that may come. */
    setFiles(files) {
      const wanted = new Map();
      for (const file of files) {
        const isBelow = roots.some((root) => !relative(root, file).startsWith(".."));
        if (isBelow || file.includes(`${sep}node_modules${sep}`) || !existsSync(dirname(file))) continue;
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

/**
 * One watcher a folder: the recursive one of Node.js on Linux loses a file that an editor saves by renaming
 * another one over it.
 */
function watchTree(root, onChange) {
  const watchers = new Map(); // folder -> watcher

  function add(folder) {
    if (watchers.has(folder)) return;
    let watcher;
    try {
      watcher = watch(folder, (event, name) => onEvent(folder, event, name));
    } catch {
      return; // It is gone already.
    }
    watcher.on("error", () => remove(folder));
    watchers.set(folder, watcher);
    for (const entry of entriesOf(folder)) {
      if (entry.isDirectory() && isSource(entry.name)) add(join(folder, entry.name));
    }
  }

  function remove(folder) {
    for (const [path, watcher] of watchers) {
      if (path !== folder && !path.startsWith(folder + sep)) continue;
      watcher.close();
      watchers.delete(path);
    }
  }

  function onEvent(folder, event, name) {
    if (name !== null && !isSource(name)) return;
    if (event === "rename" && name !== null) {
      // A folder of that name may be gone, new, or another one than before.
      remove(join(folder, name));
      if (entriesOf(folder).some((entry) => entry.name === name && entry.isDirectory())) add(join(folder, name));
    }
    onChange();
  }

  add(root);
  return { close: () => watchers.forEach((watcher) => watcher.close()) };
}

function entriesOf(folder) {
  try {
    return readdirSync(folder, { withFileTypes: true });
  } catch {
    return [];
  }
}

/** Not what this program or npm writes, and not what editors leave for a moment. */
function isSource(name) {
  return name !== "_generated" && name !== "node_modules" && !name.startsWith(".");
}
