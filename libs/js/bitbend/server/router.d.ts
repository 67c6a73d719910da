import type { RegisteredHttpAction } from "./functions.js";

type Method = "GET" | "POST" | "PUT" | "DELETE" | "OPTIONS" | "PATCH";
type Route = { method: Method; handler: RegisteredHttpAction } & (
  | { path: `/${string}`; pathPrefix?: undefined }
  | { pathPrefix: `/${string}`; path?: undefined }
);

export interface HttpRouter {
  /** An exact path goes before the longest prefix. */
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
