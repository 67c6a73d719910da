/*
 * What stands for V8: functions in C over the real transactions of libs/txn. A function reads and
 * waits as JavaScript does, and answers with a log of what it read and wrote, which the checkers
 * recompute.
 */
#ifndef SIM_SCRIPT_H
#define SIM_SCRIPT_H

#include "bb/txn.h"
#include "bb/value.h"

#include "sim.h"

struct sim_slot;
struct script {
    struct bb_ctx *ctx;
    struct bb_txn *txn;
    struct sim_slot *slot;
    struct bb_value_builder *log, *doc;
    struct bb_slice args;
    uint64_t now_ms;
    bool is_mutation;
    uint8_t *filler; /* goes into the document that is written next; NULL: none */
    size_t filler_size;
};

/* Runs the function of that path; `value` is its result, or the data of BB_USER_ERROR. */
int sim_script_run(struct script *script, const char *path, struct bb_slice *value);

/* slot.c: asks for what the transaction wants and waits. BB_OK: run the operation again. */
int sim_slot_fetch(struct sim_slot *slot);

/* Runs `call` until it is not pending any more. */
#define await(rc, script, call)                \
    do {                                       \
        (rc) = (call);                         \
        if ((rc) != BB_PENDING)                \
            break;                             \
        (rc) = sim_slot_fetch((script)->slot); \
    } while ((rc) == BB_OK)

/* system.c */
int sim_script_system(struct script *script, const char *path, struct bb_slice *value);

#endif
