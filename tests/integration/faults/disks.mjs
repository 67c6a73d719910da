// Small file systems for tests, and what fills them.
import { spawnSync } from "node:child_process";
import { closeSync, mkdirSync, mkdtempSync, openSync, rmSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

export function mount(dir, megabytes) {
  mkdirSync(dir, { recursive: true });
  return spawnSync("mount", ["-t", "tmpfs", "-o", `size=${megabytes}m`, "tmpfs", dir]).status === 0;
}

/** Also where something of it is still open; it goes with that. */
export const unmount = (dir) => spawnSync("umount", ["--lazy", dir], { stdio: "ignore" });

/** Whether this process may make small file systems. */
export function canMount() {
  const dir = mkdtempSync(join(tmpdir(), "bitbend-mount-"));
  const can = mount(dir, 1);
  if (can) unmount(dir);
  rmSync(dir, { recursive: true });
  return can;
}

function takeAll(file) {
  for (let size = 1 << 20; size >= 4096; ) {
    try {
      writeSync(file, Buffer.alloc(size));
    } catch {
      size >>= 1;
    }
  }
}

/** Takes all space of the file system at `dir`; returns what gives it back. */
export function fill(dir) {
  const path = join(dir, "ballast");
  const file = openSync(path, "w");
  takeAll(file);
  closeSync(file);
  return () => rmSync(path);
}

/** As `fill`, and what is given back there later is taken too. */
export function keepFull(dir) {
  const path = join(dir, "ballast");
  const file = openSync(path, "w");
  takeAll(file);
  const timer = setInterval(() => takeAll(file), 10);
  let isFull = true;
  return () => {
    if (!isFull) return;
    isFull = false;
    clearInterval(timer);
    closeSync(file);
    rmSync(path, { force: true });
  };
}
