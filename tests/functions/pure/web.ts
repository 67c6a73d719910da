// The web's globals that queries and mutations have.

const hex = (bytes: ArrayBuffer | Uint8Array) => Array.from(new Uint8Array(bytes as ArrayBuffer), (b) => b.toString(16).padStart(2, "0")).join("");
const nameOf = (f: () => unknown) => {
  try { return f(); } catch (e) { return (e as Error).name; }
};

export function textEncoder() {
  const into = new Uint8Array(5);
  const { read, written } = new TextEncoder().encodeInto("añ😀z", into);
  return [Array.from(new TextEncoder().encode("añ😀\ud800")), read, written, Array.from(into), new TextEncoder().encoding];
}
export function textDecoder() {
  const d = (b: number[], o = {}) => nameOf(() => new TextDecoder("utf-8", o).decode(new Uint8Array(b)));
  return [d([0xef, 0xbb, 0xbf, 65]), d([0xef, 0xbb, 0xbf, 65], { ignoreBOM: true }), d([0xf0, 0x9f, 0x98]), d([255], { fatal: true }), new TextDecoder("UTF8").encoding];
}
export function textDecoderStreams() {
  const d = new TextDecoder();
  return [..."añ😀"].map((c) => Array.from(new TextEncoder().encode(c), (b) => d.decode(new Uint8Array([b]), { stream: true })).join("|")).concat(d.decode());
}
export function base64() {
  return [btoa("hello"), atob("aGVsbG8="), atob(" aGVs\nbG8 "), btoa("\u00ff"), nameOf(() => btoa("€")), nameOf(() => atob("a")), nameOf(() => atob("a*=="))];
}
export function urlParts() {
  const u = new URL("https://user:pa%20ss@ex.com:8080/a/../b/./c?x=1&x=2#frag");
  return [u.href, u.origin, u.host, u.hostname, u.port, u.pathname, u.search, u.hash, u.username, u.password, u.searchParams.getAll("x")];
}
export function urlRelative() {
  return ["../x", "//other/y", "?q", "#h", "/root", "a b", "http:z"].map((t) => new URL(t, "http://host/dir/file?old#f").href);
}
export function urlSetters() {
  const u = new URL("http://a/b");
  u.protocol = "https"; u.hostname = "ex.org"; u.port = "443"; u.pathname = "/ä b"; u.search = "k=v w"; u.hash = "x y";
  u.searchParams.append("n", "1&2");
  return [u.href, u.port, JSON.stringify(u)];
}
export function urlHosts() {
  return ["http://EXAMPLE.com", "http://0x7f.1/", "http://[::1]:80/", "http://1.2.3", "file:///C:/x/../y", "data:text/plain,x", "http://a b/", "http://user@/x", "nope", "http://ex.com:99999/"].map((t) => nameOf(() => new URL(t).href));
}
export function urlStatics() {
  return [URL.canParse("http://a"), URL.canParse("a"), URL.canParse("a", "http://b"), URL.parse("x")];
}
export function searchParams() {
  const p = new URLSearchParams("?b=2&a=1&a=%20x+y&c");
  p.append("d", "ä&=");
  p.delete("c");
  p.set("a", "only");
  p.sort();
  return [String(p), p.get("a"), p.has("zz"), p.size, [...p.keys()], [...new URLSearchParams({ x: "1" })], String(new URLSearchParams([["k", "v"]]))];
}
export function structuredClones() {
  const o: any = { m: new Map([[1, new Set(["a"])]]), d: new Date(5), r: /x/gi, b: new Uint8Array([1, 2]), n: 5n, e: new RangeError("x"), u: undefined, h: [1, , 3] };
  o.self = o;
  const c = structuredClone(o);
  return [c !== o, c.self === c, [...c.m.get(1)], c.d.getTime(), String(c.r), Array.from(c.b), c.n, c.e.name, c.e instanceof RangeError, "u" in c, 1 in c.h];
}
export function structuredCloneErrors() {
  return [() => 1, Symbol("x"), new WeakMap(), { f() {} }].map((v) => nameOf(() => structuredClone(v)));
}
export function abortControllers() {
  const c = new AbortController();
  const log: unknown[] = [];
  c.signal.addEventListener("abort", (e) => log.push(e.type, c.signal.aborted));
  c.signal.onabort = () => log.push("on");
  c.abort(new Error("why"));
  c.abort();
  return [log, c.signal.reason.message, nameOf(() => c.signal.throwIfAborted()), AbortSignal.abort().reason.name, AbortSignal.any([c.signal]).aborted];
}
export function events() {
  const t = new EventTarget();
  const log: unknown[] = [];
  const once = () => log.push("once");
  t.addEventListener("x", once, { once: true });
  t.addEventListener("x", { handleEvent: (e: Event) => { log.push(e.type, e.cancelable); e.preventDefault(); } });
  t.addEventListener("x", (e) => { log.push((e as CustomEvent).detail); e.stopImmediatePropagation(); });
  t.addEventListener("x", () => log.push("never"));
  const r = t.dispatchEvent(new CustomEvent("x", { detail: 7, cancelable: true }));
  t.removeEventListener("x", once);
  return [r, t.dispatchEvent(new Event("y")), log];
}
export function domExceptions() {
  const e = new DOMException("m", "AbortError");
  return [e.name, e.message, e.code, e instanceof Error, e instanceof DOMException, String(e), new DOMException().name];
}
export async function digests() {
  const data = new TextEncoder().encode("abc");
  const out: string[] = [];
  for (const name of ["SHA-1", "SHA-256", "SHA-384", "SHA-512", "sha-256"]) out.push(hex(await crypto.subtle.digest(name, data)));
  out.push(hex(await crypto.subtle.digest({ name: "SHA-512" }, new Uint8Array(300).fill(7).buffer)));
  return out;
}
export async function digestsOfManyLengths() {
  const out: string[] = [];
  for (const n of [0, 1, 55, 56, 63, 64, 65, 111, 112, 119, 127, 128, 129, 1000]) {
    for (const name of ["SHA-1", "SHA-384", "SHA-512"]) out.push(hex(await crypto.subtle.digest(name, new Uint8Array(n).map((_, i) => i * 7))).slice(0, 16));
  }
  return out;
}
export async function hmacs() {
  const out: unknown[] = [];
  for (const hash of ["SHA-1", "SHA-256", "SHA-384", "SHA-512"]) {
    for (const size of [3, 64, 200]) {
      const key = await crypto.subtle.importKey("raw", new Uint8Array(size).fill(size), { name: "HMAC", hash }, false, ["sign", "verify"]);
      const signature = await crypto.subtle.sign("HMAC", key, new TextEncoder().encode("message"));
      out.push(hex(signature), await crypto.subtle.verify("HMAC", key, signature, new TextEncoder().encode("message")), await crypto.subtle.verify("HMAC", key, new Uint8Array(signature).fill(0), new TextEncoder().encode("message")));
      out.push([key.type, key.extractable, key.usages, (key.algorithm as HmacKeyAlgorithm).name]);
    }
  }
  return out;
}
export async function hmacKeyRules() {
  const raw = new Uint8Array(32).fill(1);
  const fail = async (f: () => Promise<unknown>) => { try { return await f(); } catch (e) { return (e as Error).name; } };
  const signOnly = await crypto.subtle.importKey("raw", raw, { name: "HMAC", hash: "SHA-256" }, true, ["sign"]);
  return [
    hex(await crypto.subtle.exportKey("raw", signOnly)),
    await fail(() => crypto.subtle.verify("HMAC", signOnly, raw, raw)),
    await fail(() => crypto.subtle.importKey("raw", new Uint8Array(0), { name: "HMAC", hash: "SHA-256" }, true, ["sign"])),
    await fail(() => crypto.subtle.importKey("raw", raw, { name: "HMAC", hash: "SHA-256" }, true, [])),
    await fail(async () => crypto.subtle.exportKey("raw", await crypto.subtle.importKey("raw", raw, { name: "HMAC", hash: "SHA-256" }, false, ["sign"]))),
  ];
}
export function randomShapes() {
  const uuid = crypto.randomUUID();
  const view = crypto.getRandomValues(new Uint32Array(4));
  const r = Math.random();
  return [/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/.test(uuid), view.length, new Set(view).size, r >= 0 && r < 1, nameOf(() => crypto.getRandomValues(new Float32Array(1) as any)), nameOf(() => crypto.getRandomValues(new Uint8Array(65537)))];
}
export function consoleHasAllLevels() {
  return ["log", "info", "debug", "warn", "error", "table", "dir", "trace", "assert", "count", "group", "groupEnd", "time", "timeEnd", "clear", "dirxml", "timeStamp", "profile", "profileEnd"].map((n) => typeof (console as any)[n]);
}
export function typeofGlobals() {
  return ["queueMicrotask", "structuredClone", "URL", "URLSearchParams", "TextEncoder", "AbortController", "Event", "EventTarget", "DOMException", "fetch", "setTimeout", "Headers", "Request", "Response", "Blob", "FormData", "ReadableStream", "WeakRef", "FinalizationRegistry", "globalThis"].map((n) => `${n}:${typeof (globalThis as any)[n]}`);
}
export function instanceofAbsentClasses() {
  const x: unknown = { a: 1 };
  return [typeof Blob === "function" && x instanceof Blob, typeof Response === "function" && x instanceof Response, typeof FormData === "function" && x instanceof FormData, typeof ReadableStream === "function" && x instanceof ReadableStream, typeof Headers === "function" && x instanceof Headers];
}
export function globalAliases() {
  return [globalThis.globalThis === globalThis, typeof globalThis.Array, "undefined" in globalThis];
}
export function weakRefs() {
  const o = { a: 1 };
  const registry = new FinalizationRegistry(() => {});
  registry.register(o, 1);
  return [new WeakRef(o).deref() === o, Object.prototype.toString.call(new WeakRef(o))];
}
