// Routes of http.ts: collected by the deploy, looked up for each request of an endpoint.
"use strict";

const { bb } = internals;

const ROUTES_MAX = 2000;
const METHODS = new Set(["GET", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"]);

// [{path, method}] of a router's getRoutes().
bb.readRoutes = (router, refuse) => {
  const routes = router.getRoutes().map(([path, method]) => ({ path, method }));
  if (routes.length > ROUTES_MAX || !routes.every(({ path, method }) => typeof path === "string" && path.startsWith("/") && METHODS.has(method))) {
    refuse(`http.ts: routes must have a path and a method, and there may be ${ROUTES_MAX} at most.`);
  }
  return routes;
};

const shownRoute = ({ method, path }) => `${method} ${path}`;

// A handler has no name: when the text of http.ts is another one, each that stays counts as changed.
bb.planRoutes = (plan, wanted, changedModules, known) => {
  const before = new Set(known.map(shownRoute));
  const now = wanted.map(shownRoute);
  plan.routes = {
    added: now.filter((route) => !before.has(route)),
    changed: changedModules.has("http.js") ? now.filter((route) => before.has(route)) : [],
    removed: [...before].filter((route) => !now.includes(route)),
  };
};

const decoded = (segment) => {
  try {
    return decodeURIComponent(segment);
  } catch {
    return segment;
  }
};

// The parameters when `path` fits `pattern`, else null.
const fit = (pattern, path) => {
  if (pattern.endsWith("*")) {
    return path.startsWith(pattern.slice(0, -1)) ? {} : null;
  }
  if (!pattern.includes("{")) {
    return pattern === path ? {} : null;
  }
  const parts = pattern.split("/");
  const given = path.split("/");
  if (parts.length !== given.length) {
    return null;
  }
  const params = {};
  for (const [i, part] of parts.entries()) {
    if (part.startsWith("{") && part.endsWith("}")) {
      if (given[i] === "") {
        return null;
      }
      params[part.slice(1, -1)] = decoded(given[i]);
    } else if (part !== given[i]) {
      return null;
    }
  }
  return params;
};

// Smaller goes first: exact paths; then those with parameters, the one whose parameter comes later first;
// then prefixes, the longest first.
const rank = (pattern) =>
  pattern.endsWith("*") ? 1e6 - pattern.length : pattern.includes("{") ? 1e5 - pattern.indexOf("{") : 0;

// {version, route: {path, method}, params}; or {allow: [methods]}: the path is there for others only.
const httpRoute = async (frame, db, { method, path }) => {
  const current = await db.getByKey("_deployment", "current");
  const routes = current?.routes ?? [];
  const wanted = method === "HEAD" ? "GET" : method;
  let best = null;
  const allow = new Set();
  for (const route of routes) {
    const params = fit(route.path, path);
    if (params === null) {
      continue;
    }
    allow.add(route.method);
    if (route.method === wanted && (best === null || rank(route.path) < rank(best.route.path))) {
      best = { version: Number(current.version), route, params };
    }
  }
  if (best !== null) {
    return best;
  }
  if (allow.has("GET")) {
    allow.add("HEAD");
  }
  return { allow: [...allow].sort(), hasRoutes: routes.length > 0 };
};

bb.routeFunctions = [["_system:httpRoute", { kind: "query", run: httpRoute }]];
