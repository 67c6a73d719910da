#include <criterion/criterion.h>

#include "sandbox.h"

static struct sandbox *sandbox_of(const char *mode)
{
    struct bb_ctx ctx = { 0 };
    struct sandbox_options options = {
        .mode = mode, .node = "/bin/sh", .addon = "/bin/sh", .slot_js = "/bin/sh"
    };
    struct sandbox *sandbox = NULL;
    int rc = worker_sandbox_new(&ctx, &options, &sandbox);
    cr_assert_eq(rc == BB_OK, sandbox != NULL);
    return sandbox;
}

Test(sandbox, a_slot_without_a_filter_is_refused_when_isolation_is_required)
{
    struct sandbox *automatic = sandbox_of("auto");
    cr_assert_not_null(automatic);
    cr_assert(worker_sandbox_accepts(automatic, "no-new-privs"));
    worker_sandbox_free(automatic);
    struct sandbox *required = sandbox_of("require");
    if (required == NULL) {
        cr_skip_test("this machine cannot isolate slots");
    }
    cr_assert_not(worker_sandbox_accepts(required, ""));
    cr_assert_not(worker_sandbox_accepts(required, "no-new-privs"));
    cr_assert(worker_sandbox_accepts(required, "seccomp,no-new-privs"));
    worker_sandbox_free(required);
}
