/*
 * A compacted copy as a stream: LMDB writes it into a pipe on a thread of its own, with low
 * priority, no faster than it is read.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "kv.h"

enum {
    PIPE_BYTES = 1 << 20,
    NICE = 10
};

struct bb_kv_stream {
    struct bb_kv *kv;
    int read_fd, write_fd; /* of the pipe; the writing end is the thread's */
    struct bb_thread *thread;
    uint64_t used_bytes; /* of the file when it began */
    int copied;          /* what LMDB said, once the thread has ended */
};

static void copy_thread(void *arg)
{
    struct bb_kv_stream *stream = arg;
    /* On Linux a thread has a priority of its own; without it the copy is as fast as others. */
    (void)setpriority(PRIO_PROCESS, (id_t)gettid(), NICE);
    stream->copied = mdb_env_copyfd2(stream->kv->env, stream->write_fd, MDB_CP_COMPACT);
    (void)close(stream->write_fd); /* the reader sees the end; what came before is in the pipe */
}

static int used_bytes(struct bb_ctx *ctx, const struct bb_kv *kv, uint64_t *bytes)
{
    MDB_envinfo info;
    MDB_stat stat;
    int rc = mdb_env_info(kv->env, &info);
    if (rc == 0) {
        rc = mdb_env_stat(kv->env, &stat);
    }
    if (rc != 0) {
        return kv_fail(ctx, kv, rc, "reading numbers");
    }
    *bytes = ((uint64_t)info.me_last_pgno + 1) * stat.ms_psize;
    return BB_OK;
}

int bb_kv_stream_open(struct bb_ctx *ctx, struct bb_kv *kv, struct bb_kv_stream **out)
{
    int fds[2];
    uint64_t used;
    int rc = used_bytes(ctx, kv, &used);
    if (rc != BB_OK) {
        return rc;
    }
    if (pipe2(fds, O_CLOEXEC) != 0) {
        return kv_fail(ctx, kv, errno, "beginning to copy");
    }
    /* Fewer switches between the threads; the system's limit may be lower. */
    (void)fcntl(fds[1], F_SETPIPE_SZ, PIPE_BYTES);
    struct bb_kv_stream *stream = bb_alloc(sizeof(*stream));
    *stream = (struct bb_kv_stream){
        .kv = kv, .read_fd = fds[0], .write_fd = fds[1], .used_bytes = used
    };
    stream->thread = bb_thread_start("kv-copy", copy_thread, stream);
    *out = stream;
    return BB_OK;
}

static void join(struct bb_kv_stream *stream)
{
    if (stream->thread != NULL) {
        bb_thread_join(stream->thread);
        stream->thread = NULL;
    }
}

int bb_kv_stream_read(struct bb_ctx *ctx, struct bb_kv_stream *stream, void *to, size_t size,
                      size_t *done)
{
    *done = 0;
    while (*done < size) {
        ssize_t got = read(stream->read_fd, (uint8_t *)to + *done, size - *done);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return kv_fail(ctx, stream->kv, errno, "copying");
        }
        if (got == 0) {
            join(stream);
            return kv_fail(ctx, stream->kv, stream->copied, "copying");
        }
        *done += (size_t)got;
    }
    return BB_OK;
}

uint64_t bb_kv_stream_pinned(const struct bb_kv_stream *stream)
{
    struct bb_ctx ctx = { .status = BB_OK };
    uint64_t now;
    if (used_bytes(&ctx, stream->kv, &now) != BB_OK || now < stream->used_bytes) {
        return 0;
    }
    return now - stream->used_bytes;
}

void bb_kv_stream_close(struct bb_kv_stream *stream)
{
    if (stream == NULL) {
        return;
    }
    (void)close(stream->read_fd); /* ends the copy, which has nobody to write to any more */
    join(stream);
    bb_free(stream);
}
