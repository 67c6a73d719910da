/*
 * Encoded forms of live results: made once, kept with the result while more than one may want them.
 */
#ifndef GATEWAY_RESULT_H
#define GATEWAY_RESULT_H

#include "session.h"

#include "bb/http.h"
#include "bb/value.h"

/* Whole events differ by who sends them, too. */
enum result_event {
    RESULT_SUBSCRIBE,
    RESULT_SYNC,
    RESULT_EVENTS
};

/* The payload as JSON, valid as long as the result. */
struct bb_slice gateway_result_json(struct live_result *result, enum bb_json_format format);
/* The event that was kept for this moment, query and format; NULL: none. Not retained. */
struct bb_http_buffer *gateway_result_event(const struct live_result *result,
                                            enum result_event kind, enum bb_json_format format,
                                            uint32_t query_id, uint64_t tx);
/* Keeps a reference, in place of the one before. */
void gateway_result_keep_event(struct live_result *result, enum result_event kind,
                               enum bb_json_format format, uint32_t query_id, uint64_t tx,
                               struct bb_http_buffer *event);
/* Frees what was encoded: it can be made again. session_ops.forget, too. */
void gateway_result_forget(void *arg, struct live_result *result);

#endif
