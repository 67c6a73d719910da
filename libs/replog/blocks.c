/*
 * The blocks of the log's files are written once before an entry goes into them.
 *
 * libraft reserves each file with posix_fallocate. Blocks that are only reserved count as
 * unwritten: the first write into one changes the file's map, so that a synced write waits for the
 * file system's journal as well, and may not be tried without waiting (RWF_NOWAIT), which sends it
 * to a thread and back. With a few commits an entry that is most entries. So libraft is given a
 * posix_fallocate that writes zeros. It takes the place of libc's by the order in which symbols are
 * looked up: the program comes first.
 */
#include "replog_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bb/pages.h"

/* The one that a start waits for. libraft makes two more meanwhile. */
#define PLAIN_FILES 1
#define ZEROS_BYTES ((size_t)256 << 10)
#define LARGE_BYTES (1 << 20) /* a file of the log; smaller ones are somebody else's */

static atomic_int plain_files; /* so many of the next are only reserved */

void replog_blocks_start(void)
{
    atomic_store(&plain_files, PLAIN_FILES);
}

static int fill(int fd, const void *zeros, off_t at, off_t end)
{
    while (at < end) {
        size_t left = (size_t)(end - at);
        ssize_t done = pwrite(fd, zeros, left < ZEROS_BYTES ? left : ZEROS_BYTES, at);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return done < 0 ? errno : EIO;
        at += done;
    }
    return 0;
}

static int write_zeros(int fd, off_t offset, off_t size)
{
    void *zeros = bb_pages_new(ZEROS_BYTES);
    int rc = fill(fd, zeros, offset, offset + size);

    bb_pages_free(zeros, ZEROS_BYTES);
    if (rc == 0 && fdatasync(fd) != 0)
        rc = errno;
    /* Writes that pass by the page cache would have to clear it first, and wait. */
    if (rc == 0)
        (void)posix_fadvise(fd, offset, size,
                            POSIX_FADV_DONTNEED); /* advice: nothing rests on it */
    return rc;
}

/* Where a file ends; what lies before is never written to. -1: it is none. */
static off_t end_of(int fd)
{
    struct stat stat;

    return fstat(fd, &stat) == 0 && S_ISREG(stat.st_mode) ? stat.st_size : -1;
}

/* The status is returned, and errno means nothing. A file system that cannot reserve gets zeros. */
__attribute__((visibility("default"))) int posix_fallocate(int fd, off_t offset, off_t size)
{
    off_t end = end_of(fd);
    int rc = fallocate(fd, 0, offset, size) == 0 ? 0 : errno;

    if (rc == EOPNOTSUPP && end >= 0) {
        off_t from = end > offset ? end : offset;
        return from < offset + size ? write_zeros(fd, from, offset + size - from) : 0;
    }
    if (rc != 0 || end != 0 || offset != 0 || size < LARGE_BYTES ||
        atomic_fetch_sub(&plain_files, 1) > 0)
        return rc;
    return write_zeros(fd, offset, size);
}
