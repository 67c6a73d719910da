/* Shared inside libs/wire: completions of nng's threads on their way to the owner loop. */
#ifndef WIRE_WIRE_H
#define WIRE_WIRE_H

#include <nng/nng.h>

#include "bb/wire.h"

struct wire_item {
    struct wire_item *next;
};

/*
 * A door: foreign threads push items, the owner loop gets them in order, as a batch, with one
 * wake-up. When it is closed, what was pushed and not yet taken is given to the one who closes.
 */
struct wire_door;
struct wire_door *wire_door_new(struct bb_loop *loop,
                                void (*take)(void *arg, struct wire_item *oldest), void *arg);
void wire_door_push(struct wire_door *door, struct wire_item *item); /* any thread */
/* On the owner thread, when no thread pushes any more. The door frees itself. */
struct wire_item *wire_door_close(struct wire_door *door);

/* The BB_* status of a failed nng operation. */
int wire_status(int nng_error);
/* Pack into a new nng message. BB_TOO_LARGE. */
int wire_pack(struct bb_ctx *ctx, const ProtobufCMessage *message, nng_msg **packed);

#endif
