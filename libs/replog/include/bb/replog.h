/*
 * The replicated log: an entry that was proposed and acknowledged is synced on a majority and is
 * applied by every replica in the same order. Raft by libraft; this library is the only code that
 * includes its headers, and the guards it puts around it are part of correctness.
 *
 * Ownership: the log owns its entries. Threads: everything on the owner thread of the loop given at
 * open; callbacks run there too and must neither block nor fail.
 * Durability: `done` with BB_OK means synced and applied. Any failed or hanging write of the log
 * ends the process with a clear last line (exit code 70, 71 or 72): what the disk then holds is
 * unknown.
 */
#ifndef BB_REPLOG_H
#define BB_REPLOG_H

#include "bb/base.h"
#include "bb/rt.h"

struct bb_replog;

/* ---- entries: our own frame around a batch; docs/formats/log.md ---- */

enum bb_replog_kind {
    BB_REPLOG_APPEND = 1,
    BB_REPLOG_CLAIM = 2,
    BB_REPLOG_MEMBER = 3
};

#define BB_REPLOG_FRAME_HEADER 56u
#define BB_REPLOG_ENTRY_MAX    (33u << 20) /* a batch of 32 MB and its frame */

struct bb_replog_frame {
    enum bb_replog_kind kind;
    uint64_t epoch, seq;
    struct bb_txtime base_tx, last_tx;
    uint32_t count; /* transactions in the payload */
    struct bb_slice payload;
};
/* Bytes of the entry that carries this much payload: a multiple of 8. */
size_t bb_replog_frame_size(size_t payload_size);
/* Writes the whole entry, padding included, to `to` (bb_replog_frame_size bytes). */
void bb_replog_frame_encode(const struct bb_replog_frame *frame, uint8_t *to);
/* BB_CORRUPT says what is wrong; BB_WRONG_VERSION. The payload borrows from `entry`. */
int bb_replog_frame_decode(struct bb_ctx *ctx, struct bb_slice entry,
                           struct bb_replog_frame *frame);

/* ---- the application's side ---- */

struct bb_replog_entry {
    uint64_t index;
    struct bb_slice bytes; /* valid during the call only */
    void *tag;             /* of the proposal if this node made it and still waits, else NULL */
};
struct bb_replog_status {
    uint64_t term, leader; /* leader 0: unknown */
    uint64_t applied, last_index;
    uint64_t log_bytes; /* since the last snapshot */
    bool is_leader;
    bool is_ready; /* leader, and all that earlier leaders committed is applied */
    /* Leads and is ready, or follows and has applied what its leader said last was committed. */
    bool is_current;
    bool is_voter;
};
/* Who a node is, as peers tell each other when they connect. */
struct bb_replog_identity {
    uint64_t id;
    uint8_t cluster[16];     /* zeros: not known yet */
    uint8_t incarnation[16]; /* of the node's folder; another one after its disk was lost */
};
struct bb_replog_callbacks {
    /* A committed entry; index rises by one from call to call but for the log's own entries.
     * Entries up to `applied` of the options are not shown. */
    void (*apply)(void *arg, const struct bb_replog_entry *entry);
    /* Everything up to this index survives the loss of the log. */
    uint64_t (*durable_index)(void *arg);
    /* Appends the application's part of the snapshot's manifest, about 100 bytes. */
    void (*manifest)(void *arg, struct bb_buf *to);
    /* Appends a manifest of before as it goes to another node now: it names the same state. NULL:
     * as it was. */
    void (*renew)(void *arg, struct bb_slice manifest, struct bb_buf *to);
    /* Whether the state on this node includes what the manifest names. */
    bool (*covers)(void *arg, struct bb_slice manifest);
    /*
     * This node fell behind what the log of its leader still holds: bring the state that the
     * manifest names, or a later one, from node `from` or any other, then call bb_replog_fetched.
     * One at a time; `manifest` is valid during the call only. NULL: such a node stays behind for
     * ever.
     */
    void (*fetch)(void *arg, uint64_t from, struct bb_slice manifest);
    /* Leader, readiness or term changed. */
    void (*role)(void *arg, const struct bb_replog_status *status);

    /* The rest concerns peers; each may be NULL for a node without them, `identity` else not. */
    void (*identity)(void *arg, struct bb_replog_identity *self);
    /* Whether a peer that knows the secret may take part; else `why` says why not. */
    bool (*admit)(void *arg, const struct bb_replog_identity *peer, char *why, size_t size);
    /* A peer did not admit this node. */
    void (*refused)(void *arg, uint64_t peer, const char *why);
    /* "name:port" of a node; NULL: as the log's configuration says. Lives until the next call. */
    const char *(*address)(void *arg, uint64_t id);
    void *arg;
};

struct bb_replog_voter {
    uint64_t id;
    const char *address;
};

struct bb_replog_options {
    const char *dir;     /* made when missing */
    uint64_t id;         /* of this node, > 0, never used again after a disk was lost */
    const char *address; /* "name:port" by which peers reach it; NULL: "127.0.0.1:1", no peers */
    const char *listen;  /* numeric "ip:port"; NULL: no peer can connect */
    /*
     * The voters of a new cluster, this node among them; the same list on each of them, used at the
     * first start only. None: this node alone, unless it is_joining: then it waits to be added.
     */
    const struct bb_replog_voter *voters;
    size_t voter_count;
    bool is_joining;
    /* What all nodes know and nobody else; copied. Without it peers must be on the loopback. */
    struct bb_slice secret;
    uint64_t applied;        /* replay starts after this index */
    uint64_t logged;         /* what bb_replog_logged said, as the application's disk has it */
    uint64_t free_bytes_min; /* 0: room for two segments, the largest entry and a reserve */
    uint64_t snapshot_bytes; /* the log is cut when it has grown by this; 0: 16 MB */
    uint64_t hold_bytes_max; /* of the log, kept in memory for a node that is brought; 0: 256 MB */
    struct bb_replog_callbacks callbacks;
};

/*
 * Prepares the folder; a new log is bootstrapped with this node as its only voter. BB_NO_SPACE,
 * BB_CORRUPT, BB_IO, BB_ADDRESS_IN_USE with a sentence that says what to do.
 */
int bb_replog_open(struct bb_ctx *ctx, struct bb_loop *loop,
                   const struct bb_replog_options *options, struct bb_replog **replog);
/* Loads the log; applies what a snapshot covers and `applied` does not before it returns. A single
 * voter leads at once; `role` tells when it is ready. */
int bb_replog_start(struct bb_ctx *ctx, struct bb_replog *replog);
/*
 * Entries up to this index were committed, and lie in this node's own log. The application keeps
 * it with its state and gives it back at the next start: a log that ends before it has lost what
 * others rely on, and is refused.
 */
uint64_t bb_replog_logged(struct bb_replog *replog);
/*
 * Another member says that entries up to `index` were committed. From then on this node helps to
 * elect nobody whose log ends before it, nor stands for election itself: it may have been started
 * on an older copy of its folder, and the others that it hears may be behind.
 */
void bb_replog_committed(struct bb_replog *replog, uint64_t index);
/* Proposals under way end with BB_OUTCOME_UNKNOWN before `closed` is called. */
void bb_replog_close(struct bb_replog *replog, void (*closed)(void *arg), void *arg);
/* After close, or while the loop does not run (then it closes first). Accepts NULL. */
void bb_replog_free(struct bb_replog *replog);

/* Memory for an entry of bb_replog_frame_size bytes. */
uint8_t *bb_replog_entry_new(size_t size);
void bb_replog_entry_free(uint8_t *entry);

/*
 * BB_OK: applied (`apply` ran with this tag before). BB_OUTCOME_UNKNOWN: it may or may not come.
 * BB_NOT_LEADER, BB_NO_SPACE: it waited, for a transfer of the leadership to end or for room in the
 * log, a second at most, and is not in the log.
 * Called once, never from inside propose.
 */
typedef void bb_replog_done_fn(void *tag, int status);
/* Takes `entry`, on failure too. BB_NOT_LEADER, BB_NOT_YET (leader, not ready), BB_NO_SPACE,
 * BB_TOO_LARGE: it is not in the log and `done` is not called. `tag` is not NULL. */
int bb_replog_propose_take(struct bb_ctx *ctx, struct bb_replog *replog, uint8_t *entry,
                           size_t size, bb_replog_done_fn *done, void *tag);

/*
 * Between the steps of a long turn of the loop, as with a batch of megabytes: a leader says that it
 * is alive if that is due. Never from inside a callback of the log. Does not block.
 */
void bb_replog_pulse(struct bb_replog *replog);
#define BB_REPLOG_LARGE ((size_t)256 << 10) /* what makes a turn long */

/*
 * What `fetch` asked for has ended. BB_OK: the state on this node is the one after entry `applied`,
 * never an older one than before; entries up to there are not shown any more. Else the same or a
 * newer state is asked for again in a moment. Never from inside `fetch`.
 */
void bb_replog_fetched(struct bb_replog *replog, int status, uint64_t applied);

void bb_replog_status(const struct bb_replog *replog, struct bb_replog_status *status);
/* Up to which entry node `id` has told this one, which leads, to have all; 0: it does not lead. */
uint64_t bb_replog_acknowledged(const struct bb_replog *replog, uint64_t id);

/* The log is cut as soon as it has something newer than its last snapshot, however little: what a
 * node that fell behind hears is then of now. */
void bb_replog_cut(struct bb_replog *replog);

/* ---- who belongs to the cluster ---- */

enum bb_replog_role {
    BB_REPLOG_SPARE,   /* gets nothing yet */
    BB_REPLOG_STANDBY, /* gets the log, has no vote */
    BB_REPLOG_VOTER
};
struct bb_replog_member {
    uint64_t id;
    enum bb_replog_role role;
    const char *address; /* until the loop runs again */
};
#define BB_REPLOG_MEMBERS_MAX 32
/* As the newest configuration in this node's log says, committed or not; at most `max`. */
size_t bb_replog_members(const struct bb_replog *replog, struct bb_replog_member *to, size_t max);

/* Called once, never from inside the call that it ends. The caller reads the members again: a
 * change that ended with BB_OUTCOME_UNKNOWN may have been made. */
typedef void bb_replog_change_fn(void *arg, int status);
/*
 * One at a time, by a ready leader; BB_BUSY while another, a transfer or a snapshot is under way.
 * BB_NOT_LEADER, BB_EXISTS, BB_NOT_FOUND: nothing was changed and `done` is not called.
 * A new node is a spare. To make it a voter may take long: it gets the log first; when it cannot be
 * reached `done` says BB_PEER_GONE and nothing was changed.
 */
int bb_replog_add(struct bb_ctx *ctx, struct bb_replog *replog, uint64_t id, const char *address,
                  bb_replog_change_fn *done, void *arg);
int bb_replog_assign(struct bb_ctx *ctx, struct bb_replog *replog, uint64_t id,
                     enum bb_replog_role role, bb_replog_change_fn *done, void *arg);
int bb_replog_remove(struct bb_ctx *ctx, struct bb_replog *replog, uint64_t id,
                     bb_replog_change_fn *done, void *arg);
/*
 * Hands the leadership to voter `id`, 0: to the one that has most of the log. What is proposed
 * meanwhile is held, at most 1 s. `done`: BB_OK: this node leads no more; BB_TIMEOUT: it still
 * does. BB_NOT_LEADER, BB_NOT_FOUND, BB_BUSY: `done` is not called.
 */
int bb_replog_transfer(struct bb_ctx *ctx, struct bb_replog *replog, uint64_t id,
                       bb_replog_change_fn *done, void *arg);

#endif
