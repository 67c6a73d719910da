/* What the files of libs/kv share. Internal. */
#ifndef BB_KV_INTERNAL_H
#define BB_KV_INTERNAL_H

#include <lmdb.h>

#include "bb/kv.h"

#include "key.h"

struct bb_kv {
    MDB_env *env;
    MDB_dbi data, meta;
    bool has_runs; /* not a store of format 1 that only is looked at: its runs are empty */
    MDB_dbi runs[BB_KV_RUNS];
    char *dir;
    uint64_t map_bytes;
    size_t page_bytes;
    uintptr_t map;  /* where LMDB's map begins; 0: not known */
    size_t trim_at; /* in the map: where letting go goes on */
    int lock_fd;    /* held as long as the store is open; -1: not yet */
    bool is_volatile;
};

struct bb_kv_read {
    struct bb_kv *kv;
    MDB_txn *txn;
};

static inline MDB_val kv_val(struct bb_slice slice)
{
    union {
        const uint8_t *in;
        void *out;
    } cast = { .in = slice.data };
    return (MDB_val){ .mv_size = slice.size, .mv_data = cast.out };
}
static inline struct bb_slice kv_slice(MDB_val val)
{
    return bb_slice(val.mv_data, val.mv_size);
}
void kv_damage_asserted(MDB_env *env, const char *assertion); /* damage.c */
/* resident.c: from the address of something in a leaf page of the map. */
void kv_map_find(struct bb_kv *kv, const void *inside, size_t page_bytes);
/* The status for what LMDB or the system said, with a text; BB_OK for 0. */
int kv_fail(struct bb_ctx *ctx, const struct bb_kv *kv, int rc, const char *what);

#endif
