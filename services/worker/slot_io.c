/* The socket between the supervisor and a slot: whole frames in, gathered frames out. */
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

#include "slot.h"

#define RECEIVE_BYTES (256u << 10)
#define KEEP_BYTES    (1u << 20)

/* Lives until libuv has let go of the handle. */
struct slot_io {
    uv_poll_t poll;
    int fd;
    struct slot *slot; /* NULL: closed */
    struct bb_buf in, out;
    size_t sent;
    bool is_blocked; /* the socket is full; wait until it is writable */
};

static void on_closed(uv_handle_t *handle)
{
    struct slot_io *io = handle->data;
    (void)close(io->fd);
    bb_buf_fini(&io->in);
    bb_buf_fini(&io->out);
    bb_free(io);
}

void worker_slot_io_close(struct slot *slot)
{
    if (slot->io != NULL) {
        slot->io->slot = NULL;
        uv_close((uv_handle_t *)&slot->io->poll, on_closed);
        slot->io = NULL;
    }
}

/* ---- out ---- */

static void on_event(uv_poll_t *poll, int status, int events);

static void let_go(struct bb_buf *buf)
{
    if (buf->capacity > KEEP_BYTES) {
        bb_buf_fini(buf);
        bb_buf_init(buf);
    } else {
        bb_buf_clear(buf);
    }
}

static void flush(struct slot_io *io)
{
    while (io->sent < io->out.size) {
        ssize_t n = send(io->fd, io->out.data + io->sent, io->out.size - io->sent,
                         MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0 && errno == EAGAIN) {
            if (!io->is_blocked) {
                io->is_blocked = true;
                (void)uv_poll_start(&io->poll, UV_READABLE | UV_WRITABLE, on_event);
            }
            return;
        }
        if (n < 0) {
            break; /* it is gone; its end is told elsewhere */
        }
        io->sent += (size_t)n;
    }
    io->sent = 0;
    let_go(&io->out);
    if (io->is_blocked) {
        io->is_blocked = false;
        (void)uv_poll_start(&io->poll, UV_READABLE, on_event);
    }
}

void worker_slot_send(struct slot *slot, const Bb__Proto__ToSlot *message)
{
    if (slot->io != NULL) {
        bb_frame_append(&slot->io->out, &message->base);
    }
}

void worker_slots_turn(struct worker *worker)
{
    for (size_t i = 0; i < worker->slot_count; i++) {
        struct slot_io *io = worker->slots[i].io;
        if (io != NULL && io->out.size > 0 && !io->is_blocked) {
            flush(io);
        }
    }
}

/* ---- in ---- */

/* Takes what has come; false: the other end is closed. */
static bool receive(struct slot_io *io)
{
    for (;;) {
        uint8_t *to = bb_buf_reserve(&io->in, RECEIVE_BYTES);
        ssize_t n = recv(io->fd, to, RECEIVE_BYTES, MSG_DONTWAIT);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return n < 0 && errno == EAGAIN;
        }
        io->in.size += (size_t)n;
        if ((size_t)n < RECEIVE_BYTES) {
            return true;
        }
    }
}

static void handle_frames(struct slot_io *io)
{
    size_t at = 0;
    while (io->slot != NULL) {
        struct slot *slot = io->slot;
        struct bb_slice frame;
        size_t used;
        int rc = bb_frame_next(slot->worker->ctx, bb_slice(io->in.data + at, io->in.size - at),
                               &frame, &used);
        if (rc == BB_PENDING) {
            break;
        }
        if (rc == BB_OK) {
            rc = worker_slot_frame(slot, frame);
        }
        if (rc != BB_OK) {
            bb_error(slot->worker->ctx, "worker.slot_protocol", "slot=%zu what=\"%s\"", slot->index,
                     slot->worker->ctx->error);
            at = io->in.size;
            if (slot->child != NULL) {
                bb_child_kill(slot->child, 9);
            }
            break;
        }
        at += used;
    }
    if (at == io->in.size) {
        let_go(&io->in);
    } else if (at > 0) {
        memmove(io->in.data, io->in.data + at, io->in.size - at);
        io->in.size -= at;
    }
}

void worker_slot_io_drain(struct slot *slot)
{
    struct slot_io *io = slot->io;
    if (io != NULL) {
        (void)receive(io);
        handle_frames(io);
    }
}

static void on_event(uv_poll_t *poll, int status, int events)
{
    struct slot_io *io = poll->data;
    if (io->slot == NULL) {
        return;
    }
    if (status < 0 || (events & UV_READABLE) != 0) {
        bool is_open = receive(io);
        handle_frames(io);
        if (!is_open && io->slot != NULL) {
            (void)uv_poll_stop(poll); /* the end of the process follows */
            return;
        }
    }
    if (io->slot != NULL && (events & UV_WRITABLE) != 0) {
        flush(io);
    }
}

void worker_slot_io_open(struct slot *slot, int fd)
{
    struct slot_io *io = bb_alloc_zero(1, sizeof(*io));
    io->fd = fd;
    io->slot = slot;
    bb_buf_init(&io->in);
    bb_buf_init(&io->out);
    int rc = uv_poll_init(bb_loop_uv(slot->worker->loop), &io->poll, fd);
    bb_assert(rc == 0);
    io->poll.data = io;
    rc = uv_poll_start(&io->poll, UV_READABLE, on_event);
    bb_assert(rc == 0);
    slot->io = io;
}
