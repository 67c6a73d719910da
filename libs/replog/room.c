/*
 * Room in the log for one more entry.
 *
 * libraft refuses entries while most nodes have less than 4 MB of files that were made ahead. A
 * full disk is one reason. The other one passes: entries come faster than files are made, as all of
 * a file is written before its first entry (blocks.c), and each cut of the log begins a new one. So
 * an entry that is refused waits here, for a second at most; while the leadership is handed on it
 * waits too. A file that could not be made is tried again after a minute only, and nothing is said
 * about it: a leader that gets no room ends before.
 */
#include "replog_internal.h"

#include <stdio.h>

#define RETRY_MS       5
#define WAIT_TICKS_MAX 10         /* 1 s, less than whoever sent the entry waits */
#define FULL_BYTES     (16 << 20) /* two files of the log */

static uint64_t free_bytes(struct bb_replog *replog)
{
    struct bb_ctx ctx = { .env = replog->ctx.env };
    uint64_t bytes;

    return ctx.env->ops->free_bytes(&ctx, ctx.env, replog->dir, &bytes) == BB_OK ? bytes
                                                                                 : UINT64_MAX;
}

_Noreturn void replog_die_of_disk(struct bb_replog *replog, int exit_code, const char *what,
                                  const char *reason)
{
    char words[BB_ERROR_MAX + 64];
    uint64_t bytes = free_bytes(replog);

    if (bytes >= REPLOG_FREE_BYTES_MIN)
        replog_die(replog, exit_code, what, reason, REPLOG_THEN_CHECK);
    (void)snprintf(words, sizeof words, "%s; its disk has %" PRIu64 " MB free", reason,
                   bytes >> 20); /* cut is fine */
    replog_die(replog, exit_code, what, words, REPLOG_THEN_SPACE);
}

/* Whether files are being made, as far as one can tell. */
static bool may_come(struct bb_replog *replog)
{
    return replog->room.refused_ticks < WAIT_TICKS_MAX && free_bytes(replog) >= FULL_BYTES;
}

void replog_room_note(struct bb_replog *replog, int raft_status)
{
    struct replog_room *room = &replog->room;

    room->is_refused = raft_status == RAFT_NOSPACE;
    if (!room->is_refused) {
        room->refused_ticks = 0;
        room->is_told = false;
    } else if (!room->is_told && !may_come(replog)) {
        room->is_told = true;
        bb_error(&replog->ctx, "replog.no_space", "dir=%s free_mb=%" PRIu64, replog->dir,
                 free_bytes(replog) >> 20);
    }
}

const char *replog_room_why(struct bb_replog *replog)
{
    return free_bytes(replog) < FULL_BYTES
               ? "its disk is full"
               : "no file could be made for it, here or on most storage nodes";
}

void replog_room_tick(struct bb_replog *replog)
{
    struct replog_room *room = &replog->room;

    if (room->is_refused && ++room->refused_ticks >= REPLOG_FULL_TICKS_MAX) {
        replog_die_of_disk(
            replog, REPLOG_EXIT_HANG, "append",
            "no space for the log on this disk, or on those of most storage nodes, for 10 s");
    }
    room->is_refused = false;
}

/* ---- entries that wait ---- */

static void stop(struct bb_replog *replog)
{
    replog->room.is_retrying = false;
    uv_timer_stop(&replog->room.retry);
}

static void on_retry(uv_timer_t *timer)
{
    replog_room_step(bb_cast(struct bb_replog, timer->data, REPLOG_MAGIC));
}

static void retry_soon(struct bb_replog *replog)
{
    if (!replog->room.is_retrying) {
        replog->room.is_retrying = true;
        uv_timer_start(&replog->room.retry, on_retry, RETRY_MS, RETRY_MS);
    }
}

bool replog_room_submit(struct bb_replog *replog, struct replog_proposal *proposal, uint8_t *entry,
                        int *raft_status)
{
    struct bb_list *waiting = &replog->room.waiting;

    proposal->entry = entry;
    if (replog->change.is_transferring || !bb_list_is_empty(waiting)) {
        bb_list_push_back(waiting, &proposal->link);
        return true;
    }
    if (replog_submit(replog, proposal, raft_status))
        return true;
    if (*raft_status != RAFT_NOSPACE || !may_come(replog))
        return false;
    bb_list_push_back(waiting, &proposal->link);
    retry_soon(replog);
    return true;
}

static void give_back(struct replog_proposal *proposal, int status)
{
    bb_replog_done_fn *done = proposal->done;
    void *tag = proposal->tag;

    bb_replog_entry_free(proposal->entry);
    bb_free(proposal);
    done(tag, status);
}

static struct replog_proposal *take_first(struct bb_list *waiting)
{
    struct bb_list *first = waiting->next;

    bb_list_remove(first);
    return bb_container(first, struct replog_proposal, link);
}

void replog_room_step(struct bb_replog *replog)
{
    struct bb_list *waiting = &replog->room.waiting;

    while (!replog->change.is_transferring && !bb_list_is_empty(waiting)) {
        struct replog_proposal *proposal = take_first(waiting);
        int rc = RAFT_NOTLEADER;
        if (replog->is_ready && replog_submit(replog, proposal, &rc))
            continue;
        if (rc == RAFT_NOSPACE && may_come(replog)) {
            bb_list_push_front(waiting, &proposal->link);
            retry_soon(replog);
            return;
        }
        give_back(proposal, replog_status_of(rc));
    }
    stop(replog);
}

void replog_room_close(struct bb_replog *replog)
{
    while (!bb_list_is_empty(&replog->room.waiting))
        give_back(take_first(&replog->room.waiting), BB_NOT_LEADER);
}
