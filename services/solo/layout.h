/* Where the suite's files lie: found from the program's own place, or named by options. */
#ifndef SOLO_LAYOUT_H
#define SOLO_LAYOUT_H

#include "bb/base.h"
#include "bb/conf.h"

struct solo_layout {
    char node[4096], addon[4096], slot_js[4096];
};

/* BB_NOT_FOUND names the file that is missing and says what to do. */
int solo_layout_find(struct bb_ctx *ctx, const struct bb_conf *conf, struct solo_layout *layout);

/* Reads DIR/admin-key, or makes one (`bitbend|` and 64 hexadecimal digits; mode 0600). */
int solo_admin_key(struct bb_ctx *ctx, const char *data_dir, struct bb_buf *key);

/* Writes DIR/dev.json {url, adminKey, pid}, mode 0600. */
int solo_write_dev_json(struct bb_ctx *ctx, const char *data_dir, const char *url,
                        struct bb_slice key);
void solo_remove_dev_json(struct bb_ctx *ctx, const char *data_dir);

#endif
