/**
 * A network between storage nodes that a test can cut. Each node is reached through a proxy of its own; the
 * proxy reads from the first bytes of a connection which node opened it, so that every direction of every
 * pair has a rule of its own:
 *
 *     open   bytes pass
 *     cut    connections are ended and refused
 *     stall  connections stay, nothing passes from the one to the other (and answers do not come either)
 */
import { connect, createServer } from "node:net";

/** Of the log's handshake: u64 protocol, u64 the sender's id, both little-endian. */
const HELLO_BYTES = 16;

export class Network {
  #rules = new Map(); // "from>to" -> rule
  #links = new Set(); // {from, to, near, far}
  #servers = [];

  /** `nodes`: [{id, port (the proxy's, which others dial), target (the node's own)}]. */
  async open(nodes) {
    for (const node of nodes) await this.#serve(node);
  }

  rule(from, to) {
    return this.#rules.get(`${from}>${to}`) ?? "open";
  }

  /** Sets the rule of one direction; what is connected obeys at once. */
  set(from, to, rule) {
    this.#rules.set(`${from}>${to}`, rule);
    for (const link of this.#links) if (link.from === from && link.to === to) this.#apply(link);
  }
  both(a, b, rule) {
    this.set(a, b, rule);
    this.set(b, a, rule);
  }
  /** `id` and all `others`, in both directions. */
  isolate(id, others, rule = "cut") {
    for (const other of others) if (other !== id) this.both(id, other, rule);
  }
  heal() {
    for (const key of [...this.#rules.keys()]) {
      const [from, to] = key.split(">").map(Number);
      this.set(from, to, "open");
    }
  }
  async close() {
    for (const link of this.#links) this.#end(link);
    await Promise.all(this.#servers.map((server) => new Promise((done) => server.close(done))));
  }

  async #serve({ id, port, target }) {
    const server = createServer((near) => this.#accept(id, target, near));
    this.#servers.push(server);
    await new Promise((done, fail) => server.once("error", fail).listen(port, "127.0.0.1", done));
  }

  #accept(to, target, near) {
    let hello = Buffer.alloc(0);
    near.on("error", () => near.destroy());
    const onData = (bytes) => {
      hello = Buffer.concat([hello, bytes]);
      if (hello.length < HELLO_BYTES) return;
      near.off("data", onData);
      near.pause();
      this.#link({ from: Number(hello.readBigUInt64LE(8)), to, target, near, hello });
    };
    near.on("data", onData);
  }

  #link({ from, to, target, near, hello }) {
    if (this.rule(from, to) === "cut") return near.destroy();
    const far = connect(target, "127.0.0.1");
    const link = { from, to, near, far };
    this.#links.add(link);
    for (const [one, other] of [
      [near, far],
      [far, near],
    ]) {
      one.on("data", (bytes) => {
        if (!other.write(bytes)) one.pause();
      });
      one.on("drain", () => this.rule(from, to) === "open" && other.resume());
      one.on("error", () => this.#end(link));
      one.on("close", () => this.#end(link));
    }
    far.write(hello);
    this.#apply(link);
  }

  #apply(link) {
    const rule = this.rule(link.from, link.to);
    if (rule === "cut") return this.#end(link);
    for (const socket of [link.near, link.far]) rule === "stall" ? socket.pause() : socket.resume();
  }

  #end(link) {
    this.#links.delete(link);
    link.near.destroy();
    link.far.destroy();
  }
}
