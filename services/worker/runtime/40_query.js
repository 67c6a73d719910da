// ctx.db.query(table): what is asked, and how its rows are fetched.
"use strict";

const { bb } = internals;
const { op } = bb;

const PREFETCH_FIRST = 16;
const PREFETCH_MAX = 1000;

// A method that was taken out of its object: `const { eq } = q`.
const lost = (name, what) => bb.fail("BadQuery", `${name} does not know what it belongs to: call it on ${what}.`);

// q of withIndex: equalities, then bounds. What does not fit the index is said by the host.
class IndexRange {
  #steps = [];
  static #add(range, name, field, value) {
    try {
      range.#steps.push([name, field, value]);
    } catch {
      lost(name, 'q, as in withIndex("by_field", (q) => q.eq("field", value))');
    }
    return range;
  }
  static of(table, index, build) {
    const range = new IndexRange();
    if (build === undefined) {
      return range.#steps;
    }
    if (typeof build !== "function") {
      bb.fail("BadQuery", `withIndex("${index}") on "${table}" takes a function, such as q => q.eq("field", value).`);
    }
    build(range);
    return range.#steps;
  }
  eq(field, value) {
    return IndexRange.#add(this, "eq", field, value);
  }
  gt(field, value) {
    return IndexRange.#add(this, "gt", field, value);
  }
  gte(field, value) {
    return IndexRange.#add(this, "gte", field, value);
  }
  lt(field, value) {
    return IndexRange.#add(this, "lt", field, value);
  }
  lte(field, value) {
    return IndexRange.#add(this, "lte", field, value);
  }
}
const rangeOf = IndexRange.of;
bb.seal(IndexRange);

const countArgument = (name, value) => {
  if (typeof value !== "number" || !Number.isInteger(value) || value < 0) {
    bb.fail("BadQuery", `${name} takes a whole number that is not negative, it got ${String(value)}.`);
  }
  return value;
};

// A page is [scan, documents, isDone]; of a view its documents are shown in another form.
const shownPage = (spec, page) => {
  page[1] = page[1].map(spec.view);
  return page;
};

const shown = (spec, page) => {
  if (spec.view === null) {
    return page;
  }
  return page instanceof Promise ? page.then((rows) => shownPage(spec, rows)) : shownPage(spec, page);
};

// The first page of a scan.
const begin = (spec, want, prefetch) =>
  shown(spec, bb.call(
    spec.frame, op.SCAN, spec.access, spec.table, spec.index, spec.range, spec.order === "desc", want, prefetch,
  ));

const goOn = (spec, scan, want, prefetch) => shown(spec, bb.call(spec.frame, op.SCAN_NEXT, scan, want, prefetch));

const passes = (spec, document) => spec.filters.every((filter) => filter.test(document));

const collect = async (spec) => {
  let [scan, documents, isDone] = await begin(spec, 0, 0);
  while (!isDone) {
    const page = await goOn(spec, scan, 0, 0);
    documents = documents.concat(page[1]);
    isDone = page[2];
  }
  return spec.filters.length === 0 ? documents : documents.filter((document) => passes(spec, document));
};

// One row at a time from pages that grow: rows that are fetched and not looked at are not read.
const eachRow = async (spec, visit) => {
  let prefetch = PREFETCH_FIRST;
  let page = await begin(spec, 1, prefetch);
  const scan = page[0];
  let isFirst = true;
  while (isFirst || !page[2]) {
    if (!isFirst) {
      page = goOn(spec, scan, 1, prefetch);
      if (page instanceof Promise) {
        page = await page;
        prefetch = Math.min(prefetch * 4, PREFETCH_MAX);
      }
    }
    isFirst = false;
    if (page[1].length > 0 && visit(page[1][0]) === false) {
      return;
    }
  }
};

const take = async (spec, count) => {
  const found = [];
  if (count === 0) {
    return found;
  }
  if (spec.filters.length > 0) {
    await eachRow(spec, (document) => {
      if (passes(spec, document)) {
        found.push(document);
      }
      return found.length < count;
    });
    return found;
  }
  let page = await begin(spec, count, 0);
  const scan = page[0];
  for (;;) {
    for (const document of page[1]) {
      found.push(document);
    }
    if (page[2] || found.length >= count) {
      return found;
    }
    page = await goOn(spec, scan, count - found.length, 0);
  }
};

const paginateOptions = (options) => {
  if (typeof options !== "object" || options === null) {
    bb.fail("BadQuery", "paginate takes { cursor, numItems }; cursor is null for the first page.");
  }
  const { cursor = null, endCursor = null, numItems } = options;
  for (const [name, value] of [["cursor", cursor], ["endCursor", endCursor]]) {
    if (value !== null && typeof value !== "string") {
      bb.fail("BadQuery", `paginate: ${name} must be null or the continueCursor of another page.`);
    }
  }
  return { cursor, endCursor, numItems: countArgument("paginate: numItems", numItems) };
};

const paginate = async (spec, options) => {
  const { cursor, endCursor, numItems } = paginateOptions(options);
  const filterText = spec.filters.map((filter) => filter.text).join("&");
  const scan = await bb.call(
    spec.frame, op.SCAN_OPEN, spec.access, spec.table, spec.index, spec.range, spec.order === "desc", filterText,
    [cursor, endCursor],
  );
  const page = [];
  // Up to an end cursor the page holds what is there, however much it has become.
  const isBounded = endCursor !== null;
  let isDone = false;
  while (!isDone && (isBounded || page.length < numItems)) {
    const want = isBounded ? 0 : spec.filters.length > 0 ? 1 : numItems - page.length;
    const prefetch = spec.filters.length > 0 && !isBounded ? Math.max(numItems, PREFETCH_FIRST) : 0;
    const rows = await goOn(spec, scan, want, prefetch);
    for (const document of rows[1]) {
      if (passes(spec, document)) {
        page.push(document);
      }
    }
    isDone = rows[2];
  }
  const [continueCursor, isEnd] = await bb.call(spec.frame, op.SCAN_CURSOR, scan);
  return { page, isDone: isEnd, continueCursor };
};

const count = async (spec) => {
  if (spec.filters.length === 0) {
    return await bb.call(spec.frame, op.COUNT, spec.access, spec.table, spec.index, spec.range, 0, false);
  }
  let found = 0;
  await eachRow(spec, (document) => {
    found += passes(spec, document) ? 1 : 0;
  });
  return found;
};

class Rows {
  #spec;
  #scan = null;
  #prefetch = PREFETCH_FIRST;
  #isOver = false;
  constructor(spec) {
    this.#spec = spec;
  }
  async next() {
    const spec = this.#spec;
    while (!this.#isOver) {
      const page =
        this.#scan === null
          ? begin(spec, 1, this.#prefetch)
          : goOn(spec, this.#scan, 1, this.#prefetch);
      const [scan, documents, isDone] = page instanceof Promise ? await page : page;
      if (page instanceof Promise) {
        this.#prefetch = Math.min(this.#prefetch * 4, PREFETCH_MAX);
      }
      this.#scan = scan;
      this.#isOver = isDone;
      if (documents.length > 0 && passes(spec, documents[0])) {
        return { value: documents[0], done: false };
      }
    }
    return { value: undefined, done: true };
  }
  async return(value) {
    this.#isOver = true;
    return { value, done: true };
  }
  [Symbol.asyncIterator]() {
    return this;
  }
}
bb.seal(Rows);

// Each step gives a new query; the last one runs it.
class Query {
  #spec;
  constructor(spec) {
    this.#spec = spec;
  }
  static #of(query, name) {
    try {
      return query.#spec;
    } catch {
      return lost(name, `the query, as in ctx.db.query("table").${name}(..)`);
    }
  }
  withIndex(index, build) {
    const spec = Query.#of(this, "withIndex");
    const { table } = spec;
    if (typeof index !== "string" || index === "") {
      bb.fail("BadQuery", `withIndex on "${table}" takes the name of an index.`);
    }
    if (spec.view !== null && index !== "by_id" && index !== "by_creation_time") {
      bb.fail("IndexNotFound", `_scheduled_functions has the indexes by_id and by_creation_time; _jobs has more.`);
    }
    if (spec.index !== null) {
      bb.fail("BadQuery", `query("${table}"): withIndex can be used once, and before filter.`);
    }
    return new Query({ ...spec, index, range: rangeOf(table, index, build) });
  }
  fullTableScan() {
    return new Query(Query.#of(this, "fullTableScan"));
  }
  order(order) {
    const spec = Query.#of(this, "order");
    if (order !== "asc" && order !== "desc") {
      bb.fail("BadQuery", `query("${spec.table}"): order takes "asc" or "desc", it got ${String(order)}.`);
    }
    if (spec.order !== null) {
      bb.fail("BadQuery", `query("${spec.table}"): order can be used once.`);
    }
    return new Query({ ...spec, order });
  }
  filter(build) {
    const spec = Query.#of(this, "filter");
    return new Query({ ...spec, filters: [...spec.filters, bb.makeFilter(build)] });
  }
  async collect() {
    return collect(Query.#of(this, "collect"));
  }
  async take(n) {
    return take(Query.#of(this, "take"), countArgument("take", n));
  }
  async first() {
    const [document = null] = await take(Query.#of(this, "first"), 1);
    return document;
  }
  async unique() {
    const spec = Query.#of(this, "unique");
    const [document = null, another] = await take(spec, 2);
    if (another !== undefined) {
      const { table, index } = spec;
      bb.fail(
        "NotUnique",
        `unique() on ${table}${index === null ? "" : `.${index}`} found more than one document ` +
          `(${document._id}, ${another._id}). Use first() or take(n) where several may match.`,
      );
    }
    return document;
  }
  async paginate(options) {
    return paginate(Query.#of(this, "paginate"), options);
  }
  async count() {
    return count(Query.#of(this, "count"));
  }
  withSearchIndex() {
    bb.fail("NotAvailableHere", `withSearchIndex on "${Query.#of(this, "withSearchIndex").table}": text search is not available.`);
  }
  [Symbol.asyncIterator]() {
    return new Rows(this.#spec);
  }
}
bb.seal(Query);

bb.makeQuery = (frame, access, table) => {
  if (typeof table !== "string" || table === "") {
    bb.fail("BadQuery", "ctx.db.query takes the name of a table.");
  }
  const isView = access === bb.SYSTEM && table === "_scheduled_functions";
  return new Query({
    frame, access, table: isView ? "_jobs" : table, index: null, range: [], order: null, filters: [],
    view: isView ? bb.asScheduledFunction : null,
  });
};
