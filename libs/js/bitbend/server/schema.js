/**
 * The schema: which tables and indexes there are, and the types of their documents. It never refuses a
 * document.
 */

import { asValidator, isValidator } from "../values/validators.js";

// A regular expression that outlives a call would be one that calls can meet in.
const isName = (text) => /^[A-Za-z][A-Za-z0-9_]{0,63}$/.test(text);
const INDEX_COUNT_MAX = 32;
const FIELD_COUNT_MAX = 16;
const BUILT_IN = ["by_id", "by_creation_time", "by_key"];

class TableDefinition {
  constructor(documentType) {
    this.isBitBendTable = true;
    this.validator = documentType;
    this.indexes = [];
  }

  index(name, definition) {
    const fields = Array.isArray(definition) ? definition : definition?.fields;
    checkIndex(this.indexes, name, fields);
    this.indexes.push({ indexDescriptor: name, fields: [...fields] });
    return this;
  }

  export(tableName) {
    return { tableName, indexes: this.indexes, documentType: this.validator.json };
  }
}

/** A table whose documents have these fields: an object of validators, or one validator. */
export function defineTable(documentType) {
  if (typeof documentType !== "object" || documentType === null) {
    throw new TypeError("defineTable needs an object of validators, such as { name: v.string() }");
  }
  return new TableDefinition(isValidator(documentType) ? documentType : asValidator(documentType));
}

/** The default export of `schema.ts`. */
export function defineSchema(tables, options = {}) {
  for (const [name, table] of Object.entries(tables)) {
    if (!isName(name)) {
      throw new TypeError(`Table name "${name}": start with a letter, then letters, digits and "_", at most 64.`);
    }
    if (table?.isBitBendTable !== true) throw new TypeError(`Table "${name}" needs defineTable({...}).`);
  }
  return {
    isBitBendSchema: true,
    tables,
    export: () =>
      JSON.stringify({
        tables: Object.keys(tables).map((name) => tables[name].export(name)),
        schemaValidation: options.schemaValidation ?? true,
      }),
  };
}

function checkIndex(indexes, name, fields) {
  const trouble =
    typeof name !== "string" || !isName(name) ? 'its name needs a letter first, then letters, digits and "_", at most 64'
    : BUILT_IN.includes(name) ? "every table has this index already"
    : indexes.some((index) => index.indexDescriptor === name) ? "the table has two indexes of this name"
    : indexes.length >= INDEX_COUNT_MAX ? `a table has at most ${INDEX_COUNT_MAX} indexes`
    : !Array.isArray(fields) || fields.length === 0 ? "it needs at least one field"
    : fields.length > FIELD_COUNT_MAX ? `an index has at most ${FIELD_COUNT_MAX} fields`
    : new Set(fields).size !== fields.length ? "a field stands in it twice"
    : fields.some((field) => typeof field !== "string" || field === "") ? "its fields are names such as \"author\" or \"place.city\""
    : fields.some((field) => field === "_id" || field === "_creationTime") ? "_creationTime and _id end every index by themselves"
    : null;
  if (trouble !== null) throw new TypeError(`Index "${name}": ${trouble}.`);
}
