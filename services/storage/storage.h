/*
 * What a storage node's owner thread holds, shared by the files of this service.
 */
#ifndef STORAGE_STORAGE_H
#define STORAGE_STORAGE_H

#include "bb/env.h"
#include "bb/feed.h"
#include "bb/obs.h"
#include "bb/replog.h"
#include "bb/rt.h"
#include "bb/store.h"
#include "bb/wire.h"

#include "fence.h"
#include "fetch.h"
#include "folder.h"
#include "peers.h"
#include "send.h"
#include "storage.pb-c.h"

enum {
    STORAGE_CONTEXTS = 512,  /* requests that may be here at once */
    STORAGE_TAILS_MAX = 384, /* of them, tails that wait; more get BB_BUSY */
    STORAGE_READ_QUEUE_MAX = 1024,
    STORAGE_WAIT_MAX_MS = 30000,  /* of a tail */
    STORAGE_READ_WAIT_MS = 20,    /* for a tx that is not applied yet, then BB_NOT_YET */
    STORAGE_CLAIM_WAIT_MS = 2000, /* for the lease of the present holder to end */
    STORAGE_LEASE_MS = 900,       /* three missed renewals */
    STORAGE_TICK_MS = 250,
    STORAGE_FEED_SYNC_MS = 2000,
    STORAGE_FEED_SYNC_BYTES = 8 << 20,
    STORAGE_REPLY_BYTES = 4 << 20, /* of a read, if it does not say */
    STORAGE_REPLY_BYTES_MAX = 32 << 20,
    STORAGE_TAIL_BYTES = 1 << 20,
    STORAGE_TAIL_BYTES_MAX = 16 << 20,
    STORAGE_BATCH_MAX = 32 << 20,
    STORAGE_OPS_MAX = 65536
};
enum {
    STORAGE_EXIT_DATA = 73
}; /* the data, or the feed, can not be written, or disagrees with the log */

enum storage_wait {
    STORAGE_WAIT_READ,
    STORAGE_WAIT_TAIL,
    STORAGE_WAIT_CLAIM
};

/* A request that waits; in its exchange's arena. */
struct storage_waiter {
    struct bb_list link;
    enum storage_wait kind;
    struct bb_exchange *exchange;
    const Bb__Proto__StorageRequest *request;
    uint64_t deadline_us;
};

/* A connection to another storage node. */
struct storage_peer {
    uint64_t id;
    struct bb_peer *peer;
};

/* Whether what reads look up is in memory, as far as it was seen: read.c. */
struct storage_warmth {
    uint64_t waits;    /* for the disk, of this thread, when it was looked at last */
    uint64_t since_us; /* only from then on this thread reads itself */
    uint32_t pause_ms; /* after the next wait */
    uint32_t reads;    /* of this thread without a wait */
};

/* compare.c */
enum {
    COMPARE_STEP = 1024, /* entries */
    COMPARE_KEPT = 16,
    COMPARE_ANSWERS = BB_REPLOG_MEMBERS_MAX
};
struct compare_mark {
    uint64_t mark, chain; /* the chain before the first entry at or after mark * COMPARE_STEP */
};
struct compare_answer {
    uint64_t id, chain;
};
struct compare {
    struct compare_mark marks[COMPARE_KEPT]; /* a ring */
    size_t next;
    uint64_t asked, asked_us; /* the mark that the others are asked about */
    struct compare_answer answers[COMPARE_ANSWERS];
    size_t answer_count;
    bool is_told;
};

/* forgot.c */
struct forgot {
    uint64_t asked_us;
    uint64_t term;  /* in which the answers were given */
    unsigned times; /* one after the other that said so */
    bool is_asking, is_settled;
    uint64_t heard[BB_REPLOG_MEMBERS_MAX]; /* members that said what was committed */
    size_t heard_count, asking_count;
};
struct forgot_facts {
    uint64_t term, acknowledged;   /* as the leader answered; term 0: it does not say */
    uint64_t own_term, last_index; /* of this node's log */
};
enum forgot_verdict {
    FORGOT_NOT_TOLD, /* who answered does not say, or leads no more */
    FORGOT_NOTHING,
    FORGOT_MAYBE,
    FORGOT_SURELY
};

#define STORAGE_MAGIC 0x65646f6eu /* "node" */
struct storage {
    uint32_t magic;
    struct bb_service *service;
    struct bb_loop *loop;
    struct bb_ctx *ctx; /* the loop's */
    struct folder folder;
    struct bb_store *store;
    struct bb_feed *feed;
    struct bb_replog *replog;
    struct bb_server *server;
    struct bb_pool *readers;
    size_t reader_count; /* of the pool; then come the hash and this thread */
    struct storage_warmth warmth;
    struct bb_arena **reader_arenas; /* one for each reader thread */
    struct bb_arena *scratch;        /* the owner thread's; reset after each use */

    struct fence fence;
    uint64_t store_index;              /* what the store held at the start: */
    uint64_t store_chain;              /* replay must come to the same chain there */
    struct bb_buf encoded;             /* the fence as it was encoded last */
    uint64_t replayed, replayed_bytes; /* entries shown before this node was ready first */

    bool is_volatile;
    bool is_ready;   /* leads, and has applied all that was committed before */
    bool is_current; /* leads, or follows without lag */
    bool has_been_ready;
    bool is_stopping, is_log_closed, is_told_stopped;
    uint64_t term, leader;

    struct peers self;   /* this node among the others, as the options say */
    struct members seen; /* of a manifest that is not covered here: who may have what it names */
    uint64_t seen_index; /* the entry that it names */
    struct storage_peer peers[MEMBER_MAX];
    size_t peer_count;
    struct compare compare;
    struct forgot forgot;
    bool is_announcing, is_changing, is_handing_over;
    uint64_t announce_us, refused_us;
    uint64_t cut_us; /* then the log is cut, so that its manifest has the members; 0: it has them */

    bool is_lease_local; /* no other process can hold a lease of an earlier run */
    uint64_t lease_us;   /* when the holder was heard of last */

    struct bb_list waiters;
    size_t tail_count;
    bool has_news; /* something was applied since waiters were looked at */
    struct bb_timer *wait_timer;
    uint64_t wait_timer_us; /* when it fires; 0: not set */
    struct bb_timer *tick;
    uint64_t feed_dirty_us;  /* since when the feed has something unsynced; 0: nothing */
    uint64_t feed_damage_us; /* when it was said that a part of it cannot be read; 0: never */
    size_t proposals, scans; /* under way */
    size_t claims;           /* of the proposals: while one is undecided no lease is renewed */
    size_t passes;           /* of the scans: requests that the leader has */
    uint64_t passed_us;      /* when the last one went there; 0: never */

    /* Work on the data as a whole, on threads of its own. */
    struct bb_pool *care;
    size_t cares; /* jobs under way */
    volatile bool is_care_cancelled;
    bool is_compacting, is_hashing;
    uint64_t compact_percent, compact_look_us;
    struct storage_sender sender;
    struct storage_reseed *reseed; /* NULL: this node does not take over a checkpoint */

    ProtobufCBinaryData *records; /* scratch of tail replies */
    size_t record_count, record_capacity;

    struct bb_metric *appends, *append_bytes, *append_refused, *reads, *reads_here, *read_entries,
        *tails, *tails_waiting, *passed_on, *applied_tx, *mapped, *runs;
    struct bb_histogram *append_time, *read_time;
};

/* The last line, in which `then` says what to do; then the process ends. Any thread. */
_Noreturn void storage_die(struct storage *node, const char *what, const char *why,
                           const char *then);
#define STORAGE_THEN_CHECK "check the disk and start it again"
#define STORAGE_THEN_SPACE "free some space and start it again"
#define STORAGE_THEN_RESTORE \
    "restore the folder from a backup, or replace the node: an empty folder, and a new number"
#define STORAGE_THEN_REPLACE \
    "this folder must not be used again: add the node with a new number and an empty folder"

/* reply.c: every request ends in one of these. */
static inline Bb__Proto__StorageReply storage_new_reply(void)
{
    Bb__Proto__StorageReply reply;
    bb__proto__storage_reply__init(&reply);
    return reply;
}
void storage_reply(struct bb_exchange *exchange, Bb__Proto__StorageReply *reply);
void storage_refuse(struct bb_exchange *exchange, int status, const char *error);
/* Who cannot write says who can. */
void storage_refuse_not_leader(struct storage *node, struct bb_exchange *exchange);
/* BB_BAD_REQUEST: the message is not one that may be read. */
int storage_validate(struct bb_ctx *ctx, const Bb__Proto__StorageRequest *request);

/* write.c */
void storage_append(struct storage *node, struct bb_exchange *exchange,
                    const Bb__Proto__StorageRequest *request);
void storage_claim(struct storage *node, struct bb_exchange *exchange,
                   const Bb__Proto__StorageRequest *request);
void storage_renew(struct storage *node, struct bb_exchange *exchange,
                   const Bb__Proto__StorageRequest *request);
/* The log's callbacks. */
void storage_apply(void *arg, const struct bb_replog_entry *entry);

typedef void storage_member_done_fn(void *arg, int status, const char *error);
/* An entry about a member; `done` is called once, never from inside. */
void storage_propose_member(struct storage *node, const struct member_entry *entry,
                            storage_member_done_fn *done, void *arg);

/* members.c */
void storage_members(struct storage *node, struct bb_exchange *exchange,
                     const Bb__Proto__StorageRequest *request);
void storage_announce(struct storage *node, struct bb_exchange *exchange,
                      const Bb__Proto__StorageRequest *request);
void storage_members_tick(struct storage *node);
void storage_members_changed(struct storage *node);
void storage_members_close(struct storage *node);
/* The numbers of those with a vote, as the newest configuration here says. */
size_t storage_voters(const struct storage *node, uint64_t voters[BB_REPLOG_MEMBERS_MAX]);
/* The same for a reply, with where they answer; until the loop runs again. */
struct storage_voter_list {
    Bb__Proto__Voter rows[BB_REPLOG_MEMBERS_MAX];
    Bb__Proto__Voter *pointers[BB_REPLOG_MEMBERS_MAX];
    char urls[BB_REPLOG_MEMBERS_MAX][MEMBER_TEXT_MAX + 1];
};
size_t storage_list_voters(const struct storage *node, struct storage_voter_list *list);
/* Where node `id` answers clients; NULL: not known. Lives until the loop runs again. */
const char *storage_member_url(const struct storage *node, uint64_t id);
/* A connection to node `id`; NULL: it is not known where it is. */
struct bb_peer *storage_member_peer(struct storage *node, uint64_t id);
/* The log's callbacks. */
void storage_identity(void *arg, struct bb_replog_identity *self);
bool storage_admit(void *arg, const struct bb_replog_identity *peer, char *why, size_t size);
void storage_refused(void *arg, uint64_t peer, const char *why);
const char *storage_address(void *arg, uint64_t id);

/* compare.c */
void storage_compare_note(struct storage *node, uint64_t index);
void storage_compare(struct storage *node, struct bb_exchange *exchange,
                     const Bb__Proto__StorageRequest *request);
void storage_compare_tick(struct storage *node, uint64_t now_us);
bool storage_compare_is_wrong(const uint64_t *chains, size_t count, uint64_t own, size_t voters);

/* forgot.c: does the leader know this node to have more than it has? */
/* Of one answer more; what is remembered of those before is in `forgot`. */
enum forgot_verdict storage_forgot_judge(struct forgot *forgot, const struct forgot_facts *facts);
void storage_forgot_tick(struct storage *node, uint64_t now_us);
void storage_forgot_answer(struct storage *node, uint64_t asker, Bb__Proto__CompareReply *reply);

/* read.c */
void storage_read(struct storage *node, struct bb_exchange *exchange,
                  const Bb__Proto__StorageRequest *request);

/* tail.c */
/* Why a position cannot be read here, and from where on the feed can. */
struct tail_lack {
    int status;
    bool is_damaged; /* a node has it and cannot read it */
    uint64_t goes_on;
    char error[BB_ERROR_MAX];
};
void storage_tail(struct storage *node, struct bb_exchange *exchange,
                  const Bb__Proto__StorageRequest *request);
void storage_refuse_tail(struct storage *node, struct bb_exchange *exchange,
                         const struct tail_lack *lack);

/* relay.c: another replica may have what this one's feed lacks */
void storage_relay_tail(struct storage *node, struct bb_exchange *exchange,
                        const Bb__Proto__Tail *tail, const struct tail_lack *lack);

/* pass.c: an Append, a Claim or a Renew goes on to the leader. False: it does not, as it need not
 * or cannot, and is still to be answered. */
bool storage_pass_on(struct storage *node, struct bb_exchange *exchange,
                     const Bb__Proto__StorageRequest *request);

/* wait.c */
void storage_wait(struct storage *node, enum storage_wait kind, struct bb_exchange *exchange,
                  const Bb__Proto__StorageRequest *request, uint64_t deadline_us);
/* Looks at all that wait: something was applied, a deadline passed, the node stops. */
void storage_wake(struct storage *node);

/* recover.c: from the folder to a fence, a store and a feed that fit together. */
/* `logged`: what bb_replog_logged said when the newest state of this node was written. */
int storage_recover(struct bb_ctx *ctx, struct storage *node, uint64_t *applied, uint64_t *logged);
/* The fence as it is kept with data and feed. */
void storage_state_encode(struct storage *node, struct bb_buf *to);
uint64_t storage_durable_index(void *arg);
void storage_manifest(void *arg, struct bb_buf *to);
/* The same state, and who is where by now, this node above all. */
void storage_manifest_renew(void *arg, struct bb_slice manifest, struct bb_buf *to);
bool storage_covers(void *arg, struct bb_slice manifest);
/* The feed is synced when enough has gathered, or at once when forced. */
void storage_sync_feed(struct storage *node, bool is_forced);

/* care.c */
void storage_compact(struct storage *node, struct bb_exchange *exchange);
void storage_state_hash(struct storage *node, struct bb_exchange *exchange,
                        const Bb__Proto__StorageRequest *request);
void storage_care_tick(struct storage *node);
void storage_care_ended(struct storage *node);

/* send.c: the checkpoint that another replica asks for */
void storage_send(struct storage *node, struct bb_exchange *exchange,
                  const Bb__Proto__StorageRequest *request);
void storage_send_tick(struct storage *node);
void storage_send_fini(struct storage *node);

/* reseed.c: this replica takes over a checkpoint; the log's callback */
void storage_fetch_checkpoint(void *arg, uint64_t from, struct bb_slice manifest);
/* From node `from`, at least `wanted`; the log hears of its end. */
void storage_reseed_start(struct storage *node, uint64_t from,
                          const struct checkpoint_head *wanted);
void storage_reseed_cancel(struct storage *node);
/* Called when node->fence has become another one's. */
void storage_fence_replaced(struct storage *node);

/* storage.c */
void storage_stop_if_idle(struct storage *node);

#endif
