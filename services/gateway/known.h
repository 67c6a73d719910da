/* What a call's worker need not send, as this gateway has the JSON of it: binds memo.h to calls. */
#ifndef GATEWAY_KNOWN_H
#define GATEWAY_KNOWN_H

#include "call.h"

/* The call is about to go to `worker`: sets call->known to what may be the answer there. */
void gateway_known_find(struct call *call, uint64_t worker);
/* The reply leaves out a value that the call does not know: nobody could say what it is. */
bool gateway_known_is_bad(const struct call *call, const Bb__Proto__CallReply *reply);
/* From inside of `done`: the JSON of a result that the worker keeps, with a reference for the
 * caller. NULL: it keeps none, see reply->value. */
struct bb_http_buffer *gateway_known_json(struct call *call, const Bb__Proto__CallReply *reply);

#endif
