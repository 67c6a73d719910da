/*
 * The host operations of the runtime's JavaScript: numbers and arguments.
 * services/worker/runtime/00_ops.js has the same list; neither is stored or sent, so both may
 * change together.
 *
 * access: 0 user, 1 system (reading), 2 privileged. A row page is [scan, documents, isDone].
 */
#ifndef SLOT_OPS_H
#define SLOT_OPS_H

enum slot_op {
    SLOT_OP_GET = 1,          /* access, table or null, id -> document or null */
    SLOT_OP_GET_BY_KEY = 2,   /* access, table, key -> document or null */
    SLOT_OP_NORMALIZE_ID = 3, /* access, table, text -> boolean */
    SLOT_OP_SCAN =
        4, /* access, table, index or null, range, isDescending, want, prefetch -> page */
    SLOT_OP_SCAN_NEXT = 5,   /* scan, want, prefetch -> page */
    SLOT_OP_SCAN_OPEN = 6,   /* access, table, index or null, range, isDescending, filter,
                                [cursor or null, end cursor or null] -> scan */
    SLOT_OP_SCAN_CURSOR = 7, /* scan -> [cursor, isEnd] */
    SLOT_OP_COUNT = 8,       /* access, table, index or null, range, max, isUntracked -> number */
    SLOT_OP_INSERT = 9,      /* access, table, document -> id */
    SLOT_OP_PATCH = 10,      /* access, table or null, id, changes */
    SLOT_OP_REPLACE = 11,    /* access, table or null, id, document */
    SLOT_OP_DELETE = 12,     /* access, table or null, id */
    SLOT_OP_PUT = 13,        /* access, table, key, document, isWhole -> id */
    SLOT_OP_RETRACT = 14,    /* access, table or null, areKeys, names -> number */
    SLOT_OP_SAVEPOINT = 15,  /* -> mark */
    SLOT_OP_ROLLBACK = 16,   /* mark */
    SLOT_OP_LOG = 17,        /* level, text */
    SLOT_OP_IDENTITY = 18,   /* -> JSON text or null */
    SLOT_OP_BACKFILL = 19,   /* scan, index, want -> [rows, isDone] */
    SLOT_OP_CLEAN = 20,      /* table number, index id, after: bytes or null, want ->
                                [rows, last: bytes, isDone] */
    SLOT_OP_VARIABLE = 21,   /* name -> text or null */
    SLOT_OP_VARIABLES = 22,  /* -> names */
    SLOT_OP_NAME = 23,       /* path: whose lines the log lines of this call are */
    SLOT_OP_REDACT = 24      /* text -> the text as log lines would have it */
};

#endif
