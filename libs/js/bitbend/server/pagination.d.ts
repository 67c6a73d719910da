/** Validators of what `.paginate()` takes and gives. */

import type { Infer, Validator } from "../values/index.js";
import type { PaginationOptions, PaginationResult } from "./database.js";

/**
 * What `usePaginatedQuery` sends as `paginationOpts`.
 *
 * ```ts
 * export const list = query({
 *   args: { paginationOpts: paginationOptsValidator },
 *   handler: (ctx, { paginationOpts }) => ctx.db.query("messages").order("desc").paginate(paginationOpts),
 * });
 * ```
 */
export declare const paginationOptsValidator: Validator<PaginationOptions>;

/** What `.paginate()` gives, with documents that this validator accepts. */
export declare function paginationResultValidator<Document extends Validator<any, "required">>(
  document: Document,
): Validator<PaginationResult<Infer<Document>>>;
