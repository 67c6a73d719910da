/*
 * A snapshot on its way to another node. Its manifest says who can bring the state, and is as old
 * as the last cut of the log, which may be of before this node had told where it is reached. A
 * leader that needs the other node's votes to commit anything cannot cut its log anew: neither of
 * them would ever go on. So the application says anew who is where with each snapshot that leaves.
 */
#include "replog_internal.h"

struct renewed_send {
    struct raft_io_send request; /* what the library's network code gets */
    struct raft_io_send *caller;
    raft_io_send_cb done;
    struct bb_buf manifest; /* read until it is sent */
};

static void free_send(struct renewed_send *send)
{
    bb_buf_fini(&send->manifest);
    bb_free(send);
}

static void on_sent(struct raft_io_send *request, int status)
{
    struct renewed_send *send = request->data;
    struct raft_io_send *caller = send->caller;
    raft_io_send_cb done = send->done;

    free_send(send);
    done(caller, status);
}

/* False: the bytes are no manifest, and go as they are. */
static bool renew(struct bb_replog *replog, const struct raft_buffer *from, struct bb_buf *to)
{
    struct bb_slice application;
    struct bb_buf renewed;
    uint64_t index;

    if (replog_manifest_decode(&replog->ctx, bb_slice(from->base, from->len), &index,
                               &application) != BB_OK) {
        return false;
    }
    bb_buf_init(&renewed);
    replog->callbacks.renew(replog->callbacks.arg, application, &renewed);
    replog_manifest_encode(index, bb_buf_slice(&renewed), to);
    bb_buf_fini(&renewed);
    return true;
}

int replog_renew_send(struct bb_replog *replog, struct raft_io_send *request,
                      const struct raft_message *message, raft_io_send_cb done)
{
    struct raft_message renewed = *message;
    struct renewed_send *send;
    int rc;

    if (message->type != RAFT_INSTALL_SNAPSHOT || replog->callbacks.renew == NULL) {
        return replog_flow_send(replog, request, message, done);
    }
    send = bb_alloc_zero(1, sizeof *send);
    send->caller = request;
    send->done = done;
    send->request.data = send;
    bb_buf_init(&send->manifest);
    if (renew(replog, &message->install_snapshot.data, &send->manifest)) {
        renewed.install_snapshot.data.base = send->manifest.data;
        renewed.install_snapshot.data.len = send->manifest.size;
    }
    rc = replog_flow_send(replog, &send->request, &renewed, on_sent);
    if (rc != 0) {
        free_send(send);
    }
    return rc;
}
