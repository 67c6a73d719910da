/* A clock that stands still, and commits in few words, for tests of the core. */
#ifndef TEST_SEQUENCER_WORLD_H
#define TEST_SEQUENCER_WORLD_H

#include "bb/env.h"
#include "bb/wire.h"

#include "core.h"

#define WALL_START UINT64_C(1800000000000000)

struct world {
    struct bb_env env;
    uint64_t now_us, wall_us;
    struct bb_ctx ctx;
    struct sequencer_core core;
};

/* An active core of epoch 1 whose claim had last_tx `claim_tx`. */
void world_init(struct world *world, uint64_t claim_tx);
void world_fini(struct world *world);
void world_advance(struct world *world, uint64_t us);

#define WORLD_ROW_MAX 8

struct want {
    unsigned id; /* request id */
    uint64_t snapshot;
    const char *reads;  /* a letter a key, "ab": reads a and b; NULL: none */
    const char *writes; /* a letter a key; NULL: a Finish */
    uint64_t epoch;     /* 0: 1 */
    bool lacks_lease;
    size_t padding;   /* bytes of the document */
    size_t key_bytes; /* of the keys; 0: 5 */
};
/* The status; *tx when not NULL. */
int world_commit(struct world *world, struct want want, uint64_t *tx);
/* A row, each on top of the one before; the outcomes. The epoch and the lease are the first one's.
 */
void world_commit_row(struct world *world, const struct want *wants, size_t count,
                      Bb__Proto__Outcome *outcomes);
void world_id(unsigned number, uint8_t id[16]);
/* Answer the Append under way with BB_OK. */
void world_storage_done(struct world *world);

#endif
