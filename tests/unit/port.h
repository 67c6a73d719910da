/*
 * A port of this machine that nobody listens at: below those of outgoing connections, so that none
 * takes it meanwhile, and another one for each process, since tests run at the same time. Includes
 * no header of ours.
 */
#ifndef BB_TESTS_PORT_H
#define BB_TESTS_PORT_H

#include <netinet/in.h>
#include <stdint.h>
#include <sys/socket.h>
#include <unistd.h>

/* 0 when there is none. */
static inline uint16_t test_free_port(void)
{
    for (unsigned tries = 0; tries < 500; tries++) {
        struct sockaddr_in name = { .sin_family = AF_INET };
        uint16_t port = (uint16_t)(12000 + ((unsigned)getpid() * 37 + tries * 101) % 20000);
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        int rc;

        name.sin_port = htons(port);
        name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        rc = bind(fd, (const struct sockaddr *)&name, sizeof name);
        (void)close(fd);
        if (rc == 0)
            return port;
    }
    return 0;
}

#endif
