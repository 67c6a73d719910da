/*
 * One call in the slot, from SlotStart to SlotDone, and the slot's state that it works on.
 *
 * A call runs until it waits; what its operations want is sent as one SlotReads, and the answers
 * let it run on. Its transaction, its log lines and what it was caught at live here.
 */
#ifndef SLOT_CALL_H
#define SLOT_CALL_H

#include "bb/txn.h"
#include "bb/vm.h"

#include "deployments.h"
#include "frames.h"
#include "slot.pb-c.h"
#include "watchdog.h"

#define SLOT_NO_SCAN UINT32_MAX

/* An operation that waits for reads. */
struct slot_pending {
    struct slot_pending *next;
    uint32_t op;
    uint32_t scan;        /* that the operation has opened; SLOT_NO_SCAN: none */
    struct bb_slice args; /* its own copy */
    struct bb_vm_ticket ticket;
    bool is_open; /* bb_vm_host_is_open */
};

/* Frees what bb_slice_dup made. */
static inline void slot_free_copy(struct bb_slice copy)
{
    union {
        const uint8_t *in;
        void *out;
    } cast = { .in = copy.data };

    bb_free(cast.out);
}

struct slot_limits {
    struct bb_txn_limits txn;
    uint64_t result_bytes;
    uint32_t log_lines;
};

struct slot_call {
    const Bb__Proto__SlotStart *start; /* in slot->call_arena */
    struct bb_vm_call *vm;
    uint64_t started_us, deadline_us;
    uint64_t batch; /* of the reads that are under way; 0: none */
    uint64_t batch_count;
    uint32_t *asked; /* which of the wanted reads that batch is about */
    size_t asked_count;
    uint32_t recalled;
    struct slot_pending *pending, **pending_end;
    int sticky_status; /* fails the call whatever the script does; BB_OK: none */
    char sticky_error[BB_ERROR_MAX];
    char *name;            /* of the function that a job runs; NULL: the call's own */
    const char *isolation; /* of a traced call: what it shared with others */
    bool saw_identity;
    Bb__Proto__LogLine **logs;
    size_t log_count;
    bool is_logs_cut;
};

struct slot {
    struct bb_ctx ctx;
    struct slot_frames frames;
    struct bb_vm *vm;
    struct slot_watchdog *watchdog;
    struct slot_deployments deployments;
    struct slot_limits limits;
    struct bb_txn *txn;
    struct bb_txn_kept *kept;
    uint64_t coherent; /* what is kept can be used at moments up to here */
    struct bb_arena *call_arena, *frame_arena;
    struct bb_value_builder *builder;
    struct bb_buf answer;
    struct slot_call *call; /* NULL: free */
    uint64_t last_call;     /* whose transaction `txn` still is, ended; 0: nobody's */
    uint64_t row_until_us;  /* calls on top of each other may begin until then */
    const struct slot_deployment *last_deployment;
    struct slot_call call_memory;
    uint64_t warming; /* the deployment whose modules are made ready; 0: none */
    uint32_t warm_at; /* which is next */
    bool no_warm;     /* modules are made ready by the calls that need them */
    bool must_end;    /* after what is written */
};

/* The host function of the isolate; arg is the slot. */
int slot_host(struct bb_ctx *ctx, void *arg, struct bb_vm_call *call, uint32_t op,
              struct bb_slice args, struct bb_vm_ticket ticket, struct bb_buf *out);
/* Runs an operation that waited again. */
int slot_host_again(struct bb_ctx *ctx, struct slot *slot, struct slot_pending *pending,
                    struct bb_buf *out);

/* `start` lives in slot->call_arena. Answers at once (SlotDone) or leaves the call waiting. */
void slot_call_begin(struct slot *slot, const Bb__Proto__SlotStart *start);
/* Makes it the call of the slot, with a transaction of its own; and the end of that. */
void slot_call_prepare(struct slot *slot, const Bb__Proto__SlotStart *start,
                       const struct slot_deployment *deployment);
void slot_call_release(struct slot *slot);
/* The answers that the call waits for. BB_BAD_REQUEST when they do not fit. */
int slot_call_feed(struct slot *slot, const Bb__Proto__SlotReadResults *results);
/* The deadline passed while it waited. */
void slot_call_expire(struct slot *slot);

#endif
