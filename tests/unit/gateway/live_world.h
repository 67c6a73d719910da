/* Live queries with scripted workers: what the tests of live.c and session.c share. */
#ifndef TEST_LIVE_WORLD_H
#define TEST_LIVE_WORLD_H

#include "bb/env.h"
#include "bb/value.h"
#include "session.h"

#define RUNS_MAX 128

extern uint64_t clock_us; /* what the world's clock shows */

/* A world without HTTP and without workers. */
struct world {
    struct bb_env_ops env_ops;
    struct bb_env env;
    struct bb_ctx ctx;
    struct sessions *sessions;
    struct live_entry *runs[RUNS_MAX]; /* asked for and not answered */
    uint64_t min_txs[RUNS_MAX];
    size_t run_count, asked_count;
    size_t resync_count;
};

/* A session of one query that keeps what it was sent. */
struct reader {
    struct session *session;
    bool is_blocked;
    size_t event_count;
    char last[64];
    bool last_is_failure;
    uint64_t last_tx;
};

/* Freed by gateway_sessions_free of its sessions. */
void world_init(struct world *world, uint64_t cursor, size_t running_max, size_t ring_bytes);
void subscribe_as(struct world *world, struct reader *reader, const char *path,
                  const char *identity, uint64_t after);
void subscribe(struct world *world, struct reader *reader, const char *path);
/* The oldest run, which the caller answers. */
struct live_entry *take_run(struct world *world);
void answer_end(struct live_entry *entry, enum live_end end, uint64_t tx, const char *value,
                const char *low, const char *high);
/* The oldest run ends with `value`, having read [low, high). */
void answer(struct world *world, uint64_t tx, const char *value, const char *low, const char *high);
void write_key(struct world *world, uint64_t tx, const char *key);
void expect(const struct reader *reader, size_t count, const char *value, uint64_t tx);

#endif
