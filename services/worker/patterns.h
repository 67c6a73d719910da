/*
 * How the arguments of a function name the documents that its calls get: one is the document's id,
 * or its key is made of texts and arguments ("counter/" and `key`).
 *
 * Learnt from what calls have read, and only a guess for the next one: what it leads to is read
 * ahead of the call, so a wrong one costs a read and a right one saves the call a wait, however
 * many documents there are. A pattern is used when it held for some calls in a row, and goes when
 * it fails more than now and then.
 *
 * Ownership: everything is copied. Threads: one. Durability: none. A table of fixed size by the
 * hash of the path; what was used least lately goes first.
 */
#ifndef WORKER_PATTERNS_H
#define WORKER_PATTERNS_H

#include "copies.h"

#define PATTERNS_MAX 4 /* documents of one call */

struct patterns;
struct foreseen {
    uint8_t key[COPIES_KEY_SIZE];
    uint8_t pattern; /* of the path's */
    bool is_sure;    /* else it is only looked whether it would have been right */
};

struct patterns *worker_patterns_new(void);
void worker_patterns_free(struct patterns *patterns); /* accepts NULL */

/* A call of `path` (its hash) with these arguments (BBV, not checked yet) has asked for a document
 * that nobody had foreseen, and got this; empty: there is none. */
void worker_patterns_learn(struct patterns *patterns, uint64_t path, struct bb_slice args,
                           struct bb_slice key, struct bb_slice document);
/* What a call will get. */
size_t worker_patterns_of(struct patterns *patterns, uint64_t path, struct bb_slice args,
                          struct foreseen foreseen[PATTERNS_MAX]);
/* The call has ended. Did it read that document? */
void worker_patterns_judge(struct patterns *patterns, uint64_t path,
                           const struct foreseen *foreseen, bool was_read);

#endif
