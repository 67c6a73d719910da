/*
 * The term and the vote of a node once more, with a checksum: libraft's own files have none, and a
 * node that reads a wrong vote from them could vote twice in a term. docs/formats/log.md: "ballot".
 *
 * Written and synced before libraft writes its own, so that a node that was killed between the two
 * has promised nothing that is not here. In two slots by turns and in place: a write that was torn
 * leaves the one before, and a full disk keeps nobody from voting.
 *
 * Threads: the owner's. Ownership: of the open file. Durability: what was written is synced.
 */
#ifndef REPLOG_BALLOT_H
#define REPLOG_BALLOT_H

#include "bb/env.h"

enum {
    REPLOG_BALLOT_BYTES = 40,
    REPLOG_BALLOT_SLOT = 4096, /* a disk writes no smaller pieces */
    /* A version that keeps no ballot makes no more terms, at one a second for twelve days; most
     * flipped bits of a term do. */
    REPLOG_BALLOT_TERMS_MAX = 1 << 20
};

struct replog_ballot {
    uint64_t number; /* rises by one with each that is written; 0: there is none */
    uint64_t term, vote;
};
struct replog_ballots {
    struct bb_file *file; /* NULL: not open */
    struct replog_ballot newest, before;
};

enum replog_ballot_match {
    REPLOG_BALLOT_SAME,
    REPLOG_BALLOT_AHEAD, /* the one before is meant: a process ended between the two writes */
    /* libraft's files promise more: a version that keeps no ballot has written them since. Who
     * keeps more promises than it gave harms nobody. */
    REPLOG_BALLOT_BEHIND,
    REPLOG_BALLOT_OTHER
};

void replog_ballot_encode(const struct replog_ballot *ballot, uint8_t to[REPLOG_BALLOT_BYTES]);
/* BB_CORRUPT, BB_WRONG_VERSION. */
int replog_ballot_decode(struct bb_ctx *ctx, struct bb_slice from, struct replog_ballot *ballot);
/* How these fit to what libraft's files say. */
enum replog_ballot_match replog_ballots_match(const struct replog_ballots *ballots, uint64_t term,
                                              uint64_t vote);

/* Both slots, without keeping the file open. BB_NOT_FOUND; BB_CORRUPT: neither is whole. */
int replog_ballots_read(struct bb_ctx *ctx, const char *dir, struct replog_ballots *ballots);
/* A new file that says this; what was there is replaced. Keeps it open. */
int replog_ballots_create(struct bb_ctx *ctx, const char *dir, uint64_t term, uint64_t vote,
                          struct replog_ballots *ballots);
/* Keeps open what was read. */
int replog_ballots_open(struct bb_ctx *ctx, const char *dir, struct replog_ballots *ballots);
int replog_ballots_write(struct bb_ctx *ctx, struct replog_ballots *ballots, uint64_t term,
                         uint64_t vote);
void replog_ballots_close(struct bb_ctx *ctx, struct replog_ballots *ballots);

#endif
