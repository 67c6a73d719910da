/*
 * The world as a table of functions: clocks, randomness, files. Decision code asks ctx->env and
 * nothing else, so the simulator can run it under another world.
 *
 * Threads: the real environment may be used from any thread.
 */
#ifndef BB_ENV_H
#define BB_ENV_H

#include "bb/base.h"

struct bb_file; /* opened through env; freed by close */

enum bb_open_mode {
    BB_OPEN_READ,       /* must exist */
    BB_OPEN_READ_WRITE, /* created when missing */
    BB_OPEN_CREATE,     /* must not exist: BB_EXISTS */
    BB_OPEN_APPEND      /* created when missing; writes go to the end */
};

struct bb_env_ops {
    uint64_t (*now_us)(struct bb_env *env);  /* monotonic */
    uint64_t (*wall_us)(struct bb_env *env); /* since 1970 */
    void (*random)(struct bb_env *env, void *to, size_t size);
    /* Files. BB_NOT_FOUND, BB_EXISTS, BB_NO_SPACE, BB_IO; text in ctx. */
    int (*open)(struct bb_ctx *ctx, struct bb_env *env, const char *path, enum bb_open_mode mode,
                struct bb_file **file);
    int (*read)(struct bb_ctx *ctx, struct bb_file *file, uint64_t offset, void *to, size_t size,
                size_t *done); /* short only at the end of the file */
    int (*write)(struct bb_ctx *ctx, struct bb_file *file, uint64_t offset, const void *from,
                 size_t size); /* all of it; the offset is ignored in APPEND mode */
    int (*sync)(struct bb_ctx *ctx, struct bb_file *file); /* fdatasync */
    int (*truncate)(struct bb_ctx *ctx, struct bb_file *file, uint64_t size);
    int (*size)(struct bb_ctx *ctx, struct bb_file *file, uint64_t *size);
    void (*close)(struct bb_file *file); /* accepts NULL */
    int (*rename)(struct bb_ctx *ctx, struct bb_env *env, const char *from, const char *to);
    int (*remove)(struct bb_ctx *ctx, struct bb_env *env, const char *path);
    int (*make_dir)(struct bb_ctx *ctx, struct bb_env *env,
                    const char *path); /* parents too; ok if there */
    int (*sync_dir)(struct bb_ctx *ctx, struct bb_env *env, const char *path);
    /* Calls `each` for every entry but . and .., in byte order of the names. */
    int (*list_dir)(struct bb_ctx *ctx, struct bb_env *env, const char *path,
                    void (*each)(void *arg, const char *name), void *arg);
    int (*free_bytes)(struct bb_ctx *ctx, struct bb_env *env, const char *path, uint64_t *bytes);
};
struct bb_env {
    const struct bb_env_ops *ops;
    /* Of bb/failpoint.h: which point ends the process (0: none), and after how many more times. */
    _Atomic unsigned failpoint;
    _Atomic unsigned long failpoint_left;
};

/* The real world; one static object, never freed. */
struct bb_env *bb_env_real(void);

static inline uint64_t bb_now_us(struct bb_ctx *ctx)
{
    return ctx->env->ops->now_us(ctx->env);
}
static inline uint64_t bb_wall_us(struct bb_ctx *ctx)
{
    return ctx->env->ops->wall_us(ctx->env);
}
static inline void bb_random(struct bb_ctx *ctx, void *to, size_t size)
{
    ctx->env->ops->random(ctx->env, to, size);
}
/* BB_OK, BB_TIMEOUT when ctx's deadline has passed, BB_CANCELLED when it is cancelled. */
int bb_check(struct bb_ctx *ctx);
/* Whole small files. Write goes aside, syncs, renames, syncs the folder. `mode`: permission bits.
 */
int bb_file_read_all(struct bb_ctx *ctx, const char *path, struct bb_buf *to);
int bb_file_write_all(struct bb_ctx *ctx, const char *path, struct bb_slice content, uint32_t mode);

#endif
