/** Answers that pages of other origins may read. */

const MAX_AGE_S = 7200;

/** `true`: every origin. Else `{origins?: "*" or a list, headers?, exposedHeaders?, credentials?, maxAge?}`. */
function readOptions(cors) {
  const given = cors === true ? {} : cors;
  if (typeof given !== "object" || given === null) throw new TypeError("cors is true or { origins: [..] }.");
  const { origins = "*", headers, exposedHeaders = [], credentials = false, maxAge = MAX_AGE_S } = given;
  if (origins !== "*" && !(Array.isArray(origins) && origins.every((origin) => /^https?:\/\/[^/]+$/.test(origin)))) {
    throw new TypeError('cors.origins is "*" or a list of origins such as "https://example.com".');
  }
  if (credentials && origins === "*") throw new TypeError("cors.credentials needs cors.origins to be a list: no page may use another's cookies.");
  return { origins, headers, exposedHeaders, credentials, maxAge };
}

function addOrigin(headers, { origins, credentials, exposedHeaders }, origin) {
  if (origins === "*") headers.set("Access-Control-Allow-Origin", "*");
  else {
    headers.append("Vary", "Origin");
    if (!origins.includes(origin)) return;
    headers.set("Access-Control-Allow-Origin", origin);
  }
  if (credentials) headers.set("Access-Control-Allow-Credentials", "true");
  if (exposedHeaders.length > 0) headers.set("Access-Control-Expose-Headers", exposedHeaders.join(", "));
}

/** The handler, with headers on its answer that say who may read it. */
export function corsHandler(handler, cors) {
  const options = readOptions(cors);
  return {
    ...handler,
    async invoke(ctx, request) {
      const response = await handler.invoke(ctx, request);
      const open = new Response(response.body, response); // its headers can be changed, whatever made it
      addOrigin(open.headers, options, request.headers.get("Origin"));
      return open;
    },
  };
}

/** Answers what a browser asks before it sends such a request. `methods` may grow. */
export function preflightHandler(methods, cors) {
  const options = readOptions(cors);
  return {
    isBitBendFunction: true,
    kind: "httpAction",
    visibility: "public",
    exportArgs: () => null,
    exportReturns: () => null,
    async invoke(_, request) {
      const headers = new Headers({ "Access-Control-Allow-Methods": methods.join(", "), "Access-Control-Max-Age": String(options.maxAge) });
      const asked = options.headers?.join(", ") ?? request.headers.get("Access-Control-Request-Headers");
      if (asked) headers.set("Access-Control-Allow-Headers", asked);
      addOrigin(headers, options, request.headers.get("Origin"));
      return new Response(null, { status: 204, headers });
    },
  };
}
