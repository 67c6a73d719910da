/*
 * The parts of a replicated log, shared by the files of this library.
 */
#ifndef REPLOG_INTERNAL_H
#define REPLOG_INTERNAL_H

#include <raft.h>
#include <raft/uv.h>
#include <uv.h>

#include "bb/env.h"
#include "bb/obs.h"
#include "bb/replog.h"

#include "ballot.h"
#include "source.h"

#if RAFT_VERSION_NUMBER < 2201
#error "libraft 0.22.1 or newer is needed: older ones commit entries of old terms unsafely"
#endif

#define REPLOG_MAGIC 0x676f6c72u /* "rlog" */

/* Exit codes of a log that cannot go on. */
enum {
    REPLOG_EXIT_APPEND = 70,
    REPLOG_EXIT_HANG = 71,
    REPLOG_EXIT_IO = 72
};

enum {
    REPLOG_TICK_MS = 100,
    REPLOG_APPEND_TICKS_MAX = 30,         /* 3 s of loop time without a completion, */
    REPLOG_APPEND_TICK_BYTES = 256 << 10, /* and a tick for so much that is being written */
    REPLOG_SNAPSHOT_TICKS_MAX = 300,      /* 30 s */
    REPLOG_APPEND_BATCH_BYTES = 8 << 20,  /* of further entries that are written with the first */
    REPLOG_FULL_TICKS_MAX = 100,          /* in each of which an entry was refused: 10 s or more */
    REPLOG_DURABLE_TICKS_MAX = 100,       /* 10 s: a snapshot waits no longer */
    REPLOG_QUIET_TICKS = 10,              /* after a state came */
    REPLOG_FETCH_PAUSE_TICKS = 10, /* before a state that could not be brought is asked for again */
    /* What stays behind a snapshot for a replica that is a little behind: entries up to this number
     * and these bytes, which lie in memory too; at least a few, however large they are. */
    REPLOG_TRAILING_MAX = 128,
    REPLOG_TRAILING_BYTES = 16 << 20,
    REPLOG_TRAILING_FEW = 3,
    REPLOG_THRESHOLD_NEVER = 1000000,
    REPLOG_FREE_BYTES_MIN = 128 << 20, /* two segments, the largest entry, a reserve */
    /* And up to twice that: a leader that hangs is missed for 1.2 s at most. One that is killed
     * ends its connections, and is missed for some 0.2 s: life.c. */
    REPLOG_ELECTION_MS = 600,
    REPLOG_HEARTBEAT_MS = 50
};

/* Last words of a process: what to do then. */
#define REPLOG_THEN_START "start it again"
#define REPLOG_THEN_CHECK "check the disk and start it again"
#define REPLOG_THEN_SPACE "free some space, at least 128 MB, and start it again"
#define REPLOG_THEN_REPLACE                                                                   \
    "restore the data folder from a backup, or replace the node: an empty folder, and a new " \
    "number"

/* Flushing is stuck when the log must keep more than this behind the newest entry. */
#define REPLOG_LAG_ENTRIES_MAX 100000u

struct replog_proposal {
    struct bb_list link;
    struct raft_apply request;
    struct bb_replog *replog;
    /* The head of the entry, which has a checksum of all of it: the log copies what it is given,
     * and after a change of leaders another entry may get the index of this one. */
    uint8_t head[BB_REPLOG_FRAME_HEADER];
    size_t size;
    uint8_t *entry; /* until the log has it */
    bb_replog_done_fn *done;
    void *tag;
};

/* The pointers of struct raft_io that are wrapped, as they were. */
struct replog_real_io {
    int (*load)(struct raft_io *io, raft_term *term, raft_id *voted_for,
                struct raft_snapshot **snapshot, raft_index *start_index,
                struct raft_entry *entries[], size_t *n_entries);
    int (*set_term)(struct raft_io *io, raft_term term);
    int (*set_vote)(struct raft_io *io, raft_id server_id);
    int (*append)(struct raft_io *io, struct raft_io_append *req, const struct raft_entry entries[],
                  unsigned n, raft_io_append_cb cb);
    int (*truncate)(struct raft_io *io, raft_index index);
    int (*snapshot_put)(struct raft_io *io, unsigned trailing, struct raft_io_snapshot_put *req,
                        const struct raft_snapshot *snapshot, raft_io_snapshot_put_cb cb);
    int (*snapshot_get)(struct raft_io *io, struct raft_io_snapshot_get *req,
                        raft_io_snapshot_get_cb cb);
    int (*send)(struct raft_io *io, struct raft_io_send *req, const struct raft_message *message,
                raft_io_send_cb cb);
    int (*start)(struct raft_io *io, unsigned msecs, raft_io_tick_cb tick, raft_io_recv_cb recv);
    raft_io_recv_cb recv; /* what the log wanted to be called */
    raft_io_tick_cb tick;
};

/* Connections to other nodes; peers.c. */
struct replog_peers {
    struct replog_source sources[BB_REPLOG_MEMBERS_MAX]; /* the newest connection of each node */
    struct bb_list handshakes;
    size_t incoming;
    int (*real_listen)(struct raft_uv_transport *transport, raft_uv_accept_cb cb);
    int (*real_connect)(struct raft_uv_transport *transport, struct raft_uv_connect *req,
                        raft_id id, const char *address, raft_uv_connect_cb cb);
    void (*real_close)(struct raft_uv_transport *transport, raft_uv_transport_close_cb cb);
    raft_uv_accept_cb accept;
    raft_uv_transport_close_cb closed;
    bool is_closing, is_real_closed;
    uint64_t warned_us; /* when the log last told of a peer that was refused */
};

/* A change of the members, or a transfer, under way; members.c. */
struct replog_change {
    struct raft_change request;
    struct raft_transfer transfer;
    bool is_changing, is_transferring;
    bool is_transfer_sent;
    uint64_t target, deadline_us; /* of the transfer */
    bb_replog_change_fn *done;
    void *arg;
};

/* Entries that cannot go into the log yet; room.c. */
struct replog_room {
    struct bb_list waiting; /* proposals, in order */
    uv_timer_t retry;
    bool is_retrying;
    uint64_t refused_ticks; /* since entries are refused for want of room; one taken begins anew */
    bool is_refused;        /* one was refused in this tick */
    bool is_told;           /* in the log of events, since then */
};

/* The InstallSnapshot that waits for the application to bring a state; install.c. */
struct replog_held {
    struct raft_message message;
    char *address;             /* the message's, owned */
    struct raft_message newer; /* came since; takes its place if no state could be brought */
    char *newer_address;       /* NULL: none came */
    bool is_held, is_fetching;
    uint64_t wait_ticks;    /* before `fetch` is called again */
    uint64_t durable_ticks; /* how long it has waited for what is applied to be durable */
    uint64_t quiet_ticks;   /* a state came a moment ago: the leader does not know yet */
};

/* Large entries on their way to a node; flow.c. */
struct replog_flow {
    uint64_t id;          /* of the node; 0: nobody */
    uint64_t number;      /* rises with each message that has large ones */
    uint64_t first, last; /* from the first large one to the last; last 0: none */
    uint64_t term, bytes;
    uint64_t until_us; /* then they may go once more */
    bool is_leaving;   /* the connection has not taken all of it yet */
};

/* Of the entries that were written or loaded last. */
struct replog_sizes {
    size_t bytes[128];
    size_t count;
    bool has_large;
};

/* Whether the leader is alive although no message of it is complete; life.c. */
struct replog_life {
    uint64_t leader;    /* whose bytes are counted; 0: nobody's */
    uint64_t received;  /* when they were counted last */
    uint64_t spoken;    /* when a message of it was complete last, about */
    uint64_t sign_us;   /* when bytes of it counted as a message last */
    uint64_t large_us;  /* when a large entry was written last; 0: not yet */
    uint64_t ticked_us; /* when the library was told of the time last */
    bool has_skipped;
};

/* Of a leader, as its follower sees it. */
struct replog_silence {
    uint64_t us;       /* since it said something */
    uint64_t received; /* bytes of it so far; 0: its connection has ended */
    uint64_t now_us;
};

/* How large an entry is that the log still holds. */
struct replog_size {
    uint64_t index;
    size_t bytes;
};

/* What stays in the log for a node that a state is on its way to; hold.c. */
struct replog_hold {
    uint64_t index;    /* of the state; 0: nothing is held */
    uint64_t since_us; /* when it was sent */
    uint64_t bytes;    /* that were applied since */
};

struct bb_replog {
    uint32_t magic;
    struct bb_loop *loop;
    struct bb_ctx ctx; /* for events that belong to no request */
    struct bb_replog_callbacks callbacks;
    char *dir, *address, *listen;
    uint64_t id, snapshot_bytes;
    uint64_t trailing_max; /* entries that stay for others when the log is cut; at most
                              REPLOG_TRAILING_MAX */

    struct raft raft;
    struct raft_io io;
    struct raft_fsm fsm;
    struct raft_uv_transport transport;
    struct replog_real_io real;
    struct replog_ballots ballots;        /* term and vote once more */
    bool has_transport, has_io, has_raft; /* what close must undo */
    bool is_started, is_closing, is_closed;
    bool is_pumped; /* free runs the loop until all is closed */
    bool is_joining, is_ready, is_snapshot_due;
    void (*closed)(void *arg);
    void *closed_arg;

    uv_timer_t tick;    /* watchdog, barrier retries, role */
    uv_timer_t hand_on; /* while the leadership is being transferred */
    int handles_open;
    struct raft_barrier barrier;
    bool has_barrier;             /* in flight */
    uint64_t barrier_term;        /* the term it was sent in */
    struct bb_replog_status told; /* what `role` heard last */

    struct bb_list proposals;
    uint64_t applied;   /* newest index shown to the application, or the log's own behind it */
    uint64_t shown;     /* newest index that the application's state is of */
    uint64_t logged;    /* committed, and in this log: never to be missing or taken back */
    uint64_t committed; /* as others said; no node without it may lead */
    uint64_t log_bytes;
    struct replog_size sizes[REPLOG_TRAILING_MAX]; /* of the newest entries, by index */
    struct bb_list appends;                        /* in flight, the oldest first; shims.c */
    uint64_t append_ticks;
    uint64_t append_bytes; /* in flight */
    uint64_t snapshots_in_flight, snapshot_ticks;
    struct replog_room room;
    struct replog_held held;
    struct replog_hold hold;
    struct replog_flow flows[BB_REPLOG_MEMBERS_MAX];
    uint64_t flow_number;
    struct replog_sizes recent;
    struct replog_life life;
    uint64_t hold_bytes_max;
    uint64_t got_index, got_term; /* of the snapshot that was read last, to be sent */
    struct replog_peers peers;
    struct replog_change change;
    struct bb_slice secret;               /* owned */
    const struct bb_replog_voter *voters; /* during open */
    size_t voter_count;
    uint64_t heard_us;                 /* when a leader said something last */
    uint64_t heard_term, heard_commit; /* what a leader said last that it has committed */
    uint64_t lag_warned_us;            /* when the log last complained that the data lags behind */
};

/* replog.c */
/* The process ends: nothing is known about what the disk holds. `then` says what to do. */
_Noreturn void replog_die(struct bb_replog *replog, int exit_code, const char *what,
                          const char *reason, const char *then);
int replog_status_of(int raft_status);
/* Looks at what the library believes: am I leader, ready, current? */
void replog_seek_ready(struct bb_replog *replog);
/* The proposal's entry into the log; false: not taken, the entry is still the caller's. */
bool replog_submit(struct bb_replog *replog, struct replog_proposal *proposal, int *raft_status);
bool replog_is_leader(const struct bb_replog *replog);
/* The library's getters want a pointer they may write through; they do not. */
static inline struct raft *replog_raft(const struct bb_replog *replog)
{
    union {
        const struct raft *in;
        struct raft *out;
    } raft = { .in = &replog->raft };
    return raft.out;
}

/* folder.c */
int replog_check_free_space(struct bb_ctx *ctx, const struct bb_replog *replog, uint64_t needed);
/* Removes what a first start left that was killed before the log had its first entry. */
int replog_clear_half_start(struct bb_ctx *ctx, const struct bb_replog *replog);
/* Keeps on the disk that the entries (after, last] hold nothing for the application. */
int replog_write_own(struct bb_ctx *ctx, const struct bb_replog *replog, uint64_t after,
                     uint64_t last);
/* Data that ends among such entries counts as data up to the last of them. BB_CORRUPT. */
int replog_read_own(struct bb_ctx *ctx, struct bb_replog *replog);

/* tail.c */
/* BB_CORRUPT when a file that was being written is damaged before its end. */
int replog_check_tail(struct bb_ctx *ctx, const struct bb_replog *replog);
/* False: whole batches come after a broken one, which begins at `broken_at`. */
bool replog_tail_is_sound(struct bb_slice file, uint64_t *broken_at);

/* shims.c */
void replog_wrap_io(struct bb_replog *replog);

/* heap.c: the library's memory, for the whole process. */
void replog_heap_start(void);

/* blocks.c: a log opens, and a file must be there soon: the first one is only reserved. */
void replog_blocks_start(void);
/* aio.c: finds the calls that it stands in for; without it the program may not contain them. */
void replog_aio_start(void);
/* crc.c: what libraft's checksum is exchanged for; the second one for the same reason as above. */
unsigned __wrap_byteCrc32(const void *from, size_t size, unsigned crc);
void replog_crc_start(void);
void replog_watch(struct bb_replog *replog); /* one tick */

/* room.c */
/* As replog_die: what cannot be written may be so for want of space. */
_Noreturn void replog_die_of_disk(struct bb_replog *replog, int exit_code, const char *what,
                                  const char *reason);
/* As replog_submit, or it waits: for a transfer to end, for others that wait, for room. `done` is
 * then told BB_NOT_LEADER or BB_NO_SPACE if it does not come into the log. */
bool replog_room_submit(struct bb_replog *replog, struct replog_proposal *proposal, uint8_t *entry,
                        int *raft_status);
void replog_room_step(struct bb_replog *replog); /* those that wait are tried again */
void replog_room_note(struct bb_replog *replog, int raft_status); /* what an entry met with */
const char *replog_room_why(struct bb_replog *replog);            /* there is none */
void replog_room_tick(struct bb_replog *replog);
void replog_room_close(struct bb_replog *replog);

/* install.c */
void replog_recv(struct raft_io *io, struct raft_message *message);
void replog_wrap_recv(struct bb_replog *replog);
void replog_install_tick(struct bb_replog *replog);
void replog_install_close(struct bb_replog *replog);

/* flow.c */
int replog_flow_send(struct bb_replog *replog, struct raft_io_send *request,
                     const struct raft_message *message, raft_io_send_cb done);
/* renew.c: the same, and a snapshot with what the application says of it now. */
int replog_renew_send(struct bb_replog *replog, struct raft_io_send *request,
                      const struct raft_message *message, raft_io_send_cb done);
/* The answer of a node to entries, before the library hears it. */
void replog_flow_heard(struct bb_replog *replog, const struct raft_message *message);
void replog_flow_note(struct bb_replog *replog, size_t bytes); /* of one entry more */

/* life.c */
/* Whether the leader is busy with a large entry, as far as one can tell: nobody else is elected. */
bool replog_life_waits(const struct replog_life *life, const struct replog_silence *silence);
void replog_life_note(struct bb_replog *replog, size_t bytes); /* of an entry that is written */
void replog_life_raft_tick(struct raft_io *io); /* the library's time, if it may be told now */

/* peers.c */
/* How many bytes have come from this node so far, as the kernel counts; 0: there is no
 * connection. */
uint64_t replog_peers_received(struct bb_replog *replog, uint64_t id);
void replog_wrap_transport(struct bb_replog *replog);
void replog_peers_tick(struct bb_replog *replog);

/* members.c */
void replog_change_close(struct bb_replog *replog);
/* Something was applied or the time went on: a transfer may go on. */
void replog_transfer_step(struct bb_replog *replog);

/* machine.c */
void replog_machine_init(struct bb_replog *replog);
void replog_note_size(struct bb_replog *replog, uint64_t index, size_t bytes);
/* A snapshot of this index goes out. */
void replog_hold_begin(struct bb_replog *replog, uint64_t index);
/* How many of the newest entries stay for it; `near`: with so many less a node has caught up. */
uint64_t replog_hold_trailing(struct bb_replog *replog, uint64_t last, uint64_t near);
/* How many of the entries up to `last` stay for others when the log is cut there. */
uint64_t replog_trailing(const struct bb_replog *replog, uint64_t last);
void replog_show(struct bb_replog *replog, uint64_t index, const struct raft_buffer *buffer);
/* The index a snapshot's manifest stands for. BB_CORRUPT. */
int replog_manifest_decode(struct bb_ctx *ctx, struct bb_slice bytes, uint64_t *index,
                           struct bb_slice *application);
void replog_manifest_encode(uint64_t index, struct bb_slice application, struct bb_buf *to);

#endif
