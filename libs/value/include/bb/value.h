/*
 * Values, documents, keys, ids and JSON. Formats: docs/formats/value.md, docs/formats/key.md.
 *
 * BBV, version 1, is how a value is stored and sent: little-endian, self-describing, canonical
 * (equal values have equal bytes: fields sorted by name bytes, NaN canonical 0x7ff8000000000000).
 *   tag u8: 0x01 undefined, 0x02 null, 0x03 int64 (8 bytes LE), 0x04 float64 (8 bytes LE), 0x05
 * false, 0x06 true, 0x07 string, 0x08 bytes (both: varint size, content), 0x09 array, 0x0a object.
 *   array: 0x09, u32 total size of what follows, u32 count, count x u32 end offset of each element
 *          (from the first element's start), elements.
 *   object: 0x0a, u32 total size of what follows, u32 count, count x (u32 end offset of the name in
 * the name heap, u32 end offset of the value in the value heap), u32 name heap size, name heap,
 *          value heap. One field is found by bisection and read without decoding the rest.
 *
 * Ownership: a slice that comes out of a BBV value borrows its bytes. Threads: pure functions.
 */
#ifndef BB_VALUE_H
#define BB_VALUE_H

#include "bb/base.h"

#ifdef __cplusplus
extern "C" {
#endif

enum bb_tag {
    BB_TAG_UNDEFINED = 1,
    BB_TAG_NULL = 2,
    BB_TAG_INT64 = 3,
    BB_TAG_FLOAT64 = 4,
    BB_TAG_FALSE = 5,
    BB_TAG_TRUE = 6,
    BB_TAG_STRING = 7,
    BB_TAG_BYTES = 8,
    BB_TAG_ARRAY = 9,
    BB_TAG_OBJECT = 10
};
#define BB_VALUE_DEPTH_MAX 64 /* of arguments and results; documents: 16, see bb_document_check */

/* ---- reading; the value must have passed bb_value_validate once ---- */

/* Whole, well-formed, canonical (order, NaN, UTF-8), nothing after the end, depth within the
 * maximum. BB_BAD_REQUEST says what is wrong and where. Run it on everything that comes from
 * outside. */
int bb_value_validate(struct bb_ctx *ctx, struct bb_slice value);
enum bb_tag bb_value_tag(struct bb_slice value); /* FALSE or TRUE for booleans */
bool bb_value_bool(struct bb_slice value);
int64_t bb_value_int64(struct bb_slice value);
double bb_value_float64(struct bb_slice value);
struct bb_slice bb_value_bytes(struct bb_slice value);                 /* of a string or bytes */
size_t bb_value_count(struct bb_slice value);                          /* of an array or object */
struct bb_slice bb_value_at(struct bb_slice value, size_t index);      /* element or field value */
struct bb_slice bb_value_name_at(struct bb_slice value, size_t index); /* field name */
/* The field's value; data == NULL when it is missing. */
struct bb_slice bb_value_field(struct bb_slice object, struct bb_slice name);
struct bb_slice bb_value_field_str(struct bb_slice object, const char *name);
/* "a.b.c": through nested objects; data == NULL when anything on the way is missing. */
struct bb_slice bb_value_path(struct bb_slice object, struct bb_slice path);
/* Order of docs/formats/key.md: < 0, 0, > 0. Equal to memcmp of the encoded keys. */
int bb_value_compare(struct bb_slice a, struct bb_slice b);
/* Size by the rules of the 1 MiB limit (docs/formats/value.md). */
uint64_t bb_value_accounted_size(struct bb_slice value);

/* ---- writing: a builder appends one value, nested ones between begin and end ---- */

struct bb_value_builder;
struct bb_value_builder *bb_value_builder_new(void);
void bb_value_builder_free(struct bb_value_builder *builder);
void bb_value_builder_clear(struct bb_value_builder *builder);
void bb_value_undefined(struct bb_value_builder *builder);
void bb_value_null(struct bb_value_builder *builder);
void bb_value_put_bool(struct bb_value_builder *builder, bool value);
void bb_value_put_int64(struct bb_value_builder *builder, int64_t value);
void bb_value_put_float64(struct bb_value_builder *builder, double value);
void bb_value_put_string(struct bb_value_builder *builder, struct bb_slice utf8);
void bb_value_put_bytes(struct bb_value_builder *builder, struct bb_slice bytes);
void bb_value_put_value(struct bb_value_builder *builder, struct bb_slice bbv); /* a copy */
void bb_value_begin_array(struct bb_value_builder *builder);
void bb_value_end_array(struct bb_value_builder *builder);
void bb_value_begin_object(struct bb_value_builder *builder);
/* Before each field's value; fields may come in any order, the last of two equal names wins. */
void bb_value_field_name(struct bb_value_builder *builder, struct bb_slice name);
void bb_value_end_object(struct bb_value_builder *builder);
/* The finished value; valid until the next call on the builder. Asserts that all is closed. */
struct bb_slice bb_value_finish(struct bb_value_builder *builder);

/* The object with fields of `changes` set; an undefined one is removed. Appends to `to`. */
void bb_value_merge(struct bb_slice object, struct bb_slice changes, struct bb_buf *to);

/* ---- limits ---- */

/* A document (or argument, with a larger limit) as the user may write it: names printable ASCII,
 * not empty, at most 1024 long, not starting with `$` (nor with `_` at the top level); depth <= 16;
 * arrays
 * <= 8192 elements, objects <= 1024 fields; accounted size <= limit_bytes. No undefined anywhere.
 * BB_NOT_ENCODABLE or BB_DOCUMENT_TOO_LARGE; the text names the path, the limit and the value. */
int bb_document_check(struct bb_ctx *ctx, struct bb_slice document, uint64_t limit_bytes);

/* ---- order-preserving keys ---- */

/* Appends the key form of one value (docs/formats/key.md). A missing field: pass BB_SLICE_EMPTY, it
 * counts as undefined. */
void bb_key_append_value(struct bb_buf *key, struct bb_slice value);
void bb_key_append_float64(struct bb_buf *key, double value);
void bb_key_append_u32(struct bb_buf *key, uint32_t index_id); /* 4 bytes big-endian, no tag */
/* Decodes one value of key form into BBV. BB_CORRUPT when malformed. `used`: bytes consumed. */
int bb_key_decode_value(struct bb_ctx *ctx, struct bb_slice key, struct bb_buf *bbv, size_t *used);
/* The smallest key after all keys that start with `prefix`; false when there is none (all 0xff). */
bool bb_key_prefix_end(struct bb_slice prefix, struct bb_buf *end);
#define BB_KEY_MAX 8192 /* logical key, all of it */

/* ---- document ids ---- */

struct bb_id {
    uint8_t bytes[16]; /* 14 random (or hash) bytes, 2 bytes days since 1970 big-endian */
};
#define BB_ID_TEXT_MAX 37
/* Lower-case Crockford base32 with table number and checksum; returns the length, no NUL. */
size_t bb_id_text(uint32_t table, const struct bb_id *id, char text[BB_ID_TEXT_MAX]);
/* Strict. BB_BAD_ID when it is no id at all. */
int bb_id_parse(struct bb_ctx *ctx, struct bb_slice text, uint32_t *table, struct bb_id *id);
/* The id of a key of the caller's choice: first 14 bytes of SHA-256(table BE32, key), date 0. */
void bb_id_of_key(uint32_t table, struct bb_slice key, struct bb_id *id);

/* ---- numbers that the system gives ---- */

/* Index ids: three built in for each table, declared ones from BB_INDEX_DECLARED up. */
#define BB_INDEX_BY_ID(table)            ((uint32_t)(table)*4u)
#define BB_INDEX_BY_CREATION_TIME(table) ((uint32_t)(table)*4u + 1u)
#define BB_INDEX_BY_KEY(table)           ((uint32_t)(table)*4u + 2u)
#define BB_INDEX_DECLARED                0x80000000u
/* Further indexes of system tables: numbers of by_id indexes that no table has. */
#define BB_INDEX_SYSTEM   36000u
#define BB_TABLE_USER_MIN 10001u
enum bb_system_table {
    BB_TABLE_TABLES = 1,      /* _tables: _key = table name */
    BB_TABLE_INDEXES = 2,     /* _indexes: _key = "table.index" */
    BB_TABLE_FUNCTIONS = 3,   /* _functions: _key = "module:name" */
    BB_TABLE_MODULES = 4,     /* _modules: _key = path */
    BB_TABLE_DEPLOYMENT = 5,  /* _deployment: one row, _key = "current" */
    BB_TABLE_REQUESTS = 6,    /* _requests: id = first 16 bytes of client_key */
    BB_TABLE_ENVIRONMENT = 7, /* _environment: _key = variable name */
    BB_TABLE_CONSUMERS = 8,   /* _consumers: _key = name of a consumer of the feed */
    BB_TABLE_JOBS = 9,        /* _jobs: scheduled functions, kept a while after they ended */
    BB_TABLE_CRONS = 10,      /* _crons: _key = name of a cron */
    BB_TABLE_LEASES = 11,     /* _leases: _key = what only one process at a time does */
    BB_TABLE_CODE = 12,       /* _code: parts of archives of Node.js code, _key = "hash/part" */
    BB_TABLE_COUNT_SYSTEM = 13
};
/* "_tables" and so on; NULL: no system table has this number. The text is static. */
const char *bb_system_table_name(uint32_t number);
/* 4 bytes index id + 16 bytes id. */
void bb_key_by_id(struct bb_buf *key, uint32_t table, const struct bb_id *id);

/* ---- JSON ---- */

enum bb_json_format {
    BB_JSON_ENCODED, /* convex_encoded_json: $integer, $bytes, $float */
    BB_JSON_CLEAN    /* int64 as decimal text, bytes as base64, NaN and infinities as text */
};
/* Decodes convex_encoded_json. BB_BAD_JSON names position and reason (also: a `$` key that means
 * nothing, `$float` around an ordinary number, depth, not UTF-8). `allow_undefined`:
 * {"$undefined":null}. Appends one value to `to`. */
int bb_json_decode(struct bb_ctx *ctx, struct bb_slice json, bool allow_undefined,
                   struct bb_buf *to);
void bb_json_encode(struct bb_slice value, enum bb_json_format format, struct bb_buf *to);
void bb_json_string(struct bb_buf *to, struct bb_slice utf8); /* with quotes and escapes */
/* A number as JavaScript prints it (shortest that reads back); -0 gives "-0". */
void bb_json_number(struct bb_buf *to, double value);

#ifdef __cplusplus
}
#endif

#endif
