/* What the files of bb-ctl share. */
#ifndef CTL_H
#define CTL_H

#include "bb/base.h"
#include "bb/conf.h"

/* The suite's state by its gateway, printed; the exit code. */
int ctl_status_http(struct bb_ctx *ctx, const struct bb_conf *conf);
/* The same by asking each process over nng. */
int ctl_status_direct(struct bb_ctx *ctx, const struct bb_conf *conf);
/* members [list | add NUMBER URL HOST:PORT | promote NUMBER | remove NUMBER] */
int ctl_members(struct bb_ctx *ctx, const struct bb_conf *conf);

/* What a stopped storage node's folder holds. */
int ctl_inspect(struct bb_ctx *ctx, const struct bb_conf *conf);
/* Asks running storage nodes for a compaction, or for the hash of what they hold. */
int ctl_care(struct bb_ctx *ctx, const struct bb_conf *conf, bool is_hash);

#endif
