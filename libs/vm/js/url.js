// URL and URLSearchParams over the parser of url_parse.js and url_machine.js.
"use strict";

const { FORM, USERINFO, SPECIAL, encodeAs, percentDecode, utf8, fromUtf8, parse, serialise, pathText } = internals.url;

const formEncode = (text) => encodeAs(text, FORM).replaceAll("%20", "+");
const formDecode = (text) => fromUtf8(percentDecode(utf8(text.replaceAll("+", " "))));
const readForm = (text) =>
  text
    .split("&")
    .filter((part) => part !== "")
    .map((part) => {
      const equals = part.indexOf("=");
      return equals < 0
        ? [formDecode(part), ""]
        : [formDecode(part.slice(0, equals)), formDecode(part.slice(equals + 1))];
    });

const needed = (count, wanted, name) => {
  if (count < wanted) {
    throw new TypeError(`URLSearchParams.${name} takes ${wanted} argument${wanted === 1 ? "" : "s"}`);
  }
};

let link; // (params, changed): calls `changed(text)` when the list changes
let refill; // (params, text): the list of another query
class URLSearchParams {
  #list = [];
  #changed = undefined;
  static {
    link = (params, changed) => {
      params.#changed = changed;
    };
    refill = (params, text) => {
      params.#list = readForm(text);
    };
  }
  constructor(init = "") {
    if (typeof init === "object" || typeof init === "function") {
      if (init === null) {
        this.#list = readForm("null");
      } else if (typeof init[Symbol.iterator] === "function") {
        for (const pair of init) {
          const items = [...pair];
          if (items.length !== 2) {
            throw new TypeError("URLSearchParams: each pair must have a name and a value");
          }
          this.#list.push([String(items[0]).toWellFormed(), String(items[1]).toWellFormed()]);
        }
      } else {
        for (const name of Object.keys(init)) {
          this.#list.push([name.toWellFormed(), String(init[name]).toWellFormed()]);
        }
      }
    } else {
      const text = String(init);
      this.#list = readForm(text[0] === "?" ? text.slice(1) : text);
    }
  }
  #update() {
    this.#changed?.(this.toString());
  }
  get size() {
    return this.#list.length;
  }
  append(name, value) {
    needed(arguments.length, 2, "append");
    this.#list.push([String(name).toWellFormed(), String(value).toWellFormed()]);
    this.#update();
  }
  delete(name, value) {
    needed(arguments.length, 1, "delete");
    this.#list = this.#list.filter(
      ([n, v]) => n !== String(name) || (value !== undefined && v !== String(value)),
    );
    this.#update();
  }
  get(name) {
    needed(arguments.length, 1, "get");
    return this.#list.find(([n]) => n === String(name))?.[1] ?? null;
  }
  getAll(name) {
    needed(arguments.length, 1, "getAll");
    return this.#list.filter(([n]) => n === String(name)).map(([, v]) => v);
  }
  has(name, value) {
    needed(arguments.length, 1, "has");
    return this.#list.some(([n, v]) => n === String(name) && (value === undefined || v === String(value)));
  }
  set(name, value) {
    needed(arguments.length, 2, "set");
    const first = this.#list.findIndex(([n]) => n === String(name));
    if (first < 0) {
      this.#list.push([String(name).toWellFormed(), String(value).toWellFormed()]);
    } else {
      this.#list[first][1] = String(value).toWellFormed();
      this.#list = this.#list.filter(([n], index) => index <= first || n !== String(name));
    }
    this.#update();
  }
  sort() {
    this.#list.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
    this.#update();
  }
  forEach(callback, self) {
    for (const [name, value] of this) {
      Reflect.apply(callback, self, [value, name, this]);
    }
  }
  *entries() {
    for (let i = 0; i < this.#list.length; i++) {
      yield [this.#list[i][0], this.#list[i][1]];
    }
  }
  *keys() {
    for (const [name] of this) {
      yield name;
    }
  }
  *values() {
    for (const [, value] of this) {
      yield value;
    }
  }
  [Symbol.iterator]() {
    return this.entries();
  }
  toString() {
    return this.#list.map(([name, value]) => `${formEncode(name)}=${formEncode(value)}`).join("&");
  }
  get [Symbol.toStringTag]() {
    return "URLSearchParams";
  }
}

const invalid = (text) => {
  const error = new TypeError("Invalid URL");
  Object.defineProperty(error, "code", { value: "ERR_INVALID_URL", enumerable: false });
  Object.defineProperty(error, "input", { value: text, enumerable: false });
  return error;
};

const parseWithBase = (input, base) => {
  const parsedBase = base === undefined ? undefined : parse(String(base));
  return base !== undefined && parsedBase === undefined ? undefined : parse(String(input), parsedBase);
};

class URL {
  #url;
  #params;
  constructor(input, base) {
    const url = arguments.length === 0 ? undefined : parseWithBase(input, base);
    if (url === undefined) {
      throw invalid(String(input));
    }
    this.#url = url;
    this.#params = new URLSearchParams(url.query ?? "");
    link(this.#params, (text) => {
      this.#url.query = text === "" ? null : text;
    });
  }
  static canParse(input, base) {
    return parseWithBase(input, base) !== undefined;
  }
  static parse(input, base) {
    return URL.canParse(input, base) ? new URL(input, base) : null;
  }
  // The parser changes a copy, which counts when it succeeds.
  #set(text, state, change = {}) {
    const path = this.#url.path;
    const copy = { ...this.#url, path: typeof path === "string" ? path : [...path], ...change };
    const changed = parse(text, undefined, copy, state);
    if (changed !== undefined) {
      this.#url = changed;
    }
  }
  #cannotHaveUser() {
    return this.#url.host === null || this.#url.host === "" || this.#url.scheme === "file";
  }
  get href() {
    return serialise(this.#url);
  }
  set href(text) {
    const url = parse(String(text));
    if (url === undefined) {
      throw invalid(String(text));
    }
    this.#url = url;
    refill(this.#params, url.query ?? "");
  }
  get origin() {
    const { scheme, host, port } = this.#url;
    return SPECIAL.has(scheme) && scheme !== "file" ? `${scheme}://${host}${port === null ? "" : ":" + port}` : "null";
  }
  get protocol() {
    return this.#url.scheme + ":";
  }
  set protocol(text) {
    this.#set(String(text) + ":", "scheme start");
  }
  get username() {
    return this.#url.username;
  }
  set username(text) {
    if (!this.#cannotHaveUser()) {
      this.#url.username = encodeAs(String(text), USERINFO);
    }
  }
  get password() {
    return this.#url.password;
  }
  set password(text) {
    if (!this.#cannotHaveUser()) {
      this.#url.password = encodeAs(String(text), USERINFO);
    }
  }
  get host() {
    const { host, port } = this.#url;
    return host === null ? "" : port === null ? host : `${host}:${port}`;
  }
  set host(text) {
    if (typeof this.#url.path !== "string") {
      this.#set(String(text), "host");
    }
  }
  get hostname() {
    return this.#url.host ?? "";
  }
  set hostname(text) {
    if (typeof this.#url.path !== "string") {
      this.#set(String(text), "hostname");
    }
  }
  get port() {
    return this.#url.port ?? "";
  }
  set port(text) {
    if (this.#cannotHaveUser()) {
      return;
    }
    if (String(text) === "") {
      this.#url.port = null;
    } else {
      this.#set(String(text), "port");
    }
  }
  get pathname() {
    return pathText(this.#url);
  }
  set pathname(text) {
    if (typeof this.#url.path !== "string") {
      this.#set(String(text), "path start", { path: [] });
    }
  }
  get search() {
    return this.#url.query === null || this.#url.query === "" ? "" : "?" + this.#url.query;
  }
  set search(value) {
    const text = String(value);
    if (text === "") {
      this.#url.query = null;
    } else {
      this.#set(text[0] === "?" ? text.slice(1) : text, "query", { query: "" });
    }
    refill(this.#params, this.#url.query ?? "");
  }
  get searchParams() {
    return this.#params;
  }
  get hash() {
    return this.#url.fragment === null || this.#url.fragment === "" ? "" : "#" + this.#url.fragment;
  }
  set hash(value) {
    const text = String(value);
    if (text === "") {
      this.#url.fragment = null;
    } else {
      this.#set(text[0] === "#" ? text.slice(1) : text, "fragment", { fragment: "" });
    }
  }
  toString() {
    return this.href;
  }
  toJSON() {
    return this.href;
  }
  get [Symbol.toStringTag]() {
    return "URL";
  }
}

Object.assign(internals.web, { URL, URLSearchParams });
