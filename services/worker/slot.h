/* A slot process as slot.c (its life) and slot_io.c (its frames) see it. */
#ifndef WORKER_SLOT_H
#define WORKER_SLOT_H

#include "worker.h"

#define SLOT_MAGIC     0x534c4f54u
#define SLOT_KNOWN_MAX 3
#define SLOT_AHEAD_MAX 48 /* calls that a busy slot may have to run next */
/* So many, then it runs empty once: those who need a free slot (lanes, calls of other code)
 * shall get one. */
#define SLOT_AHEAD_ROW 64

enum slot_state {
    SLOT_OFF,      /* no process; one is started when its time has come */
    SLOT_STARTING, /* until SlotReady */
    SLOT_IDLE,
    SLOT_RESERVED, /* a call has it and waits for code */
    SLOT_BUSY,
    SLOT_ENDING /* it was told to end, or said that it will */
};

struct slot_io;
struct slot {
    uint32_t magic;
    struct worker *worker;
    size_t index;
    enum slot_state state;
    struct bb_child *child; /* NULL while it is STARTING: the zygote has not answered */
    struct slot_io *io;     /* NULL: no socket */
    struct call *call;
    /* Calls that were sent with it and run after it: a chain, each on the one before; or queries
     * that were sent ahead, so that the slot need not wait for the next one. */
    struct bb_list behind;
    size_t behind_count;
    uint64_t expected_us; /* what all of these take, as calls of their functions did */
    /* Queries that were sent ahead and are run elsewhere now: what it says of them is dropped. When
     * only they are left, `call` is NULL and the slot is still busy. */
    uint64_t revoked[SLOT_AHEAD_MAX];
    size_t revoked_count;
    unsigned ahead_count;    /* calls that it was sent ahead since it was free */
    struct reading *reading; /* what its call waits for */
    uint64_t batch;          /* the slot's name of that */
    uint64_t started_us, start_at_us, backoff_us;
    uint64_t end_by_us; /* ENDING, or busy with revoked calls: killed then; 0: not looked at yet */
    bool is_overdue;    /* killed, because its call ran too long */
    bool is_held;       /* by a call that takes long (spare.h) */
    uint64_t held_from_us, reading_from_us; /* the call began, later by what it waited for reads */
    uint64_t used_us;                       /* a spare: started, or given its last call */
    bool is_forked;                         /* its process is a copy of the zygote */
    struct {
        uint64_t deployment, code;
    } known[SLOT_KNOWN_MAX]; /* oldest first */
    size_t known_count;
};

static inline bool slot_is_spare(const struct slot *slot)
{
    return slot->index >= slot->worker->slot_count - slot->worker->spare_count;
}

/* The zygote's answer to a start: its process is there, a child of ours; or there is none, and the
 * next one is started after that time. */
void worker_slot_born(struct slot *slot, int64_t pid);
void worker_slot_unborn(struct slot *slot, uint64_t after_us);
/* When memory is short, the kernel shall take it and not us. */
void worker_raise_oom_score(int64_t pid);
/* Takes the descriptor, if it succeeds. */
int worker_slot_io_open(struct slot *slot, int fd);
void worker_slot_io_close(struct slot *slot);
/* Handle what has come. */
void worker_slot_io_drain(struct slot *slot);
/* One message of the slot. Not BB_OK: it makes no sense, the slot must go. */
int worker_slot_frame(struct slot *slot, struct bb_slice frame);
/* Code and catalog, if it does not have them. `modules` may be NULL when it knows the code. */
void worker_slot_give(struct slot *slot, const struct catalog *catalog,
                      const struct cache_read *modules);
/* One that waits behind the call of the slot is taken away from it. */
void worker_slot_drop(struct slot *slot, struct call *call);
/* Goes out at the end of the turn. */
void worker_slot_send(struct slot *slot, const Bb__Proto__ToSlot *message);

#endif
