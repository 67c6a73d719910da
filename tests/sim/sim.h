/*
 * The simulated world: one thread, one clock, one source of chance. The services are the real ones;
 * what stands for kernel, network, disk, Raft and V8 is here.
 *
 * Everything that happens is an event of a node at a time. A node that is killed starts a new life;
 * events of the old one are dropped. Threads of a service (and scripts in slots) are fibers.
 * Ownership: nothing is given back when a node dies; a run lives in a process of its own.
 */
#ifndef SIM_H
#define SIM_H

#include <ucontext.h>

#include "bb/env.h"
#include "bb/obs.h"
#include "bb/rt.h"
#include "bb/wire.h"

#define SIM_NODES_MAX 24
#define SIM_WALL_US   UINT64_C(1790000000000000) /* the wall clock when a run begins */

enum sim_role {
    SIM_STORAGE,
    SIM_SEQUENCER,
    SIM_WORKER,
    SIM_GATEWAY,
    SIM_CLIENT
};

struct sim_disk;
struct sim_raft;
struct sim_fiber;
struct sim_server;
struct sim_node {
    struct bb_env env; /* first: an env is a node */
    char name[24];
    enum sim_role role;
    size_t index; /* among all; a link is a pair of these */
    uint32_t life;
    bool is_up, is_starting, is_stopping, is_ready;
    bool is_kept_down;        /* nobody starts it again */
    bool is_reseeding;        /* takes over a checkpoint */
    uint64_t paused_until_us; /* stopped by a signal until then */
    int64_t skew_us;          /* of its wall clock */
    uint64_t boot_us;         /* its monotonic clock counts from here */
    struct bb_service *service;
    struct bb_loop *loop;
    struct bb_log *log;
    struct sim_disk *disk; /* survives its lives */
    struct sim_raft *raft;
    struct bb_list servers;
    char **argv;
    int argc;
    uint64_t restart_us; /* at the earliest */
    unsigned deaths;
};

struct sim_event {
    uint64_t at_us, order;
    struct sim_node *node; /* NULL: the world's */
    uint32_t life;
    void (*run)(void *arg);
    void *arg;
    bool is_cancelled;
};

/* What the scenario asks of chance; times in us. */
struct sim_weather {
    uint32_t latency_us, jitter_us; /* of a message */
    uint32_t loss_ppm, duplicate_ppm;
    uint32_t sync_us, sync_jitter_us; /* of the disk */
    uint32_t stall_ppm, stall_us;     /* now and then a sync takes this long */
    uint32_t bytes_per_s; /* of a link between storage nodes and of their disks; 0: any number */
};

struct sim {
    uint64_t seed, now_us, order, random[4];
    uint64_t hash; /* of all that happened */
    uint64_t events;
    uint64_t end_us;
    bool is_over, is_verbose;
    struct sim_event **heap;
    size_t heap_count, heap_capacity;
    struct sim_node nodes[SIM_NODES_MAX];
    size_t node_count;
    struct sim_node *current; /* whose event runs */
    struct sim_fiber *fiber;  /* that runs; NULL: none */
    struct sim_weather weather;
    uint64_t cut[SIM_NODES_MAX][SIM_NODES_MAX]; /* from, to: cut until then */
    uint32_t failpoint_ppm;                     /* chance to die at each point that is passed */
    uint64_t failpoints;                        /* deaths by them */
    uint64_t log_bytes;                         /* the log is cut when it has grown by this */
    uint64_t log_trailing;                      /* and as many entries stay, at least */
    char failure[1024];
};
extern struct sim sim;

/* ---- engine.c ---- */

void sim_init(uint64_t seed);
struct sim_event *sim_at(struct sim_node *node, uint64_t at_us, void (*run)(void *arg), void *arg);
struct sim_event *sim_after(struct sim_node *node, uint64_t delay_us, void (*run)(void *arg),
                            void *arg);
void sim_cancel(struct sim_event *event); /* accepts NULL */
void sim_run(void);                       /* until sim.is_over, a failure or sim.end_us */
/* The first one counts; the run ends. */
void sim_fail(const char *format, ...) BB_PRINTF(1, 2);
uint64_t sim_random(void);
uint64_t sim_below(uint64_t limit); /* 0 .. limit - 1 */
bool sim_chance(uint32_t ppm);
/* Goes into the hash and the trace of the last events. */
void sim_trace(const char *format, ...) BB_PRINTF(1, 2);
void sim_trace_bytes(struct bb_slice bytes);
void sim_trace_print(void);

struct sim_fiber *sim_fiber_new(void (*run)(void *arg), void *arg);
void sim_fiber_wake(struct sim_fiber *fiber, uint64_t delay_us);
void sim_fiber_wait(void); /* in a fiber: until it is woken */
void sim_fiber_sleep(uint64_t delay_us);
bool sim_fiber_is_done(const struct sim_fiber *fiber);
void sim_fiber_join(struct sim_fiber *fiber);   /* from outside of fibers: runs it to its end */
void sim_fiber_run_on(struct sim_fiber *fiber); /* the same, until it waits once more */

/* ---- node.c ---- */

struct sim_node *sim_node_add(enum sim_role role, const char *name);
struct sim_node *sim_node_of(struct bb_env *env);
void sim_node_start(struct sim_node *node);
/* Power: what was not synced is lost too. */
void sim_node_kill(struct sim_node *node, bool is_power_loss, const char *why);
void sim_node_pause(struct sim_node *node, uint64_t us);
void sim_node_stop(struct sim_node *node); /* SIGTERM */
/* The running code ends its process here. */
_Noreturn void sim_die(int exit_code, const char *why);
/* A place where a process may be killed. */
void sim_failpoint(const char *name);

/* ---- wire.c ---- */

/* Delivers `run` at `to` after the network's time, or not at all; `arg` is the caller's to leak.
 * `lost` (may be NULL) runs at `from` when it is known that nobody is there. */
void sim_send(struct sim_node *from, struct sim_node *to, void (*run)(void *arg), void *arg);
bool sim_is_cut(const struct sim_node *from, const struct sim_node *to);
void sim_cut(struct sim_node *from, struct sim_node *to, uint64_t us);
void sim_heal(void);
uint64_t sim_latency(void);
void sim_wire_died(struct sim_node *node);
struct sim_node *sim_url_node(const char *url);

/* ---- disk.c, kv.c, raft_disk.c ---- */

extern const struct bb_env_ops sim_env_ops;
struct sim_disk *sim_disk_new(void);
void sim_disk_wipe(struct sim_disk *disk); /* another one is there, empty */
void sim_disk_power_loss(struct sim_disk *disk);
uint64_t sim_sync_time(const struct sim_node *node);
struct sim_disk {
    struct bb_list files;
    struct bb_list kvs; /* data files: kv.c */
    bool is_full;
    uint64_t slow_until_us;
};
void sim_kv_power_loss(struct sim_disk *disk);
void sim_kv_removed(struct sim_disk *disk, const char *path);
/* What a file has, as the process sees it; false: there is none. */
bool sim_disk_file(const struct sim_disk *disk, const char *path, struct bb_slice *bytes);
void sim_disk_forget(struct sim_disk *disk, const char *path); /* accepts any */
void sim_raft_died(struct sim_node *node, bool is_power_loss);

/* ---- slot.c ---- */

void sim_slots_died(struct sim_node *node);
/* Kills a slot's process of the worker, if there is one. */
void sim_slot_kill(struct sim_node *node);

#endif
