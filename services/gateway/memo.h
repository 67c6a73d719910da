/*
 * JSON of results that workers keep: made once, sent as often as the same result is the answer.
 *
 * An entry says which result it is of: the start of a worker, and the number that the result has
 * there and no other one ever gets. So what is in here cannot be wrong, it can only be asked for no
 * more: a worker that answers with another result says another number. Where an entry lies, a hash
 * of the query and the worker, is where to look, and no more than that.
 *
 * Bounded by bytes; what was not asked for the longest goes first, and whoever is sending it has a
 * reference. Threads: one. Decisions only: no clock, no I/O.
 */
#ifndef GATEWAY_MEMO_H
#define GATEWAY_MEMO_H

#include "bb/http.h"
#include "bb/value.h"

struct memo;

struct memo_json {
    uint64_t source, number; /* CallReply.result_source, result_number */
    enum bb_json_format format;
    struct bb_http_buffer *bytes; /* NULL: none */
};

struct memo *gateway_memo_new(size_t bytes_max);
void gateway_memo_free(struct memo *memo); /* accepts NULL */
/* What lies there in this format, with a reference for the caller; bytes == NULL: nothing. */
struct memo_json gateway_memo_find(struct memo *memo, uint64_t hash, enum bb_json_format format);
/* In place of what lies there. Takes a reference of its own. */
void gateway_memo_keep(struct memo *memo, uint64_t hash, const struct memo_json *json);

struct memo_stats {
    size_t count, bytes; /* bytes that connections still send are theirs */
};
struct memo_stats gateway_memo_stats(const struct memo *memo);

#endif
