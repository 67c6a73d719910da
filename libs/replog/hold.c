/*
 * While a state is on its way to another node the log stays behind it: that node goes on with the
 * entries that follow. Without them it would need a newer state, and under a steady load so for
 * ever. What is held lies in memory, so it has a bound in bytes and in time.
 */
#include "replog_internal.h"

#define HOLD_US_MAX UINT64_C(600000000) /* a node that died meanwhile is not waited for longer */

void replog_hold_begin(struct bb_replog *replog, uint64_t index)
{
    if (replog->hold.index == 0) {
        replog->hold =
            (struct replog_hold){ .index = index, .since_us = bb_loop_now_us(replog->loop) };
    }
}

static void end(struct bb_replog *replog, const char *why)
{
    bb_info(&replog->ctx, "replog.hold_ended", "index=%" PRIu64 " bytes=%" PRIu64 " why=\"%s\"",
            replog->hold.index, replog->hold.bytes, why);
    replog->hold = (struct replog_hold){ .index = 0 };
}

/* Has everyone who gets the log all but the newest `near` entries? */
static bool is_everyone_near(const struct bb_replog *replog, uint64_t last, uint64_t near)
{
    const struct raft_configuration *members = &replog->raft.configuration;

    for (unsigned i = 0; i < members->n; i++) {
        const struct raft_server *server = &members->servers[i];
        raft_index match = 0;
        if (server->id == replog->id || server->role == RAFT_SPARE) {
            continue;
        }
        if (raft_match_index(replog_raft(replog), server->id, &match) != 0 || match + near < last) {
            return false;
        }
    }
    return true;
}

uint64_t replog_hold_trailing(struct bb_replog *replog, uint64_t last, uint64_t near)
{
    const struct replog_hold *hold = &replog->hold;

    if (hold->index == 0) {
        return 0;
    }
    if (!replog_is_leader(replog)) {
        end(replog, "another node leads");
    } else if (is_everyone_near(replog, last, near)) {
        end(replog, "every node has caught up");
    } else if (hold->bytes > replog->hold_bytes_max) {
        end(replog, "so much was written meanwhile that the state will have to be brought again");
    } else if (bb_loop_now_us(replog->loop) - hold->since_us > HOLD_US_MAX) {
        end(replog, "it took longer than ten minutes");
    }
    return hold->index == 0 || hold->index > last ? 0 : last - hold->index + 1;
}
