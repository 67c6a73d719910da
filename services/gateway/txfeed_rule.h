/*
 * Whether a user may read the transaction feed: what the application's `feedRule` (the default
 * export of `feed.ts`) says of this identity and these tables. The rule is watched as a live query
 * is: who is admitted reads until the rule says otherwise, or the token expires.
 */
#ifndef GATEWAY_TXFEED_RULE_H
#define GATEWAY_TXFEED_RULE_H

#include "ask.h"
#include "txfeed_internal.h"

struct txfeed_rule;

/* `tables` as in a view, not empty. BB_OVERLOADED: no more live queries now. The reader keeps it.
 */
int gateway_txfeed_rule_ask(struct bb_ctx *ctx, struct txfeed_reader *reader,
                            const struct caller *caller);
/* Accepts NULL. Not from inside a delivery. */
void gateway_txfeed_rule_free(struct txfeed_rule *rule);
/* A reader without a rule is admitted. */
bool gateway_txfeed_is_admitted(const struct txfeed_reader *reader);
/* Ends a reader that is not admitted (or was not in time) and lets one go on that is, now. False:
 * the reader may be gone. */
bool gateway_txfeed_rule_tick(struct txfeed_reader *reader, uint64_t now_us);

#endif
