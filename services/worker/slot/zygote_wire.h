/*
 * What the supervisor and a zygote say to each other, over a socketpair of whole messages:
 * docs/formats/slot.md. All numbers are u32 or i32, little-endian.
 */
#ifndef SLOT_ZYGOTE_WIRE_H
#define SLOT_ZYGOTE_WIRE_H

#include "bb/base.h"

/* A request: which slot (the supervisor's number of it), and its `enum slot_rights`; with it the
 * slot's end of its socketpair, and its cgroup's `cgroup.procs` where it has one. */
#define ZYGOTE_REQUEST_BYTES   8
#define ZYGOTE_DESCRIPTORS_MAX 2

struct zygote_request {
    uint32_t slot, rights;
};

/* An answer: the number of the slot, or ZYGOTE_IS_UP; its process, or minus the errno of a fork
 * that failed. */
#define ZYGOTE_ANSWER_BYTES 8
#define ZYGOTE_IS_UP        UINT32_MAX

struct zygote_answer {
    uint32_t slot;
    int32_t pid;
};

static inline void zygote_put_request(uint8_t to[ZYGOTE_REQUEST_BYTES],
                                      struct zygote_request request)
{
    bb_put_le32(to, request.slot);
    bb_put_le32(to + 4, request.rights);
}

static inline struct zygote_request zygote_get_request(const uint8_t from[ZYGOTE_REQUEST_BYTES])
{
    return (struct zygote_request){ .slot = bb_get_le32(from), .rights = bb_get_le32(from + 4) };
}

static inline void zygote_put_answer(uint8_t to[ZYGOTE_ANSWER_BYTES], struct zygote_answer answer)
{
    bb_put_le32(to, answer.slot);
    bb_put_le32(to + 4, (uint32_t)answer.pid);
}

static inline struct zygote_answer zygote_get_answer(const uint8_t from[ZYGOTE_ANSWER_BYTES])
{
    return (struct zygote_answer){ .slot = bb_get_le32(from),
                                   .pid = (int32_t)bb_get_le32(from + 4) };
}

#endif
