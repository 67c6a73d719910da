/* The one checkpoint that a node sends; the owner thread's, or the care thread's while it is busy.
 */
#ifndef STORAGE_SEND_H
#define STORAGE_SEND_H

#include "bb/store.h"

#include "checkpoint.h"

struct storage_sender {
    uint64_t id; /* random; 0: none */
    bool is_busy;
    struct bb_store_copy *copy; /* NULL: all of it was read */
    uint64_t offset, hash;      /* of the data that was read */
    bool has_ended;
    struct bb_buf piece; /* the last one */
    uint8_t head[CHECKPOINT_HEAD], tail[CHECKPOINT_TAIL];
    uint64_t heard_us; /* of the receiver */
};

#endif
