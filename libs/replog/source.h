/*
 * A connection that somebody else reads: how much has come, as the kernel counts.
 */
#ifndef REPLOG_SOURCE_H
#define REPLOG_SOURCE_H

#include <stdint.h>

/* Borrowed: whoever reads the connection closes it at any time. */
struct replog_source {
    uint64_t peer;   /* whose it is; 0: nobody's */
    uint64_t cookie; /* the kernel's name for it, which no other one ever gets; 0: unknown */
    int fd;
};

void replog_source_init(struct replog_source *source, uint64_t peer, int fd);
/* Bytes since it stands; 0 when it is gone. */
uint64_t replog_source_received(const struct replog_source *source);

#endif
