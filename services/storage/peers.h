/*
 * What the options say about this node among the others.
 */
#ifndef STORAGE_PEERS_H
#define STORAGE_PEERS_H

#include "bb/conf.h"
#include "bb/replog.h"

#include "member.h"

enum {
    PEERS_MAX = 16,
    PEERS_SECRET_MIN = 16
};

struct peers {
    uint64_t id;
    char url[MEMBER_TEXT_MAX + 1];     /* for clients */
    char listen[MEMBER_TEXT_MAX + 1];  /* numeric; empty: no other node can reach this one */
    char address[MEMBER_TEXT_MAX + 1]; /* for the others; empty with `listen` */
    bool is_joining;
    struct bb_buf secret;
    struct bb_replog_voter voters[PEERS_MAX]; /* of a new cluster; its texts in `text` */
    size_t voter_count;
    char *text;
};
/* BB_BAD_REQUEST names the option, what is wrong with it and what to do. */
int storage_peers_init(struct bb_ctx *ctx, const struct bb_conf *conf, struct peers *peers);
void storage_peers_fini(struct peers *peers); /* accepts zeros */

#endif
