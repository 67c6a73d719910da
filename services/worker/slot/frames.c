#include "frames.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    READ_SIZE = 256 * 1024,
    KEPT_MAX = 1 << 20,
    TICK_MS = 50
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

int slot_frames_fill(struct bb_ctx *ctx, struct slot_frames *frames, int timeout_ms)
{
    char reason[128];
    ssize_t got;

    compact(frames);
    if (timeout_ms >= 0 && timeout_ms < TICK_MS && !wait_for(frames, timeout_ms))
        return BB_TIMEOUT;
    uint8_t *to = bb_buf_reserve(&frames->in, READ_SIZE);
    size_t room = frames->in.capacity - frames->in.size;
    got = recv(frames->fd, to, room, 0);
    if (got < 0 && errno == EAGAIN && timeout_ms != 0) {
        if (!wait_for(frames, timeout_ms < TICK_MS ? timeout_ms : timeout_ms - TICK_MS))
            return BB_TIMEOUT;
        got = recv(frames->fd, to, room, 0);
    }
    if (got < 0 && (errno == EINTR || errno == EAGAIN))
        return BB_OK;
    if (got == 0 || (got < 0 && errno == ECONNRESET))
        return bb_fail(ctx, BB_PEER_GONE, "the supervisor is gone");
    if (got < 0) {
        return bb_fail(ctx, BB_IO, "read from the supervisor: %s",
                       bb_strerror(errno, reason, sizeof reason));
    }
    frames->in.size += (size_t)got;
    return BB_OK;
}

void slot_frames_add(struct slot_frames *frames, const ProtobufCMessage *message)
{
    size_t size = protobuf_c_message_get_packed_size(message);
    uint8_t *to = bb_buf_reserve(&frames->out, 4 + size);

    bb_assert(size <= FRAME_MAX);
    bb_put_le32(to, (uint32_t)size);
    (void)protobuf_c_message_pack(message, to + 4);
    frames->out.size += 4 + size;
}

int slot_frames_flush(struct bb_ctx *ctx, struct slot_frames *frames)
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
    bb_buf_clear(&frames->out);
    if (frames->out.capacity > KEPT_MAX)
        bb_buf_fini(&frames->out);
    return BB_OK;
}
