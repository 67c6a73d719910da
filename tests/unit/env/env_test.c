#include <signal.h>

#include <criterion/criterion.h>

#include "bb/env.h"
#include "bb/failpoint.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static struct bb_ctx ctx;
static char folder[] = "/tmp/bb-env-XXXXXX";

static void setup(void)
{
    ctx.env = bb_env_real();
    cr_assert_not_null(mkdtemp(folder));
}

static const char *in(const char *name)
{
    static char paths[4][128];
    static int next;
    char *path = paths[next++ % 4];

    (void)snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

static void remove_one(void *arg, const char *name)
{
    (void)arg;
    (void)ctx.env->ops->remove(&ctx, ctx.env, in(name));
}

static void teardown(void)
{
    (void)ctx.env->ops->list_dir(&ctx, ctx.env, folder, remove_one, NULL);
    (void)rmdir(folder);
}

TestSuite(env, .init = setup, .fini = teardown);

Test(env, a_file_keeps_what_was_written)
{
    const struct bb_env_ops *ops = ctx.env->ops;
    struct bb_file *file = NULL;
    char text[16];
    size_t done = 0;
    uint64_t size = 0;

    cr_assert_eq(ops->open(&ctx, ctx.env, in("f"), BB_OPEN_CREATE, &file), BB_OK);
    cr_assert_eq(ops->write(&ctx, file, 3, "abc", 3), BB_OK);
    cr_assert_eq(ops->sync(&ctx, file), BB_OK);
    cr_assert_eq(ops->size(&ctx, file, &size), BB_OK);
    cr_assert_eq(size, 6);
    cr_assert_eq(ops->read(&ctx, file, 4, text, sizeof text, &done), BB_OK);
    cr_assert_eq(done, 2, "short at the end");
    cr_assert_arr_eq(text, "bc", 2);
    cr_assert_eq(ops->truncate(&ctx, file, 1), BB_OK);
    cr_assert_eq(ops->size(&ctx, file, &size), BB_OK);
    cr_assert_eq(size, 1);
    ops->close(file);
}

Test(env, append_mode_writes_at_the_end)
{
    const struct bb_env_ops *ops = ctx.env->ops;
    struct bb_file *file = NULL;
    struct bb_buf content;

    bb_buf_init(&content);
    cr_assert_eq(ops->open(&ctx, ctx.env, in("f"), BB_OPEN_APPEND, &file), BB_OK);
    cr_assert_eq(ops->write(&ctx, file, 0, "abc", 3), BB_OK);
    cr_assert_eq(ops->write(&ctx, file, 0, "def", 3), BB_OK);
    ops->close(file);
    cr_assert_eq(bb_file_read_all(&ctx, in("f"), &content), BB_OK);
    cr_assert(bb_slice_equal_str(bb_buf_slice(&content), "abcdef"));
    bb_buf_fini(&content);
}

Test(env, what_is_missing_or_in_the_way_has_its_own_status)
{
    const struct bb_env_ops *ops = ctx.env->ops;
    struct bb_file *file = NULL;

    cr_assert_eq(ops->open(&ctx, ctx.env, in("none"), BB_OPEN_READ, &file), BB_NOT_FOUND);
    cr_assert_not_null(strstr(ctx.error, "/none: No such file"), "%s", ctx.error);
    cr_assert_eq(ops->open(&ctx, ctx.env, in("f"), BB_OPEN_CREATE, &file), BB_OK);
    ops->close(file);
    cr_assert_eq(ops->open(&ctx, ctx.env, in("f"), BB_OPEN_CREATE, &file), BB_EXISTS);
    cr_assert_eq(ops->make_dir(&ctx, ctx.env, in("f")), BB_EXISTS);
    cr_assert_eq(ops->remove(&ctx, ctx.env, in("none")), BB_NOT_FOUND);
}

Test(env, a_full_disk_has_its_own_status)
{
    const struct bb_env_ops *ops = ctx.env->ops;
    struct bb_file *file = NULL;

    if (access("/dev/full", W_OK) != 0)
        return;
    cr_assert_eq(ops->open(&ctx, ctx.env, "/dev/full", BB_OPEN_APPEND, &file), BB_OK);
    cr_assert_eq(ops->write(&ctx, file, 0, "a", 1), BB_NO_SPACE);
    ops->close(file);
}

static void collect(void *arg, const char *name)
{
    bb_buf_printf(arg, "%s,", name);
}

Test(env, a_folder_is_listed_in_byte_order)
{
    const struct bb_env_ops *ops = ctx.env->ops;
    struct bb_buf names;

    bb_buf_init(&names);
    cr_assert_eq(ops->make_dir(&ctx, ctx.env, in("sub/deep")), BB_OK);
    cr_assert_eq(bb_file_write_all(&ctx, in("sub/b"), bb_slice_str("1"), 0644), BB_OK);
    cr_assert_eq(bb_file_write_all(&ctx, in("sub/a"), bb_slice_str("2"), 0600), BB_OK);
    cr_assert_eq(ops->list_dir(&ctx, ctx.env, in("sub"), collect, &names), BB_OK);
    cr_assert(bb_slice_equal_str(bb_buf_slice(&names), "a,b,deep,"), "%.*s",
              BB_SLICE_ARG(bb_buf_slice(&names)));
    struct stat found;
    cr_assert_eq(stat(in("sub/b"), &found), 0);
    cr_assert_eq(found.st_mode & 0777, 0644);
    cr_assert_eq(stat(in("sub/a"), &found), 0);
    cr_assert_eq(found.st_mode & 0777, 0600);
    bb_buf_fini(&names);
    (void)unlink(in("sub/a"));
    (void)unlink(in("sub/b"));
    (void)rmdir(in("sub/deep"));
}

Test(env, a_whole_file_is_replaced_at_once)
{
    struct bb_buf content;

    bb_buf_init(&content);
    cr_assert_eq(bb_file_write_all(&ctx, in("f"), bb_slice_str("long first text"), 0600), BB_OK);
    cr_assert_eq(bb_file_write_all(&ctx, in("f"), bb_slice_str("short"), 0600), BB_OK);
    cr_assert_eq(bb_file_read_all(&ctx, in("f"), &content), BB_OK);
    cr_assert(bb_slice_equal_str(bb_buf_slice(&content), "short"));
    cr_assert_neq(access(in("f.new"), F_OK), 0);
    bb_buf_fini(&content);
}

Test(env, clocks_run_and_randomness_differs)
{
    uint8_t a[32];
    uint8_t b[32];
    uint64_t before = bb_now_us(&ctx);

    cr_assert_geq(bb_now_us(&ctx), before);
    cr_assert_gt(bb_wall_us(&ctx), UINT64_C(1600000000000000));
    bb_random(&ctx, a, sizeof a);
    bb_random(&ctx, b, sizeof b);
    cr_assert_neq(memcmp(a, b, sizeof a), 0);
}

Test(env, check_knows_deadline_and_cancel)
{
    volatile bool is_cancelled = false;
    struct bb_ctx work = { .env = bb_env_real(), .is_cancelled = &is_cancelled };
    uint64_t bytes = 0;

    cr_assert_eq(bb_check(&work), BB_OK);
    work.deadline_us = bb_now_us(&work) + 60000000;
    cr_assert_eq(bb_check(&work), BB_OK);
    work.deadline_us = 1;
    cr_assert_eq(bb_check(&work), BB_TIMEOUT);
    is_cancelled = true;
    cr_assert_eq(bb_check(&work), BB_CANCELLED);
    cr_assert_eq(ctx.env->ops->free_bytes(&ctx, ctx.env, folder, &bytes), BB_OK);
    cr_assert_gt(bytes, 0);
}

/* ---- failpoints ---- */

Test(failpoint, one_that_is_armed_ends_the_process_at_the_nth_time, .signal = SIGKILL)
{
    struct bb_ctx ctx = { .env = bb_env_real() };
    cr_assert_eq(bb_failpoint_arm(&ctx, ctx.env, "store.commit.after:2"), BB_OK);
    bb_failpoint(ctx.env, BB_FAILPOINT_STORE_COMMIT_BEFORE);
    bb_failpoint(ctx.env, BB_FAILPOINT_STORE_COMMIT_AFTER);
    cr_assert_eq(atomic_load(&ctx.env->failpoint_left), 1);
    bb_failpoint(ctx.env, BB_FAILPOINT_STORE_COMMIT_AFTER);
    cr_assert_fail("it goes on");
}

Test(failpoint, none_is_reached_when_none_is_armed)
{
    struct bb_env *env = bb_env_real();
    for (unsigned i = 0; i < BB_FAILPOINT_COUNT; i++) {
        bb_failpoint(env, (enum bb_failpoint)i);
        cr_assert(strchr(bb_failpoint_name((enum bb_failpoint)i), '.') != NULL);
    }
}

Test(failpoint, an_unknown_one_is_refused_and_those_of_its_part_are_named)
{
    static const struct {
        const char *text, *says;
    } cases[] = {
        { "worker.lunch", "there are: worker.submit.before, " },
        { "lunch", "those of log, storage" },
        { "", "those of log, storage" },
        { "feed.sync.after:0", "1 or more" },
        { "feed.sync.after:x", "1 or more" },
        { "feed.sync", "there are: feed." },
    };
    for (size_t i = 0; i < BB_COUNT_OF(cases); i++) {
        struct bb_ctx ctx = { .env = bb_env_real() };
        cr_assert_eq(bb_failpoint_arm(&ctx, ctx.env, cases[i].text), BB_BAD_REQUEST, "%s",
                     cases[i].text);
        cr_assert(strstr(ctx.error, cases[i].says) != NULL, "%s: %s", cases[i].text, ctx.error);
        cr_assert_eq(atomic_load(&ctx.env->failpoint), 0);
    }
}
