/*
 * Several logs on one loop that talk over TCP of 127.0.0.1, each in its own folder, each with an
 * application that keeps what was applied to it. A node that "dies" is closed and may come back.
 */
#ifndef TESTS_REPLOG_CLUSTER_H
#define TESTS_REPLOG_CLUSTER_H

#include "bb/env.h"
#include "bb/replog.h"

#include "replog_internal.h"

enum {
    CLUSTER_NODES = 5,
    CLUSTER_VALUES = 20000
};

struct cluster;
struct cluster_node {
    struct cluster *cluster;
    uint64_t id;
    char dir[64], address[32];
    const char *secret;
    bool is_joining, is_up;
    struct bb_replog *replog;
    struct bb_replog_status role;
    uint64_t *values; /* applied, in order; they survive the node like data on a disk */
    uint64_t *indexes;
    size_t count;
    uint64_t logged;                    /* what its log had, as its "disk" says */
    uint64_t durable_lag;               /* how many entries the "disk" is behind */
    uint8_t incarnation[16], known[16]; /* its own, and as the others know it */
    bool refuses_peers, was_refused;
    char why[128]; /* what the refusal said */
    size_t fetch_count;
    uint64_t fetch_from;
};
struct cluster {
    struct bb_ctx ctx;
    struct bb_loop *loop;
    size_t node_count, voter_count;
    uint64_t snapshot_bytes, hold_bytes_max;
    bool is_way_shut; /* a state that is brought does not arrive */
    struct cluster_node nodes[CLUSTER_NODES];
    struct bb_replog_voter voters[CLUSTER_NODES];
    uint64_t next_value;
    uint64_t acknowledged[CLUSTER_VALUES];
    size_t acknowledged_count, unknown_count, refused_count, under_way;
    bool is_changed;
    int change_status;
    bool is_timed_out;
};

/* `voter_count` of the nodes form the first configuration, the others join. */
void cluster_init(struct cluster *cluster, size_t node_count, size_t voter_count);
void cluster_start(struct cluster *cluster, size_t node);
/* The same, and what came of it; `ctx.error` says why. */
int cluster_try_start(struct cluster *cluster, size_t node);
void cluster_kill(struct cluster *cluster, size_t node);
/* Of a dead node: its folder is empty, and it has applied nothing. Others do not see it. */
void cluster_lose_disk(struct cluster *cluster, size_t node);
void cluster_fini(struct cluster *cluster);

/* The node that is a ready leader in the highest term, or NULL. */
struct cluster_node *cluster_leader(struct cluster *cluster);
/* Runs the loop until it is true; the test fails after 20 s. */
void cluster_until(struct cluster *cluster, bool (*is_true)(struct cluster *cluster));
void cluster_run_ms(struct cluster *cluster, uint64_t ms);
bool cluster_has_leader(struct cluster *cluster);
/* All nodes that are up have applied the same. */
bool cluster_is_equal(struct cluster *cluster);
bool cluster_is_changed(struct cluster *cluster);
bool cluster_is_quiet(struct cluster *cluster); /* nothing is under way */
/* Proposes one value at the leader, if there is one that takes it. */
bool cluster_propose(struct cluster *cluster, size_t size);
/* Proposes one after another until so many more are acknowledged. */
void cluster_write(struct cluster *cluster, size_t count, size_t size);
/* Every acknowledged value is on that node, once and in order. */
void cluster_check_ledger(struct cluster *cluster, size_t node);
void cluster_on_changed(void *cluster, int status);

#endif
