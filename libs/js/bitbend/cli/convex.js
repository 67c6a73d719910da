/** Applications written for the npm package convex: what their functions import is here by other names. */

import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const PACKAGE_DIR = resolve(dirname(fileURLToPath(import.meta.url)), "..");

/** "convex/server" and "convex/values" of functions, and of the packages that help them. */
export const convexNames = {
  name: "convex-names",
  setup(build) {
    build.onResolve({ filter: /^convex\/(server|values)$/ }, ({ path }) => ({ path: join(PACKAGE_DIR, `${path}.js`), sideEffects: false }));
  },
};
