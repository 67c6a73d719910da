/*
 * The second thread of a slot: stops scripts at their deadline, and ends the process when the
 * supervisor is gone, also while a script loops.
 */
#ifndef SLOT_WATCHDOG_H
#define SLOT_WATCHDOG_H

#include "bb/base.h"
#include "bb/vm.h"

struct slot_watchdog;

/* Watches `fd` for the end of the other side; `now_us` of ctx->env is its clock. BB_IO. */
int slot_watchdog_open(struct bb_ctx *ctx, int fd, struct slot_watchdog **watchdog);
/* From now on scripts of this isolate may be stopped. */
void slot_watchdog_attach(struct slot_watchdog *watchdog, struct bb_vm *vm);
/* JavaScript is about to run, until leave: it may be stopped from `deadline_us` on. */
void slot_watchdog_enter(struct slot_watchdog *watchdog, uint64_t deadline_us);
/* Whether the deadline has fired since enter. */
bool slot_watchdog_leave(struct slot_watchdog *watchdog);

#endif
