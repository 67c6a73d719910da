/** Routes of the application's own HTTP endpoints: the default export of `http.ts`. */

import { corsHandler, preflightHandler } from "./cors.js";

const METHODS = ["GET", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"];
// A regular expression that outlives a call would be one that calls can meet in.
const isSegment = (text) => /^(\{[A-Za-z_][A-Za-z0-9_]*\}|[^{}]*)$/.test(text);

class HttpRouter {
  constructor() {
    this.isRouter = true;
    this.routes = [];
    this.preflights = new Map(); // path -> how many routes it answers for
  }

  /** `{path, method, handler, cors?}` or `{pathPrefix, method, handler, cors?}`. */
  route({ path, pathPrefix, method, handler, cors }) {
    if (!METHODS.includes(method)) throw new TypeError(`A route needs a method: ${METHODS.join(", ")}.`);
    if (handler?.isBitBendFunction !== true || handler.kind !== "httpAction") {
      throw new TypeError("A route needs a handler made by httpAction().");
    }
    if ((path === undefined) === (pathPrefix === undefined)) throw new TypeError("A route needs either path or pathPrefix.");
    const pattern = path ?? pathPrefix;
    if (typeof pattern !== "string" || !pattern.startsWith("/")) throw new TypeError('The path of a route starts with "/".');
    if (pathPrefix !== undefined && !pathPrefix.endsWith("/")) throw new TypeError('pathPrefix ends with "/".');
    checkPattern(pattern, pathPrefix !== undefined);
    const text = path ?? `${pathPrefix}*`;
    if (this.routes.some(([other, otherMethod]) => other === text && otherMethod === method && !(method === "OPTIONS" && this.preflights.has(other)))) {
      throw new TypeError(`Two routes for ${method} ${text}.`);
    }
    if (method === "OPTIONS") this.removePreflight(text);
    this.routes.push([text, method, cors === undefined || cors === false ? handler : corsHandler(handler, cors)]);
    if (cors !== undefined && cors !== false && method !== "OPTIONS") this.addPreflight(text, method, cors);
    return this;
  }

  getRoutes() {
    return [...this.routes];
  }

  /** The browser's question before a request of another origin: answered for each path with `cors`. */
  addPreflight(text, method, cors) {
    const known = this.preflights.get(text);
    if (known !== undefined) return void known.methods.push(method);
    if (this.routes.some(([other, otherMethod]) => other === text && otherMethod === "OPTIONS")) return;
    const methods = [method];
    this.preflights.set(text, { methods });
    this.routes.push([text, "OPTIONS", preflightHandler(methods, cors)]);
  }
  removePreflight(text) {
    if (!this.preflights.delete(text)) return;
    this.routes = this.routes.filter(([other, method]) => other !== text || method !== "OPTIONS");
  }
}

function checkPattern(pattern, isPrefix) {
  const names = [];
  for (const segment of pattern.split("/")) {
    if (!isSegment(segment)) throw new TypeError(`"${pattern}": a parameter is a whole part of the path, such as /users/{id}.`);
    if (segment.startsWith("{")) names.push(segment.slice(1, -1));
  }
  if (isPrefix && names.length > 0) throw new TypeError(`"${pattern}": pathPrefix has no parameters; use path.`);
  if (new Set(names).size < names.length) throw new TypeError(`"${pattern}" names a parameter twice.`);
}

export function httpRouter() {
  return new HttpRouter();
}
