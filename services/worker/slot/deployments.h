/*
 * The deployments that a slot knows: compiled modules and a catalog each. Two that differ in the
 * catalog only share their modules.
 */
#ifndef SLOT_DEPLOYMENTS_H
#define SLOT_DEPLOYMENTS_H

#include "bb/txn.h"
#include "bb/vm.h"

#include "slot.pb-c.h"

struct slot_code; /* a bundle and how many deployments use it */
struct slot_deployment {
    struct slot_deployment *next;
    uint64_t number;
    struct slot_code *code; /* NULL: no modules */
    struct bb_txn_catalog *catalog;
};
struct slot_deployments {
    struct slot_deployment *first;
};

/* BB_CORRUPT, BB_NOT_FOUND (same_code_as names one that is not there) or what bb_vm_load says. */
int slot_deployment_add(struct bb_ctx *ctx, struct slot_deployments *deployments, struct bb_vm *vm,
                        const Bb__Proto__SlotDeployment *message);
/* NULL when it is not there. */
struct slot_deployment *slot_deployment_find(const struct slot_deployments *deployments,
                                             uint64_t number);
struct bb_vm_bundle *slot_deployment_bundle(const struct slot_deployment *deployment);
void slot_deployment_retire(struct slot_deployments *deployments, uint64_t number);

#endif
