/* One run of a live query on a worker, from question to answer. */
#ifndef GATEWAY_EVALUATE_H
#define GATEWAY_EVALUATE_H

#include "gateway.h"
#include "live.h"

/* Runs it at exactly `tx`; gateway_subscriptions_answered follows, now or later. */
void gateway_evaluate(struct gateway *gateway, struct live_entry *entry, uint64_t tx);

#endif
