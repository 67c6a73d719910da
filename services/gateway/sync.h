/*
 * `/api/sync`: a session of many queries on one event stream, and changes of its set, which may
 * come through any gateway.
 */
#ifndef GATEWAY_SYNC_H
#define GATEWAY_SYNC_H

#include "stream.h"

/*
 * A change of the session `id` of this gateway: the JSON body of `POST /api/sync/<session>` by
 * `caller`. On BB_OK `answer` is the JSON of the answer. BB_NOT_FOUND: the session is over. Bad
 * input changes nothing.
 */
int gateway_sync_change(struct bb_ctx *ctx, struct gateway *gateway,
                        const uint8_t id[STREAM_ID_SIZE], struct bb_slice body,
                        const struct caller *caller, struct bb_buf *answer);

#endif
