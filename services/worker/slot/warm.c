#include "warm.h"

#include "bb/env.h"

#define WARM_MS 5000u /* what a module may take that loads in a call, too */

static char path[] = "_system:warm";

/* The arguments of the runtime's function: which module. */
static struct bb_slice warm_args(struct slot *slot, uint32_t at)
{
    bb_value_builder_clear(slot->builder);
    bb_value_begin_object(slot->builder);
    bb_value_field_name(slot->builder, bb_slice_str("at"));
    bb_value_put_float64(slot->builder, at);
    bb_value_end_object(slot->builder);
    return bb_arena_dup(slot->call_arena, bb_value_finish(slot->builder));
}

/* Nobody waits for its result; true: there are more modules. */
static bool end(struct slot *slot)
{
    struct bb_vm_call *call = slot->call->vm;
    struct bb_vm_result result = { .end = BB_VM_INTERNAL };
    bool has_more = false;

    if (bb_vm_call_is_done(call)) {
        bb_vm_call_result(call, &result);
        has_more = result.end == BB_VM_VALUE && result.value.size > 0 &&
                   bb_value_tag(result.value) == BB_TAG_TRUE;
    }
    bb_vm_call_end(call);
    slot->must_end = bb_vm_must_recycle(slot->vm);
    return has_more && !slot->must_end;
}

void slot_warm_begin(struct slot *slot, uint64_t deployment)
{
    slot->warming = deployment;
    slot->warm_at = 0;
}

void slot_warm_step(struct slot *slot)
{
    const struct slot_deployment *deployment =
        slot_deployment_find(&slot->deployments, slot->warming);
    Bb__Proto__SlotStart start;

    if (deployment == NULL || slot_deployment_bundle(deployment) == NULL) {
        slot->warming = 0;
        return;
    }
    bb__proto__slot_start__init(&start);
    start.kind = BB__PROTO__FUNCTION_KIND__KIND_QUERY;
    start.path = path;
    start.timeout_ms = WARM_MS;
    slot_call_prepare(slot, &start, deployment);
    const struct bb_vm_call_options options = { .path = bb_slice_str(path),
                                                .args = warm_args(slot, slot->warm_at++),
                                                .arg = slot };
    slot_watchdog_enter(slot->watchdog, slot->call->deadline_us);
    int rc = bb_vm_call_begin(&slot->ctx, slot->vm, slot_deployment_bundle(deployment), &options,
                              &slot->call->vm);
    (void)slot_watchdog_leave(slot->watchdog); /* then the isolate says that the process must end */
    if (rc != BB_OK || !end(slot))
        slot->warming = 0;
    slot_call_release(slot);
}
