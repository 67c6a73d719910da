/**
 * The ways between processes of one suite that a test can cut one by one: `cut` ends and refuses connections from
 * one process to another, `stall` lets them stand and lets nothing pass. Each process that others dial stands behind
 * a proxy, which asks the kernel whose a connection is.
 */
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { connect, createServer } from "node:net";

const hexPort = (port) => port.toString(16).toUpperCase().padStart(4, "0");

/** The kernel's number of the socket at the other end of a connection to `port` of this machine. */
function inodeOf(fromPort, port) {
  for (const line of readFileSync("/proc/net/tcp", "utf8").split("\n")) {
    const [, local, remote, , , , , , , inode] = line.trim().split(/\s+/);
    if (local?.endsWith(`:${hexPort(fromPort)}`) && remote.endsWith(`:${hexPort(port)}`)) return inode;
  }
  return undefined;
}

function owns(pid, inode) {
  try {
    return readdirSync(`/proc/${pid}/fd`).some((fd) => {
      try {
        return readlinkSync(`/proc/${pid}/fd/${fd}`) === `socket:[${inode}]`;
      } catch {
        return false; // closed meanwhile
      }
    });
  } catch {
    return false; // it has ended
  }
}

export class Ways {
  #rules = []; // {from, to, rule}
  #links = new Set(); // {to, inode, near, far}
  #servers = [];
  #pidOf;

  /** `pidOf(name)`: the process of that name now. */
  use(pidOf) {
    this.#pidOf = pidOf;
  }

  /** A proxy at `port` for the process `name`, which listens at `target`. */
  async open(name, port, target) {
    const server = createServer((near) => this.#accept(name, port, target, near));
    this.#servers.push(server);
    await new Promise((done, fail) => server.once("error", fail).listen(port, "127.0.0.1", done));
  }

  set(from, to, rule) {
    this.#rules.push({ from, to, rule });
    for (const link of this.#links) this.#obey(link);
  }
  heal() {
    this.#rules = [];
    for (const link of this.#links) this.#obey(link);
  }
  async close() {
    for (const link of this.#links) this.#end(link);
    await Promise.all(this.#servers.map((server) => new Promise((done) => server.close(done))));
  }

  #accept(to, port, target, near) {
    near.on("error", () => near.destroy());
    const link = { to, inode: inodeOf(near.remotePort, port), near, far: connect(target, "127.0.0.1") };
    this.#links.add(link);
    for (const [one, other] of [
      [link.near, link.far],
      [link.far, link.near],
    ]) {
      one.on("data", (bytes) => {
        if (!other.write(bytes)) one.pause();
      });
      one.on("drain", () => this.#rule(link) === "open" && other.resume());
      one.on("error", () => this.#end(link));
      one.on("close", () => this.#end(link));
    }
    this.#obey(link);
  }

  #rule({ to, inode }) {
    return this.#rules.find((one) => one.to === to && owns(this.#pidOf(one.from), inode))?.rule ?? "open";
  }

  #obey(link) {
    const rule = this.#rule(link);
    if (rule === "cut") return this.#end(link);
    for (const socket of [link.near, link.far]) rule === "stall" ? socket.pause() : socket.resume();
  }

  #end(link) {
    this.#links.delete(link);
    link.near.destroy();
    link.far.destroy();
  }
}
