/** What `usePaginatedQuery` sends and `.paginate()` gives, for `args` and `returns`. */

import { v } from "../values/validators.js";

export const paginationOptsValidator = v.object({
  cursor: v.nullable(v.string()),
  numItems: v.number(),
  endCursor: v.optional(v.nullable(v.string())),
  // Compatible clients send these; `.paginate()` does not need them.
  id: v.optional(v.number()),
  maximumRowsRead: v.optional(v.number()),
  maximumBytesRead: v.optional(v.number()),
});

export function paginationResultValidator(document) {
  return v.object({ page: v.array(document), isDone: v.boolean(), continueCursor: v.string() });
}
