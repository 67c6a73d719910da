/*
 * A log in a temporary folder with an application that remembers what was applied to it.
 */
#ifndef TESTS_REPLOG_LOG_H
#define TESTS_REPLOG_LOG_H

#include "bb/env.h"
#include "bb/replog.h"

#include "replog_internal.h"

enum {
    LOG_APPLIED_MAX = 4096
};

struct log_world {
    char dir[256];
    struct bb_ctx ctx;
    struct bb_loop *loop;
    struct bb_replog *replog;
    struct bb_replog_options options;
    uint64_t applied[LOG_APPLIED_MAX]; /* first 8 bytes of the payloads, in order */
    uint64_t indexes[LOG_APPLIED_MAX];
    size_t applied_count;
    uint64_t durable_index; /* what the application claims to have on disk */
    uint64_t manifest_index;
    bool refuses_manifest;
    size_t tagged_count; /* applied entries that came with their tag */
    struct bb_replog_status role;
    size_t done_count, under_way;
    int done_status;
    size_t wanted; /* run until so many are done */
    bool wants_ready, is_closed;
};

void log_init(struct log_world *world);
int log_open(struct log_world *world);
int log_start(struct log_world *world); /* open, start, until ready */
void log_propose(struct log_world *world, uint64_t value, size_t size);
void log_run(struct log_world *world, size_t done_count); /* until so many are done */
void log_run_ms(struct log_world *world, uint64_t ms);
void log_stop(struct log_world *world); /* graceful; the folder stays */
void log_fini(struct log_world *world); /* removes the folder */

#endif
