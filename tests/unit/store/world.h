/*
 * A store in a temporary folder, the log that was applied to it, and a naive model: every version
 * of every key that ever was. A clock that the test moves.
 */
#ifndef TESTS_STORE_WORLD_H
#define TESTS_STORE_WORLD_H

#include "bb/env.h"
#include "bb/store.h"

#include "kv/folder.h"

enum {
    DOC_INDEX = 40,
    BY_FIELD = 100,
    DOCS = 40,
    READERS = 2
};

struct version {
    struct bb_slice key, value; /* owned; value of a document: as it is read */
    uint64_t tx;
    bool is_remove;
};
struct entry {
    struct bb_store_state state;
    struct bb_buf batch;
};
/* What the present content of a document is. */
struct doc {
    bool exists;
    uint8_t field[700];
    size_t field_size;
};

struct world {
    struct bb_env env; /* first: ops cast it back */
    struct bb_env_ops ops;
    uint64_t now_us;
    struct bb_ctx ctx;
    struct folder folder;
    struct bb_store_options options;
    struct bb_store *store;
    struct doc docs[DOCS];
    struct version *versions;
    size_t version_count, version_capacity;
    struct entry *log;
    size_t log_count, log_capacity;
    uint64_t tx, seq;
    uint64_t random;
};

void world_init(struct world *world, uint64_t seed); /* opens; no thread of its own */
void world_fini(struct world *world);
uint64_t world_random(struct world *world, uint64_t limit);
/* A random batch of some transactions: made, kept in the log, applied. */
void world_apply(struct world *world);
/* Stop without a flush and start again; what LMDB lacks comes from the log again. */
void world_crash(struct world *world);
void world_restart(struct world *world); /* a clean one */
void world_replay(struct world *world);
/* Reads at `at` in all ways, and compares with the model. */
void world_check(struct world *world, uint64_t at);
uint64_t world_random_tx(struct world *world, uint64_t oldest);

/* ---- parts, for tests with a story ---- */

struct change {
    uint32_t doc;
    const char *text;  /* NULL: removed */
    const char *field; /* of the index; NULL: as it is */
};
/* One transaction in one batch; its tx. */
uint64_t world_write(struct world *world, const struct change *changes, size_t count);
struct bb_slice world_doc_key(uint32_t doc, uint8_t key[20]);
/* The document's text at `at`, or NULL; in the world's arena. */
const char *world_text(struct world *world, uint32_t doc, uint64_t at);

#endif
