/*
 * The raft_io of a simulated node: what libraft would have of libuv, files and sockets. The
 * library's core and `libs/replog` around it are the real ones.
 */
#ifndef SIM_RAFT_IO_H
#define SIM_RAFT_IO_H

#include <raft.h>

#include "parts.h"

struct bb_replog;

/* An entry on a disk. */
struct sim_raft_entry {
    raft_term term;
    enum raft_entry_type type;
    struct bb_slice bytes;
};
struct sim_raft_snapshot {
    raft_index index;
    raft_term term;
    struct raft_configuration configuration;
    raft_index configuration_index;
    struct bb_slice bytes;
};
/* What the disk of a node holds; all of it is safe. */
struct sim_raft {
    raft_term term;
    raft_id voted_for;
    struct sim_raft_entry *entries;
    size_t count, capacity;
    raft_index first;                   /* of the entries */
    struct sim_raft_snapshot *snapshot; /* NULL: none */
    struct sim_raft_life *life;         /* of the process that has it open; NULL: none */
};

#define SIM_RAFT_CAPACITY_KB 16384 /* of segments made ahead */

/* One process's use of it. */
struct sim_raft_life {
    struct raft_io *io;
    struct sim_node *node;
    struct sim_raft *disk;
    raft_id id;
    char *address;
    raft_io_tick_cb tick;
    raft_io_recv_cb recv;
    unsigned tick_ms;
    struct bb_list writes; /* struct write of raft_disk.c, in order */
    struct bb_list sends, gets;
    bool is_writing, is_closed, is_touched;
    uint64_t
        last_arrival_us[SIM_NODES_MAX]; /* of what was sent to each node: a stream has an order */
    uint32_t admitted[SIM_NODES_MAX];   /* the life of each node, plus 1, that was admitted */
    /* What was sent to each node, and when the last of it has left; what was seen of each. */
    uint64_t sent_bytes[SIM_NODES_MAX], left_us[SIM_NODES_MAX], seen_bytes[SIM_NODES_MAX];
};
struct sim_raft_life *sim_raft_life_of(struct raft_io *io);

/* raft_disk.c */
void sim_raft_disk_methods(struct raft_io *io);
void sim_raft_disk_close(struct sim_raft_life *life); /* what is under way ends */

/* raft_net.c */
int sim_raft_send(struct raft_io *io, struct raft_io_send *request,
                  const struct raft_message *message, raft_io_send_cb done);
void sim_raft_net_close(struct sim_raft_life *life);
/* How many bytes came from the node of that number; 0: there is no connection. */
uint64_t sim_raft_received(struct sim_raft_life *life, raft_id id);
uint64_t sim_raft_transfer_us(uint64_t bytes); /* at the weather's rate */

/* uv.c: closing callbacks of a node run soon, or when its loop is run by hand. */
void sim_uv_later(void (*run)(void *arg), void *arg);

#endif
