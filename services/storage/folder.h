/*
 * The data folder: DIR/VERSION (format and cluster id), DIR/LOCK, DIR/raft, DIR/store, DIR/feed.
 * One process at a time; a folder of another format is refused.
 */
#ifndef STORAGE_FOLDER_H
#define STORAGE_FOLDER_H

#include "bb/base.h"

enum {
    FOLDER_PATH_MAX = 3072,
    FOLDER_CLUSTER = 16,
    FOLDER_FORMAT = 1
};

struct folder {
    char dir[FOLDER_PATH_MAX];
    int lock_fd;
    bool is_temporary; /* removed at close */
    bool is_new; /* has no VERSION yet: storage_folder_seal writes it when all parts are there */
    uint8_t cluster[FOLDER_CLUSTER];
};

/* `dir` is ignored for a temporary one. BB_BUSY: another process has it; BB_WRONG_VERSION; BB_IO:
 * with a sentence that says what to do. */
int storage_folder_open(struct bb_ctx *ctx, const char *dir, bool is_temporary,
                        struct folder *folder);
int storage_folder_seal(struct bb_ctx *ctx, struct folder *folder);
/* Gives the lock back, removes a temporary folder. Accepts what a failed open left. */
void storage_folder_close(struct folder *folder);
/* DIR/name. */
void storage_folder_path(const struct folder *folder, const char *name, char *path, size_t size);

#endif
