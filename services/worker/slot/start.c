/*
 * From the add-on to the slot's main: what libs/vm knows becomes the slot's options.
 */
#include "bb/vm.h"

#include "slot.h"

int bb_vm_program_main(const struct bb_vm_program *program)
{
    const struct bb_slot_options options = {
        .fd = program->fd,
        .runtime = program->runtime,
        .runtime_count = program->runtime_count,
        .is_jitless = program->is_jitless,
        .seal = program->is_unsealed ? NULL : bb_vm_lock_down,
    };
    return bb_slot_main(&options);
}
