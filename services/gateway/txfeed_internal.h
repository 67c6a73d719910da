/*
 * Shared between the files of the transaction feed.
 *
 * A reader is one request for the feed. Its life:
 *   arriving   the position is being found (earliest, a named consumer); the request is unanswered
 *   reading    from the ring or from pages of storage; answered, or a stream, when the first record
 *              or the head is reached, so that a bad position is an HTTP error
 *   ended      freed; a page or call that is under way then finds nobody
 */
#ifndef GATEWAY_TXFEED_INTERNAL_H
#define GATEWAY_TXFEED_INTERNAL_H

#include "call.h"
#include "feed.h"
#include "txfeed.h"
#include "txfeed_ring.h"

#define TXFEED_MAGIC         0x74786665u
#define TXFEED_READER_MAGIC  0x74787264u
#define TXFEED_READERS_MAX   10000u
#define TXFEED_PULLS_MAX     8u           /* pages that are being fetched at once */
#define TXFEED_PAGE_BYTES    (256u << 10) /* of records, as storage keeps them */
#define TXFEED_LIMIT         500u         /* records of one answer to a poll */
#define TXFEED_LIMIT_MAX     5000u
#define TXFEED_POLL_BYTES    (4u << 20) /* of one answer, about */
#define TXFEED_WAIT_MAX_US   60000000u
#define TXFEED_ARRIVE_US     5000000u /* a position that nobody has seen here is waited for */
#define TXFEED_RETRY_US      100000u
#define TXFEED_PROGRESS_US   1000000u
#define TXFEED_HEARTBEAT_US  15000000u
#define TXFEED_BURST_EVENTS  32u /* that a stream may have queued */
#define TXFEED_BURST_BYTES   (256u << 10)
#define TXFEED_CONSUMER_NAME 200u

struct txfeed_shared_view {
    struct txfeed_view view;
    struct bb_list link;
    uint32_t reference_count;
};

enum txfeed_from {
    TXFEED_FROM_NOW,
    TXFEED_FROM_EARLIEST,
    TXFEED_FROM_TX
};

struct txfeed_reader {
    uint32_t magic;
    struct txfeed *txfeed;
    struct bb_list link;
    struct bb_list queued;           /* in txfeed->queue while it waits for a page, or alone */
    struct bb_http_request *request; /* until it is answered */
    struct bb_http_stream *stream;   /* from then on, unless it polls */
    struct txfeed_shared_view *view;
    struct txfeed_pull *pull; /* the page that is being fetched */
    struct txfeed_open *open; /* the call that opens a named consumer */
    enum txfeed_from from;
    uint64_t position;        /* everything up to it was delivered */
    uint64_t reported;        /* the `closed` that it was told last */
    uint64_t heard_us;        /* when it was sent anything */
    uint64_t arrive_us;       /* until then a position that is not here yet is waited for */
    uint64_t deadline_us;     /* of a poll that is patient */
    uint64_t retry_us;        /* 0: not waiting to ask storage again */
    bool is_found;            /* the position is known */
    bool is_poll, is_patient; /* answered at once, or when something comes */
    bool has_event_id;        /* it goes on where a stream ended */
    bool is_behind;           /* it reads pages: it is told when it has caught up */
    bool is_ended;            /* nothing more is sent */
    bool is_checked;          /* the tables that it names exist */
    struct txfeed_rule *rule; /* that must admit it; NULL: it may read everything */
    char *consumer;           /* NULL: none */
    bool is_consumer_open;
    size_t limit, count;   /* of a poll */
    struct bb_buf records; /* of a poll: JSON, comma-separated */
};

/* A page of the storage tail on its way. */
struct txfeed_pull {
    struct txfeed *txfeed;
    struct txfeed_reader *reader; /* NULL: it has left */
};

struct txfeed {
    uint32_t magic;
    struct gateway *gateway;
    struct txfeed_ring ring;
    struct txfeed_tables tables;
    bool has_tables, is_loading_tables, is_closing;
    struct bb_buf tables_from; /* where the loading of tables goes on */
    struct bb_list readers;
    size_t reader_count;
    uint64_t left_us;     /* when the last reader left */
    struct bb_list queue; /* readers that wait for a page */
    size_t pull_count;
    struct bb_list views;
    struct bb_arena *arena;
    struct bb_timer *tick;
    struct bb_buf text; /* the event that is being written */
    struct bb_http_buffer *hello;
    struct bb_metric *readers_now, *records, *pulls, *shared;
};

/* txfeed.c: every reader is looked at, soon. */
void gateway_txfeed_tick_now(struct txfeed *txfeed);

/* txfeed_reader.c: the reader goes on as far as it can. May free it. */
void gateway_txfeed_go(struct txfeed_reader *reader);
/* Every reader; they may leave meanwhile. */
void gateway_txfeed_go_all(struct txfeed *txfeed);
/* Takes the request; `view` has a reference for the reader. */
struct txfeed_reader *gateway_txfeed_reader_new(struct txfeed *txfeed,
                                                struct bb_http_request *request,
                                                struct txfeed_shared_view *view);
/* It ends with an error: an HTTP answer, or the last event of its stream. Frees, now or later. */
void gateway_txfeed_reader_fail(struct txfeed_reader *reader, int status, const char *message,
                                uint64_t earliest);
void gateway_txfeed_reader_tick(struct txfeed_reader *reader, uint64_t now_us);
/* Its position is known now, or that of a new consumer. */
void gateway_txfeed_found(struct txfeed_reader *reader);
/* The answer becomes a stream, unless it is one. False: the client had left, the reader is gone. */
bool gateway_txfeed_begin(struct txfeed_reader *reader);
/* A good-bye: as when a poll's time is over, or `bye` on a stream. */
void gateway_txfeed_reader_bye(struct txfeed_reader *reader);
/* A record of a page. BB_GAP: it does not follow. False in `goes_on`: the reader has enough. */
int gateway_txfeed_reader_take(struct bb_ctx *ctx, struct txfeed_reader *reader,
                               struct bb_slice bytes, struct bb_buf *page, bool *goes_on);
void gateway_txfeed_reader_send(struct txfeed_reader *reader, struct bb_slice text);

/* txfeed_pull.c */
void gateway_txfeed_pull(struct txfeed_reader *reader);
void gateway_txfeed_pull_leave(struct txfeed_reader *reader);
void gateway_txfeed_load_tables(struct txfeed *txfeed);

/* txfeed_consumers.c: opens the row of reader->consumer; reader->position is where a new one
 * begins. */
void gateway_txfeed_consumer_open(struct txfeed_reader *reader);
void gateway_txfeed_consumer_leave(struct txfeed_reader *reader);

/* BB_BAD_REQUEST says what a name is. */
int gateway_txfeed_check_name(struct bb_ctx *ctx, struct bb_slice name);

struct txfeed_shared_view *gateway_txfeed_view_share(struct txfeed *txfeed,
                                                     const struct txfeed_view *view);
void gateway_txfeed_view_release(struct txfeed *txfeed, struct txfeed_shared_view *view);
/* Everything that a reader can be sent now lies up to here. */
uint64_t gateway_txfeed_head(const struct txfeed *txfeed);

#endif
