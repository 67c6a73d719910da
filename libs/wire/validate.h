/* Shared inside libs/wire: checks of single messages, called by the walk over a whole one. */
#ifndef WIRE_VALIDATE_H
#define WIRE_VALIDATE_H

#include "bb/value.h"
#include "bb/wire.h"
#include "bb/wire_validate.h"

#define ID_BYTES   16
#define HASH_BYTES 32

/* What one message type demands beyond the general rules. `message` is of that type. */
struct wire_validate_rule {
    const ProtobufCMessageDescriptor *type;
    int (*check)(struct bb_ctx *ctx, const void *message);
};

extern const struct wire_validate_rule wire_validate_common[]; /* each ends with type == NULL */
extern const struct wire_validate_rule wire_validate_storage[];
extern const struct wire_validate_rule wire_validate_sequencer[];
extern const struct wire_validate_rule wire_validate_worker[];
extern const struct wire_validate_rule wire_validate_gateway[];
extern const struct wire_validate_rule wire_validate_slot[];

/* General rules and those of `rules` and wire_validate_common, for the message and all inside it.
 */
int wire_validate_walk(struct bb_ctx *ctx, const ProtobufCMessage *message,
                       const struct wire_validate_rule *rules);

int wire_validate_size(struct bb_ctx *ctx, ProtobufCBinaryData bytes, size_t size,
                       const char *what);
/* `size` bytes, or none. */
int wire_validate_size_or_none(struct bb_ctx *ctx, ProtobufCBinaryData bytes, size_t size,
                               const char *what);
int wire_validate_key(struct bb_ctx *ctx, ProtobufCBinaryData key, const char *what);
int wire_validate_range(struct bb_ctx *ctx, ProtobufCBinaryData low, ProtobufCBinaryData high,
                        const char *what);
int wire_validate_that(struct bb_ctx *ctx, bool holds, const char *what);

#endif
