#include "bb/failpoint.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const char *const names[BB_FAILPOINT_COUNT] = {
#define NAME(name, text) text,
    BB_FAILPOINTS(NAME)
#undef NAME
};

const char *bb_failpoint_name(enum bb_failpoint point)
{
    bb_assert((unsigned)point < BB_FAILPOINT_COUNT);
    return names[point];
}

/* Names those of the same part, else the parts. */
static int unknown(struct bb_ctx *ctx, const char *text)
{
    size_t part = strcspn(text, ".:");
    struct bb_buf list;

    bb_buf_init(&list);
    for (size_t i = 0; i < BB_FAILPOINT_COUNT; i++) {
        bool is_part = strncmp(names[i], text, part) == 0 && names[i][part] == '.';
        if (is_part) {
            bb_buf_append_slice(&list, bb_slice_str(list.size == 0 ? "" : ", "));
            bb_buf_append_slice(&list, bb_slice_str(names[i]));
        }
    }
    if (list.size == 0) {
        bb_buf_append_slice(&list, bb_slice_str("those of log, storage, feed, store, sequencer, "
                                                "worker, gateway"));
    }
    int rc = bb_fail(ctx, BB_BAD_REQUEST, "no failpoint \"%.64s\"; there are: %.*s", text,
                     (int)list.size, (const char *)list.data);
    bb_buf_fini(&list);
    return rc;
}

int bb_failpoint_arm(struct bb_ctx *ctx, struct bb_env *env, const char *text)
{
    const char *colon = strchr(text, ':');
    size_t length = colon == NULL ? strlen(text) : (size_t)(colon - text);
    char *end = NULL;
    unsigned long count = colon == NULL ? 1 : strtoul(colon + 1, &end, 10);

    if (count == 0 || (end != NULL && *end != '\0')) {
        return bb_fail(ctx, BB_BAD_REQUEST,
                       "failpoint \"%.64s\": after the colon stands how often "
                       "it is reached, 1 or more",
                       text);
    }
    for (unsigned i = 0; i < BB_FAILPOINT_COUNT; i++) {
        if (strlen(names[i]) == length && memcmp(names[i], text, length) == 0) {
            atomic_store(&env->failpoint_left, count);
            atomic_store(&env->failpoint, i + 1);
            return BB_OK;
        }
    }
    return unknown(ctx, text);
}

void bb_failpoint_reached(struct bb_env *env)
{
    char line[128];
    unsigned point = atomic_load(&env->failpoint);

    if (atomic_fetch_sub(&env->failpoint_left, 1) != 1) {
        return;
    }
    int size = snprintf(line, sizeof line, "failpoint %s: the process ends\n", names[point - 1]);
    (void)!write(STDERR_FILENO, line, (size_t)size); /* nobody is left to hear of a failure */
    (void)kill(getpid(), SIGKILL);
    for (;;) {
        (void)pause();
    }
}
