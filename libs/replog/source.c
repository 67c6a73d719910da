#include "source.h"

#include <linux/tcp.h> /* libc's own knows fewer counters */
#include <netinet/in.h>
#include <sys/socket.h>

static uint64_t cookie_of(int fd)
{
    uint64_t cookie = 0;
    socklen_t size = sizeof cookie;

    return getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &size) == 0 ? cookie : 0;
}

void replog_source_init(struct replog_source *source, uint64_t peer, int fd)
{
    *source = (struct replog_source){ .peer = peer, .cookie = cookie_of(fd), .fd = fd };
}

uint64_t replog_source_received(const struct replog_source *source)
{
    struct tcp_info info = { 0 };
    socklen_t size = sizeof info;

    if (source->cookie == 0 || cookie_of(source->fd) != source->cookie ||
        getsockopt(source->fd, IPPROTO_TCP, TCP_INFO, &info, &size) != 0)
        return 0;
    return info.tcpi_bytes_received;
}
