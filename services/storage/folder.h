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
    FOLDER_INCARNATION = 16,
    FOLDER_FORMAT = 1
};

struct folder {
    char dir[FOLDER_PATH_MAX];
    int lock_fd;
    bool is_temporary; /* removed at close */
    bool is_new;       /* has no VERSION yet */
    bool is_dirty;     /* VERSION does not say what this says: see storage_folder_seal */
    uint8_t cluster[FOLDER_CLUSTER];         /* zeros: not known when it was written */
    uint64_t node;                           /* whose folder it is; 0: an old one does not say */
    uint8_t incarnation[FOLDER_INCARNATION]; /* random, made with the folder */
};

/* `dir` is ignored for a temporary one. BB_BUSY: another process has it; BB_WRONG_VERSION; BB_IO:
 * with a sentence that says what to do. */
int storage_folder_open(struct bb_ctx *ctx, const char *dir, bool is_temporary,
                        struct folder *folder);
/* Writes VERSION if it has changed, when all parts are there. */
int storage_folder_seal(struct bb_ctx *ctx, struct folder *folder);
/* The folder belongs to this node from now on. BB_BAD_REQUEST: it is another one's. */
int storage_folder_own(struct bb_ctx *ctx, struct folder *folder, uint64_t node);
/* A new folder's cluster is given by the first leader; till then it has none. */
void storage_folder_set_cluster(struct folder *folder, const uint8_t *cluster);
/* Gives the lock back, removes a temporary folder. Accepts what a failed open left. */
void storage_folder_close(struct folder *folder);
/* DIR/name. */
void storage_folder_path(const struct folder *folder, const char *name, char *path, size_t size);

/* lock.c: what the system itself gives. BB_BUSY: another process has the folder. */
int storage_folder_lock(struct bb_ctx *ctx, struct folder *folder);
int storage_folder_temporary(struct bb_ctx *ctx, struct folder *folder);

#endif
