/*
 * The bytes between the supervisor and a slot: whole frames in, gathered frames out, through two
 * rings in memory that both have (bb/ring.h). A socketpair carries the memory's descriptor to the
 * slot, then one byte whenever a side must be woken, and tells each side that the other is gone.
 *
 * The slot is not trusted: what it wrote is copied out of the ring before anything looks at it, and
 * a ring that makes no sense ends the slot.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

#include "bb/ring.h"

#include "slot.h"

#define RING_BYTES (128u << 10) /* each way; what does not fit goes in parts */
#define KEEP_BYTES (1u << 20)
#define BELL_BYTES 256
/* Of one turn: a slot that makes room byte by byte, each time just now, must not keep everybody. */
#define FLUSH_ROUNDS 64

/* Lives until libuv has let go of the handle. */
struct slot_io {
    uv_poll_t poll;
    int fd;
    struct slot *slot; /* NULL: closed */
    void *memory;
    struct bb_ring to, from;
    struct bb_buf in, out;
    size_t sent;
    bool is_broken; /* the slot is being ended: nothing it says counts */
};

#define MEMORY_BYTES (2 * bb_ring_memory_size(RING_BYTES))

static void on_closed(uv_handle_t *handle)
{
    struct slot_io *io = handle->data;
    (void)close(io->fd);
    (void)munmap(io->memory, MEMORY_BYTES);
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

static void let_go(struct bb_buf *buf)
{
    if (buf->capacity > KEEP_BYTES) {
        bb_buf_fini(buf);
        bb_buf_init(buf);
    } else {
        bb_buf_clear(buf);
    }
}

static void wake_slot(struct slot_io *io)
{
    /* A socket that is full of these wakes it as well. */
    (void)!send(io->fd, "", 1, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void refuse(struct slot_io *io, const char *what)
{
    struct slot *slot = io->slot;
    bb_error(slot->worker->ctx, "worker.slot_protocol", "slot=%zu what=\"%s\"", slot->index, what);
    io->is_broken = true;
    let_go(&io->in);
    if (slot->child != NULL) {
        bb_child_kill(slot->child, 9);
    }
}

/* ---- out ---- */

static void flush(struct slot_io *io)
{
    for (int i = 0; io->sent < io->out.size; i++) {
        size_t written;
        if (i == FLUSH_ROUNDS) {
            bb_loop_again(io->slot->worker->loop);
            return;
        }
        if (bb_ring_write(&io->to, bb_slice(io->out.data + io->sent, io->out.size - io->sent),
                          &written) != BB_OK) {
            refuse(io, "the ring to it makes no sense");
            return;
        }
        io->sent += written;
        if (written > 0 && bb_ring_must_wake_reader(&io->to)) {
            wake_slot(io);
        }
        if (io->sent < io->out.size && bb_ring_wait_for_room(&io->to)) {
            return; /* it rings when there is room, and the turn that follows goes on */
        }
    }
    io->sent = 0;
    let_go(&io->out);
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
        if (io != NULL && io->out.size > 0 && !io->is_broken) {
            flush(io);
        }
    }
}

/* ---- in ---- */

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
            refuse(io, slot->worker->ctx->error);
            return;
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

/* What has come; at most one ring full, however fast the slot writes. */
static void hear(struct slot_io *io)
{
    size_t before = io->in.size;
    if (io->is_broken) {
        return;
    }
    bb_ring_awake(&io->from);
    if (bb_ring_read(&io->from, &io->in) != BB_OK) {
        refuse(io, "the ring from it makes no sense");
        return;
    }
    if (io->in.size > before) {
        if (bb_ring_must_wake_writer(&io->from)) {
            wake_slot(io);
        }
        handle_frames(io);
    }
}

void worker_slot_io_drain(struct slot *slot)
{
    if (slot->io != NULL) {
        hear(slot->io);
    }
}

void worker_slots_hear(struct worker *worker)
{
    for (size_t i = 0; i < worker->slot_count; i++) {
        worker_slot_io_drain(&worker->slots[i]);
    }
}

bool worker_slots_may_sleep(struct worker *worker)
{
    bool may_sleep = true;
    for (size_t i = 0; i < worker->slot_count; i++) {
        struct slot_io *io = worker->slots[i].io;
        if (io != NULL && !io->is_broken) {
            may_sleep &= bb_ring_may_sleep(&io->from);
        }
    }
    return may_sleep;
}

/* It rang. The turn that follows each batch of events hears it. */
static void on_bell(uv_poll_t *poll, int status, int events)
{
    struct slot_io *io = poll->data;
    uint8_t bells[BELL_BYTES];
    (void)events;
    if (io->slot == NULL) {
        return;
    }
    ssize_t n = recv(io->fd, bells, sizeof(bells), MSG_DONTWAIT);
    bool is_open = n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR));
    if (status < 0 || !is_open) {
        (void)uv_poll_stop(poll); /* the end of the process follows */
    }
}

/* ---- the memory ---- */

/* Its size is sealed: nobody can take a page away that the other one is about to touch. */
static int make_memory(struct bb_ctx *ctx, void **memory, int *fd)
{
    char text[128];
    *fd = memfd_create("bb-slot", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (*fd < 0) {
        return bb_fail(ctx, BB_IO, "memfd_create: %s", bb_strerror(errno, text, sizeof(text)));
    }
    *memory = MAP_FAILED;
    if (ftruncate(*fd, (off_t)MEMORY_BYTES) == 0 &&
        fcntl(*fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0) {
        *memory = mmap(NULL, MEMORY_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, *fd, 0);
    }
    if (*memory == MAP_FAILED) {
        int rc = bb_fail(ctx, BB_IO, "memory that a slot shares: %s",
                         bb_strerror(errno, text, sizeof(text)));
        (void)close(*fd);
        return rc;
    }
    return BB_OK;
}

/* The first message on the socket: the capacity of a ring, and the descriptor of the memory. */
static int send_memory(struct bb_ctx *ctx, int fd, int memory_fd)
{
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = { .bytes = { 0 } };
    uint8_t capacity[4];
    struct iovec data = { .iov_base = capacity, .iov_len = sizeof(capacity) };
    struct msghdr message = { .msg_iov = &data,
                              .msg_iovlen = 1,
                              .msg_control = control.bytes,
                              .msg_controllen = sizeof(control.bytes) };
    char text[128];
    bb_put_le32(capacity, RING_BYTES);
    control.header.cmsg_level = SOL_SOCKET;
    control.header.cmsg_type = SCM_RIGHTS;
    control.header.cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(&control.header), &memory_fd, sizeof(int));
    if (sendmsg(fd, &message, MSG_NOSIGNAL) != (ssize_t)sizeof(capacity)) {
        return bb_fail(ctx, BB_IO, "memory to a slot: %s", bb_strerror(errno, text, sizeof(text)));
    }
    return BB_OK;
}

int worker_slot_io_open(struct slot *slot, int fd)
{
    struct bb_ctx *ctx = slot->worker->ctx;
    void *memory;
    int memory_fd;
    int rc = make_memory(ctx, &memory, &memory_fd);
    if (rc != BB_OK) {
        return rc;
    }
    rc = send_memory(ctx, fd, memory_fd);
    (void)close(memory_fd);
    if (rc != BB_OK) {
        (void)munmap(memory, MEMORY_BYTES);
        return rc;
    }
    struct slot_io *io = bb_alloc_zero(1, sizeof(*io));
    *io = (struct slot_io){ .fd = fd, .slot = slot, .memory = memory };
    bb_ring_attach(&io->to, memory, RING_BYTES);
    bb_ring_attach(&io->from, (uint8_t *)memory + MEMORY_BYTES / 2, RING_BYTES);
    bb_buf_init(&io->in);
    bb_buf_init(&io->out);
    rc = uv_poll_init(bb_loop_uv(slot->worker->loop), &io->poll, fd);
    bb_assert(rc == 0);
    io->poll.data = io;
    rc = uv_poll_start(&io->poll, UV_READABLE, on_bell);
    bb_assert(rc == 0);
    slot->io = io;
    return BB_OK;
}
