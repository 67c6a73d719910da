/*
 * From the add-on to the slot's main: what libs/vm knows becomes the slot's options.
 */
#include "bb/vm.h"

#include <stdio.h>

#include "slot.h"

/* A machine without seccomp gets what there is: the slot says so when it is ready, and the
 * supervisor decides whether that is enough. */
static int seal(struct bb_ctx *ctx, char *what, size_t what_size)
{
    const int rc = bb_vm_lock_down(ctx, what, what_size);

    return rc == BB_UNSUPPORTED ? BB_OK : rc;
}

/* "zygote=256": a heap of 256 MB. Else 0: it is a slot. */
static uint32_t zygote_heap_mb(struct bb_slice argument)
{
    char text[32];
    uint32_t heap_mb = 0;

    if (argument.size < sizeof text) {
        memcpy(text, argument.data, argument.size);
        text[argument.size] = '\0';
        (void)sscanf(text, "zygote=%" SCNu32, &heap_mb);
    }
    return heap_mb;
}

int bb_vm_program_main(const struct bb_vm_program *program)
{
    const struct bb_slot_options options = {
        .fd = program->fd,
        .runtime = program->runtime,
        .runtime_count = program->runtime_count,
        .is_jitless = program->is_jitless,
        .zygote_heap_mb = zygote_heap_mb(program->argument),
        .seal = program->is_unsealed ? NULL : seal,
    };
    return bb_slot_main(&options);
}
