#include "frames.h"

#include <errno.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    READ_SIZE = 256 * 1024,
    KEPT_MAX = 1 << 20,
    TICK_MS = 50,
    BELL_BYTES = 256,
    UNRUNG_US_MAX = 300 /* an answer waits so long at most before the supervisor is woken for it */
};
#define FRAME_MAX (48u << 20)

void slot_frames_init(struct slot_frames *frames, int fd)
{
    *frames = (struct slot_frames){ .fd = fd };
    bb_buf_init(&frames->in);
    bb_buf_init(&frames->out);
    /* A read that waits a little by itself is one system call; asking first would be a second. */
    const struct timeval tick = { .tv_usec = TICK_MS * 1000 };
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tick, sizeof tick);
}

void slot_frames_fini(struct slot_frames *frames)
{
    bb_buf_fini(&frames->in);
    bb_buf_fini(&frames->out);
}

/* ---- in ---- */

int slot_frames_next(struct bb_ctx *ctx, struct slot_frames *frames, struct bb_slice *frame)
{
    size_t left = frames->in.size - frames->in_at;
    const uint8_t *at = frames->in.data + frames->in_at;

    if (left < 4)
        return BB_PENDING;
    uint32_t size = bb_get_le32(at);
    if (size > FRAME_MAX) {
        return bb_fail(ctx, BB_TOO_LARGE, "a frame of %" PRIu32 " bytes, the limit is %u", size,
                       FRAME_MAX);
    }
    if (left - 4 < size)
        return BB_PENDING;
    *frame = bb_slice(at + 4, size);
    frames->in_at += 4 + (size_t)size;
    return BB_OK;
}

/* Moves the unread rest to the front; a buffer that one large frame has widened is given back. */
static void compact(struct slot_frames *frames)
{
    size_t left = frames->in.size - frames->in_at;

    if (left > 0 && frames->in_at > 0)
        memmove(frames->in.data, frames->in.data + frames->in_at, left);
    frames->in.size = left;
    frames->in_at = 0;
    if (left == 0 && frames->in.capacity > KEPT_MAX)
        bb_buf_fini(&frames->in);
}

/* Waits until something can be read, `timeout_ms` at most; false: it cannot. */
static bool wait_for(const struct slot_frames *frames, int timeout_ms)
{
    struct pollfd wait = { .fd = frames->fd, .events = POLLIN };

    return poll(&wait, 1, timeout_ms) > 0;
}

/* The first message may bring the memory. */
static void take_memory(struct slot_frames *frames, struct msghdr *message, struct bb_slice bytes)
{
    const struct cmsghdr *header = CMSG_FIRSTHDR(message);
    int fd;

    if (header == NULL || header->cmsg_type != SCM_RIGHTS || bytes.size != 4)
        return;
    memcpy(&fd, CMSG_DATA(header), sizeof fd);
    size_t capacity = bb_get_le32(bytes.data);
    size_t size = bb_ring_memory_size(capacity);
    uint8_t *memory = mmap(NULL, 2 * size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    bb_assert(memory != MAP_FAILED);
    (void)close(fd);
    bb_ring_attach(&frames->from, memory, capacity);
    bb_ring_attach(&frames->to, memory + size, capacity);
    frames->has_rings = true;
}

static ssize_t read_first(struct slot_frames *frames, uint8_t *to, size_t room)
{
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec data = { .iov_base = to, .iov_len = room };
    struct msghdr message = { .msg_iov = &data,
                              .msg_iovlen = 1,
                              .msg_control = control.bytes,
                              .msg_controllen = sizeof control.bytes };
    ssize_t got = recvmsg(frames->fd, &message, MSG_CMSG_CLOEXEC);

    if (got > 0) {
        frames->has_begun = true;
        take_memory(frames, &message, bb_slice(to, (size_t)got));
    }
    return got;
}

static ssize_t read_some(struct slot_frames *frames, uint8_t *to, size_t room)
{
    return frames->has_begun ? recv(frames->fd, to, room, 0) : read_first(frames, to, room);
}

/* BB_TIMEOUT; else what recv says is in `got`. */
static int read_socket(struct slot_frames *frames, uint8_t *to, size_t room, int timeout_ms,
                       ssize_t *got)
{
    if (timeout_ms >= 0 && timeout_ms < TICK_MS && !wait_for(frames, timeout_ms))
        return BB_TIMEOUT;
    *got = read_some(frames, to, room);
    if (*got < 0 && errno == EAGAIN && timeout_ms != 0) {
        if (!wait_for(frames, timeout_ms < TICK_MS ? timeout_ms : timeout_ms - TICK_MS))
            return BB_TIMEOUT;
        *got = read_some(frames, to, room);
    }
    return BB_OK;
}

/* Errors of a read; BB_OK when there was none, or one that passes. */
static int judge_read(struct bb_ctx *ctx, ssize_t got)
{
    char reason[128];

    if (got > 0 || (got < 0 && (errno == EINTR || errno == EAGAIN)))
        return BB_OK;
    if (got == 0 || errno == ECONNRESET)
        return bb_fail(ctx, BB_PEER_GONE, "the supervisor is gone");
    return bb_fail(ctx, BB_IO, "read from the supervisor: %s",
                   bb_strerror(errno, reason, sizeof reason));
}

static int wake_supervisor(struct bb_ctx *ctx, struct slot_frames *frames)
{
    char reason[128];
    ssize_t sent;

    do {
        sent = send(frames->fd, "", 1, MSG_NOSIGNAL | MSG_DONTWAIT);
    } while (sent < 0 && errno == EINTR);
    if (sent < 0 && errno != EAGAIN) { /* a socket that is full of these wakes it as well */
        return bb_fail(ctx, errno == EPIPE || errno == ECONNRESET ? BB_PEER_GONE : BB_IO,
                       "write to the supervisor: %s", bb_strerror(errno, reason, sizeof reason));
    }
    return BB_OK;
}

/* What the supervisor has written since. */
static int take(struct bb_ctx *ctx, struct slot_frames *frames)
{
    size_t before = frames->in.size;

    if (bb_ring_read(&frames->from, &frames->in) != BB_OK)
        return bb_fail(ctx, BB_CORRUPT, "the ring from the supervisor makes no sense");
    if (frames->in.size > before && bb_ring_must_wake_writer(&frames->from))
        return wake_supervisor(ctx, frames);
    return BB_OK;
}

bool slot_frames_more(struct slot_frames *frames)
{
    struct bb_ctx ignored = { .status = 0 }; /* the next fill meets the same trouble */
    size_t left = frames->in.size - frames->in_at;

    if (!frames->has_rings)
        return false;
    compact(frames);
    return take(&ignored, frames) == BB_OK && frames->in.size > left;
}

/* Sleeps until it is woken, `timeout_ms` at most. */
static int sleep_for(struct bb_ctx *ctx, struct slot_frames *frames, int timeout_ms)
{
    uint8_t bells[BELL_BYTES];
    ssize_t got;
    int rc = read_socket(frames, bells, sizeof bells, timeout_ms, &got);

    return rc == BB_OK ? judge_read(ctx, got) : rc;
}

static int fill_from_ring(struct bb_ctx *ctx, struct slot_frames *frames, int timeout_ms)
{
    size_t before = frames->in.size;
    int rc = take(ctx, frames);
    int slept = BB_OK;

    if (rc != BB_OK || frames->in.size > before)
        return rc;
    if (timeout_ms == 0)
        return BB_TIMEOUT;
    if (bb_ring_may_sleep(&frames->from))
        slept = sleep_for(ctx, frames, timeout_ms);
    bb_ring_awake(&frames->from);
    rc = take(ctx, frames);
    return rc != BB_OK || frames->in.size > before ? rc : slept;
}

int slot_frames_fill(struct bb_ctx *ctx, struct slot_frames *frames, int timeout_ms)
{
    ssize_t got;

    compact(frames);
    if (frames->has_rings)
        return fill_from_ring(ctx, frames, timeout_ms);
    uint8_t *to = bb_buf_reserve(&frames->in, READ_SIZE);
    int rc = read_socket(frames, to, frames->in.capacity - frames->in.size, timeout_ms, &got);
    if (rc == BB_OK)
        rc = judge_read(ctx, got);
    if (rc == BB_OK && got > 0 && !frames->has_rings)
        frames->in.size += (size_t)got;
    return rc;
}

/* ---- out ---- */

void slot_frames_add(struct slot_frames *frames, const ProtobufCMessage *message)
{
    size_t size = protobuf_c_message_get_packed_size(message);
    uint8_t *to = bb_buf_reserve(&frames->out, 4 + size);

    bb_assert(size <= FRAME_MAX);
    bb_put_le32(to, (uint32_t)size);
    (void)protobuf_c_message_pack(message, to + 4);
    frames->out.size += 4 + size;
}

static void clear_out(struct slot_frames *frames)
{
    bb_buf_clear(&frames->out);
    if (frames->out.capacity > KEPT_MAX)
        bb_buf_fini(&frames->out);
}

static int write_socket(struct bb_ctx *ctx, struct slot_frames *frames)
{
    char reason[128];
    size_t at = 0;

    while (at < frames->out.size) {
        ssize_t sent = send(frames->fd, frames->out.data + at, frames->out.size - at, MSG_NOSIGNAL);
        if (sent < 0 && (errno == EINTR || errno == EAGAIN))
            continue;
        if (sent < 0) {
            return bb_fail(ctx, errno == EPIPE || errno == ECONNRESET ? BB_PEER_GONE : BB_IO,
                           "write to the supervisor: %s",
                           bb_strerror(errno, reason, sizeof reason));
        }
        at += (size_t)sent;
    }
    clear_out(frames);
    return BB_OK;
}

static int ring_bell(struct bb_ctx *ctx, struct slot_frames *frames)
{
    frames->unrung_us = 0;
    frames->is_unrung = false;
    return bb_ring_must_wake_reader(&frames->to) ? wake_supervisor(ctx, frames) : BB_OK;
}

/* All that was added; what does not fit waits here until the supervisor has read some. */
static int write_ring(struct bb_ctx *ctx, struct slot_frames *frames)
{
    size_t at = 0, written;

    while (at < frames->out.size) {
        struct bb_slice rest = bb_slice(frames->out.data + at, frames->out.size - at);
        if (bb_ring_write(&frames->to, rest, &written) != BB_OK)
            return bb_fail(ctx, BB_CORRUPT, "the ring to the supervisor makes no sense");
        at += written;
        frames->is_unrung |= written > 0;
        if (at == frames->out.size)
            break;
        int rc = ring_bell(ctx, frames);
        if (rc == BB_OK && bb_ring_wait_for_room(&frames->to))
            rc = sleep_for(ctx, frames, -1);
        if (rc != BB_OK)
            return rc;
    }
    clear_out(frames);
    return BB_OK;
}

int slot_frames_publish(struct bb_ctx *ctx, struct slot_frames *frames, uint32_t expected_us)
{
    int rc = frames->has_rings ? write_ring(ctx, frames) : write_socket(ctx, frames);

    if (rc != BB_OK || !frames->is_unrung)
        return rc;
    frames->unrung_us += expected_us;
    return expected_us == 0 || frames->unrung_us > UNRUNG_US_MAX ? ring_bell(ctx, frames) : BB_OK;
}

int slot_frames_flush(struct bb_ctx *ctx, struct slot_frames *frames)
{
    if (!frames->has_rings)
        return write_socket(ctx, frames);
    int rc = write_ring(ctx, frames);

    return rc == BB_OK && frames->is_unrung ? ring_bell(ctx, frames) : rc;
}
