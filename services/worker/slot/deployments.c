#include "deployments.h"

struct slot_code {
    struct bb_vm_bundle *bundle;
    uint32_t user_count;
};

struct slot_deployment *slot_deployment_find(const struct slot_deployments *deployments,
                                             uint64_t number)
{
    for (struct slot_deployment *at = deployments->first; at != NULL; at = at->next) {
        if (at->number == number)
            return at;
    }
    return NULL;
}

struct bb_vm_bundle *slot_deployment_bundle(const struct slot_deployment *deployment)
{
    return deployment->code == NULL ? NULL : deployment->code->bundle;
}

static int load_code(struct bb_ctx *ctx, struct bb_vm *vm, const Bb__Proto__SlotDeployment *message,
                     struct slot_code **out)
{
    struct bb_vm_module *modules = bb_alloc_zero(message->n_modules, sizeof *modules);
    struct slot_code *code = bb_alloc_zero(1, sizeof *code);
    int rc;

    for (size_t i = 0; i < message->n_modules; i++) {
        const Bb__Proto__SlotModule *module = message->modules[i];
        modules[i] =
            (struct bb_vm_module){ .path = bb_slice_str(module->path),
                                   .source = bb_slice(module->source.data, module->source.len),
                                   .source_map =
                                       bb_slice(module->source_map.data, module->source_map.len),
                                   .needs_context = module->needs_context };
    }
    rc = bb_vm_load(ctx, vm, modules, message->n_modules, &code->bundle);
    bb_free(modules);
    if (rc != BB_OK) {
        bb_free(code);
        return rc;
    }
    *out = code;
    return BB_OK;
}

static void release(struct slot_deployment *deployment)
{
    struct slot_code *code = deployment->code;

    bb_txn_catalog_free(deployment->catalog);
    if (code != NULL && --code->user_count == 0) {
        bb_vm_unload(code->bundle);
        bb_free(code);
    }
    bb_free(deployment);
}

int slot_deployment_add(struct bb_ctx *ctx, struct slot_deployments *deployments, struct bb_vm *vm,
                        const Bb__Proto__SlotDeployment *message)
{
    struct slot_deployment *made = bb_alloc_zero(1, sizeof *made);
    int rc;

    made->number = message->deployment;
    rc = bb_txn_catalog_new(ctx, bb_slice(message->catalog.data, message->catalog.len),
                            &made->catalog);
    if (rc == BB_OK && message->same_code_as != 0) {
        struct slot_deployment *same = slot_deployment_find(deployments, message->same_code_as);
        if (same == NULL) {
            rc = bb_fail(ctx, BB_NOT_FOUND,
                         "deployment %" PRIu64 " names the code of %" PRIu64 ", which is not here",
                         message->deployment, message->same_code_as);
        } else {
            made->code = same->code;
        }
    } else if (rc == BB_OK && message->n_modules > 0) {
        rc = load_code(ctx, vm, message, &made->code);
    }
    if (rc != BB_OK) {
        bb_txn_catalog_free(made->catalog);
        bb_free(made);
        return rc;
    }
    if (made->code != NULL)
        made->code->user_count++;
    slot_deployment_retire(deployments, made->number);
    made->next = deployments->first;
    deployments->first = made;
    return BB_OK;
}

void slot_deployment_retire(struct slot_deployments *deployments, uint64_t number)
{
    for (struct slot_deployment **at = &deployments->first; *at != NULL; at = &(*at)->next) {
        if ((*at)->number == number) {
            struct slot_deployment *gone = *at;
            *at = gone->next;
            release(gone);
            return;
        }
    }
}
