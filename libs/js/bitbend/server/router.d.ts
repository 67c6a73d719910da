import type { RegisteredHttpAction } from "./functions.js";

type Method = "GET" | "POST" | "PUT" | "DELETE" | "OPTIONS" | "PATCH";

/** Which pages of other origins may call a route and read its answer. */
export interface CorsOptions {
  /** Every origin ("*", the default), or these: "https://example.com". */
  origins?: "*" | readonly string[];
  /** Request headers that may be sent; default: those that the browser asks for. */
  headers?: readonly string[];
  /** Response headers that the page may read, besides the usual ones. */
  exposedHeaders?: readonly string[];
  /** Cookies and the like may be sent; needs a list of origins. */
  credentials?: boolean;
  /** How many seconds a browser may remember this; default 7200. */
  maxAge?: number;
}

type Route = { method: Method; handler: RegisteredHttpAction; cors?: boolean | CorsOptions } & (
  | { path: `/${string}`; pathPrefix?: undefined }
  | { pathPrefix: `/${string}`; path?: undefined }
);

export interface HttpRouter {
  /**
   * An exact path goes before one with parameters ("/users/{id}", in `ctx.params`), that before the longest prefix.
   * HEAD is answered by GET. With `cors` the browser's preflight is answered, too.
   */
  route(route: Route): HttpRouter;
  getRoutes(): [path: string, method: Method, handler: RegisteredHttpAction][];
}

/**
 * The default export of `http.ts`.
 *
 * ```ts
 * const http = httpRouter();
 * http.route({ path: "/hook", method: "POST", handler: httpAction(async (ctx, request) => new Response("ok")) });
 * export default http;
 * ```
 */
export declare function httpRouter(): HttpRouter;
