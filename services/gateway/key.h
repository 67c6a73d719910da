/*
 * What a client's key says about itself.
 *
 * The clients of libs/js name a mutation <ms since 1970 in base 36>-<uuid>-<number>. The time tells
 * a key that is new from one whose outcome was kept and is gone. Any other text is a key as well;
 * it does not say when it was made.
 */
#ifndef GATEWAY_KEY_H
#define GATEWAY_KEY_H

#include "bb/base.h"

/* When the key was made; 0: it does not say. */
uint64_t gateway_key_ms(struct bb_slice key);

#endif
