/** Routes of the application's own HTTP endpoints: the default export of `http.ts`. */

const METHODS = ["GET", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"];

class HttpRouter {
  constructor() {
    this.isRouter = true;
    this.routes = [];
  }

  /** `{path, method, handler}` or `{pathPrefix, method, handler}`. */
  route({ path, pathPrefix, method, handler }) {
    if (!METHODS.includes(method)) throw new TypeError(`A route needs a method: ${METHODS.join(", ")}.`);
    if (handler?.isBitBendFunction !== true || handler.kind !== "httpAction") {
      throw new TypeError("A route needs a handler made by httpAction().");
    }
    if ((path === undefined) === (pathPrefix === undefined)) throw new TypeError("A route needs either path or pathPrefix.");
    const pattern = path ?? pathPrefix;
    if (typeof pattern !== "string" || !pattern.startsWith("/")) throw new TypeError('The path of a route starts with "/".');
    if (pathPrefix !== undefined && !pathPrefix.endsWith("/")) throw new TypeError('pathPrefix ends with "/".');
    const text = path ?? `${pathPrefix}*`;
    if (this.routes.some(([other, otherMethod]) => other === text && otherMethod === method)) {
      throw new TypeError(`Two routes for ${method} ${text}.`);
    }
    this.routes.push([text, method, handler]);
    return this;
  }

  getRoutes() {
    return [...this.routes];
  }
}

export function httpRouter() {
  return new HttpRouter();
}
