/*
 * From the add-on to the slot's main: what libs/vm knows becomes the slot's options.
 */
#include "bb/vm.h"

#include "slot.h"

/* A machine without seccomp gets what there is: the slot says so when it is ready, and the
 * supervisor decides whether that is enough. */
static int seal(struct bb_ctx *ctx, char *what, size_t what_size)
{
    const int rc = bb_vm_lock_down(ctx, what, what_size);

    return rc == BB_UNSUPPORTED ? BB_OK : rc;
}

int bb_vm_program_main(const struct bb_vm_program *program)
{
    const struct bb_slot_options options = {
        .fd = program->fd,
        .runtime = program->runtime,
        .runtime_count = program->runtime_count,
        .is_jitless = program->is_jitless,
        .seal = program->is_unsealed ? NULL : seal,
    };
    return bb_slot_main(&options);
}
