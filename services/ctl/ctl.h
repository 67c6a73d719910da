/* What the files of bb-ctl share. */
#ifndef CTL_H
#define CTL_H

#include "bb/base.h"
#include "bb/conf.h"

/* The suite's state by its gateway, printed; the exit code. */
int ctl_status_http(struct bb_ctx *ctx, const struct bb_conf *conf);
/* The same by asking each process over nng. */
int ctl_status_direct(struct bb_ctx *ctx, const struct bb_conf *conf);

#endif
