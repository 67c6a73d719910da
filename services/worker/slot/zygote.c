#include "zygote.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fork.h"
#include "zygote_wire.h"

struct order {
    struct zygote_request request;
    int fds[ZYGOTE_DESCRIPTORS_MAX];
    size_t fd_count;
};

static void take_descriptors(struct order *order, struct msghdr *message)
{
    const struct cmsghdr *header = CMSG_FIRSTHDR(message);

    if (header == NULL || header->cmsg_type != SCM_RIGHTS)
        return;
    order->fd_count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    memcpy(order->fds, CMSG_DATA(header), order->fd_count * sizeof(int));
}

static void close_descriptors(const struct order *order)
{
    for (size_t i = 0; i < order->fd_count; i++)
        (void)close(order->fds[i]);
}

static int receive(struct bb_ctx *ctx, int fd, struct order *order)
{
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(ZYGOTE_DESCRIPTORS_MAX * sizeof(int))];
    } control;
    uint8_t bytes[ZYGOTE_REQUEST_BYTES];
    struct iovec data = { .iov_base = bytes, .iov_len = sizeof bytes };
    struct msghdr message = { .msg_iov = &data,
                              .msg_iovlen = 1,
                              .msg_control = control.bytes,
                              .msg_controllen = sizeof control.bytes };
    ssize_t got;

    *order = (struct order){ .fd_count = 0 };
    do {
        got = recvmsg(fd, &message, MSG_CMSG_CLOEXEC);
    } while (got < 0 && errno == EINTR);
    if (got <= 0)
        return bb_fail(ctx, BB_PEER_GONE, "the supervisor is gone");
    take_descriptors(order, &message);
    order->request = zygote_get_request(bytes);
    if (got != (ssize_t)sizeof bytes || order->fd_count == 0)
        return bb_fail(ctx, BB_BAD_REQUEST, "this is no request to a zygote");
    return BB_OK;
}

static int answer(struct bb_ctx *ctx, int fd, struct zygote_answer what)
{
    uint8_t bytes[ZYGOTE_ANSWER_BYTES];

    zygote_put_answer(bytes, what);
    if (send(fd, bytes, sizeof bytes, MSG_NOSIGNAL) != (ssize_t)sizeof bytes)
        return bb_fail(ctx, BB_PEER_GONE, "the supervisor is gone");
    return BB_OK;
}

int slot_zygote_serve(struct bb_ctx *ctx, int fd)
{
    struct slot_fork how;
    struct order order;
    int rc = slot_fork_init(ctx, &how);

    if (rc == BB_OK)
        rc = answer(ctx, fd, (struct zygote_answer){ .slot = ZYGOTE_IS_UP });
    while (rc == BB_OK) {
        rc = receive(ctx, fd, &order);
        if (rc != BB_OK)
            break;
        pid_t pid = slot_fork(&how, order.request.rights);
        if (pid == 0) {
            return slot_fork_settle(ctx, order.request.rights, order.fds[0],
                                    order.fd_count > 1 ? order.fds[1] : -1);
        }
        const struct zygote_answer what = { .slot = order.request.slot,
                                            .pid = pid < 0 ? -errno : pid };
        close_descriptors(&order);
        rc = answer(ctx, fd, what);
    }
    return rc;
}
