// A schema as schema.ts exports it: read, checked, and made plain.
"use strict";

if (internals.isOwn) {
  return; // of the shared realm only
}

const { bb } = internals;

const isIdentifier = (text) => /^[A-Za-z][A-Za-z0-9_]*$/.test(text);
const NAME_LENGTH_MAX = 64;
const TABLES_MAX = 10000;
const INDEXES_MAX = 32;
const FIELDS_MAX = 16;
const RESERVED = new Set(["by_id", "by_creation_time", "by_key"]);

const refuse = (message) => bb.fail("BadRequest", `Deploy refused: schema.ts: ${message}`);

const checkName = (what, name) => {
  if (typeof name !== "string" || name === "") {
    refuse(`${what} has no name.`);
  }
  if (name.startsWith("_")) {
    refuse(`${what} "${name}": names that begin with "_" belong to the system. Choose another one.`);
  }
  if (!isIdentifier(name) || name.length > NAME_LENGTH_MAX) {
    refuse(
      `${what} "${name}": a name begins with a letter and has letters, digits and "_" only, at most ${NAME_LENGTH_MAX}.`,
    );
  }
};

const checkField = (index, field) => {
  if (typeof field !== "string" || field === "") {
    refuse(`index ${index}: a field must be the name of a field.`);
  }
  if (field === "_creationTime") {
    refuse(`index ${index}: _creationTime is the last field of every index by itself. Leave it out.`);
  }
  for (const part of field.split(".")) {
    if (part.startsWith("_")) {
      refuse(`index ${index}: the field "${field}" belongs to the system and cannot be indexed.`);
    }
    if (!/^[\x20-\x7e]+$/.test(part) || part.startsWith("$")) {
      refuse(`index ${index}: "${field}" is not the name of a field.`);
    }
  }
};

const readIndex = (table, given, seen) => {
  const name = given?.indexDescriptor;
  checkName(`an index of table "${table}"`, name);
  const whole = `${table}.${name}`;
  if (RESERVED.has(name)) {
    refuse(`index ${whole}: by_id, by_creation_time and by_key are there for every table. Choose another name.`);
  }
  if (seen.has(name)) {
    refuse(`index ${whole} is declared twice.`);
  }
  seen.add(name);
  const { fields } = given;
  if (!Array.isArray(fields) || fields.length === 0) {
    refuse(`index ${whole} has no fields: .index("${name}", ["field", ...]).`);
  }
  if (fields.length > FIELDS_MAX) {
    refuse(`index ${whole} has ${fields.length} fields, the limit is ${FIELDS_MAX}.`);
  }
  fields.forEach((field) => checkField(whole, field));
  const twice = fields.find((field, i) => fields.indexOf(field) !== i);
  if (twice !== undefined) {
    refuse(`index ${whole} names the field "${twice}" twice.`);
  }
  return { table, name, fields: [...fields] };
};

const readTable = (given, notes) => {
  const name = given?.tableName;
  checkName("a table", name);
  const indexes = given.indexes ?? [];
  if (!Array.isArray(indexes)) {
    refuse(`table "${name}": its indexes are not a list.`);
  }
  if (indexes.length > INDEXES_MAX) {
    refuse(`table "${name}" has ${indexes.length} indexes, the limit is ${INDEXES_MAX}.`);
  }
  for (const [kind, list] of [["search", given.searchIndexes], ["vector", given.vectorIndexes]]) {
    if (Array.isArray(list) && list.length > 0) {
      notes.push(`Table ${name}: ${kind} indexes are not supported by this version and were left out.`);
    }
  }
  const seen = new Set();
  return { name, indexes: indexes.map((index) => readIndex(name, index, seen)) };
};

// [{name, indexes: [{table, name, fields}]}] of a schema's export(), or of no schema at all.
bb.readSchema = (schema, notes) => {
  if (schema === undefined) {
    return [];
  }
  if (typeof schema?.export !== "function") {
    refuse("its default export must be defineSchema({ .. }).");
  }
  const { tables } = JSON.parse(schema.export());
  if (!Array.isArray(tables)) {
    refuse("its default export has no tables.");
  }
  if (tables.length > TABLES_MAX) {
    refuse(`it declares ${tables.length} tables, the limit is ${TABLES_MAX}.`);
  }
  const read = tables.map((table) => readTable(table, notes));
  const names = read.map(({ name }) => name);
  const twice = names.find((name, i) => names.indexOf(name) !== i);
  if (twice !== undefined) {
    refuse(`table "${twice}" is declared twice.`);
  }
  return read;
};
