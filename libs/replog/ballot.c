#include "ballot.h"

#include <assert.h>
#include <stdio.h>

enum {
    MAGIC_AT = 0,
    VERSION_AT = 4,
    NUMBER_AT = 8,
    TERM_AT = 16,
    VOTE_AT = 24,
    ZERO_AT = 32,
    CRC_AT = 36,
    FILE_BYTES = 2 * REPLOG_BALLOT_SLOT
};
#define BALLOT_MAGIC   0x564c4242u /* "BBLV" */
#define BALLOT_VERSION 1u

static_assert(CRC_AT + 4 == REPLOG_BALLOT_BYTES, "the checksum ends a ballot");

/* ---- one slot ---- */

void replog_ballot_encode(const struct replog_ballot *ballot, uint8_t to[REPLOG_BALLOT_BYTES])
{
    bb_put_le32(to + MAGIC_AT, BALLOT_MAGIC);
    bb_put_le32(to + VERSION_AT, BALLOT_VERSION);
    bb_put_le64(to + NUMBER_AT, ballot->number);
    bb_put_le64(to + TERM_AT, ballot->term);
    bb_put_le64(to + VOTE_AT, ballot->vote);
    bb_put_le32(to + ZERO_AT, 0);
    bb_put_le32(to + CRC_AT, bb_crc32c(0, to, CRC_AT));
}

int replog_ballot_decode(struct bb_ctx *ctx, struct bb_slice from, struct replog_ballot *ballot)
{
    if (from.size < REPLOG_BALLOT_BYTES || bb_get_le32(from.data + MAGIC_AT) != BALLOT_MAGIC ||
        bb_get_le32(from.data + CRC_AT) != bb_crc32c(0, from.data, CRC_AT)) {
        return bb_fail(ctx, BB_CORRUPT, "no ballot, or a damaged one");
    }
    if (bb_get_le32(from.data + VERSION_AT) != BALLOT_VERSION) {
        return bb_fail(ctx, BB_WRONG_VERSION, "a ballot of format %" PRIu32,
                       bb_get_le32(from.data + VERSION_AT));
    }
    *ballot = (struct replog_ballot){ .number = bb_get_le64(from.data + NUMBER_AT),
                                      .term = bb_get_le64(from.data + TERM_AT),
                                      .vote = bb_get_le64(from.data + VOTE_AT) };
    return ballot->number > 0 ? BB_OK : bb_fail(ctx, BB_CORRUPT, "a ballot without a number");
}

static bool says(const struct replog_ballot *ballot, uint64_t term, uint64_t vote)
{
    return ballot->number > 0 && ballot->term == term && ballot->vote == vote;
}

static bool is_less(const struct replog_ballot *ballot, uint64_t term, uint64_t vote)
{
    if (ballot->number == 0 || term < ballot->term)
        return false;
    if (term == ballot->term)
        return ballot->vote == 0 && vote != 0;
    return term - ballot->term <= REPLOG_BALLOT_TERMS_MAX;
}

enum replog_ballot_match replog_ballots_match(const struct replog_ballots *ballots, uint64_t term,
                                              uint64_t vote)
{
    if (says(&ballots->newest, term, vote)) {
        return REPLOG_BALLOT_SAME;
    }
    if (says(&ballots->before, term, vote)) {
        return REPLOG_BALLOT_AHEAD;
    }
    return is_less(&ballots->newest, term, vote) ? REPLOG_BALLOT_BEHIND : REPLOG_BALLOT_OTHER;
}

/* ---- the file ---- */

static void path_of(const char *dir, char *to, size_t size)
{
    (void)snprintf(to, size, "%s/ballot", dir); /* raft allows less */
}

static uint64_t slot_at(uint64_t number)
{
    return number % 2 * REPLOG_BALLOT_SLOT;
}

/* A torn write has left one slot as it was; it is the other's turn again. */
static int take_slots(struct bb_ctx *ctx, struct bb_slice bytes, struct replog_ballots *ballots)
{
    struct replog_ballot found[2] = { { .number = 0 } };

    for (size_t i = 0; i < BB_COUNT_OF(found); i++) {
        size_t at = slot_at(i);
        struct bb_slice slot =
            at < bytes.size ? bb_slice(bytes.data + at, bytes.size - at) : bb_slice(NULL, 0);
        struct bb_ctx own = { .env = ctx->env };
        int rc = replog_ballot_decode(&own, slot, &found[i]);
        if (rc == BB_WRONG_VERSION) {
            return bb_fail(ctx, rc, "%s", own.error);
        }
        if (rc != BB_OK || slot_at(found[i].number) != at) {
            found[i].number = 0;
        }
    }
    size_t newest = found[1].number > found[0].number;
    ballots->newest = found[newest];
    ballots->before = found[1 - newest];
    if (ballots->before.number + 1 != ballots->newest.number) {
        ballots->before.number = 0;
    }
    return ballots->newest.number > 0 ? BB_OK
                                      : bb_fail(ctx, BB_CORRUPT, "the file ballot is damaged");
}

int replog_ballots_read(struct bb_ctx *ctx, const char *dir, struct replog_ballots *ballots)
{
    struct bb_buf bytes;
    char path[4096];

    *ballots = (struct replog_ballots){ .file = NULL };
    path_of(dir, path, sizeof path);
    bb_buf_init(&bytes);
    int rc = bb_file_read_all(ctx, path, &bytes);
    if (rc == BB_OK) {
        rc = take_slots(ctx, bb_buf_slice(&bytes), ballots);
    }
    bb_buf_fini(&bytes);
    return rc;
}

int replog_ballots_open(struct bb_ctx *ctx, const char *dir, struct replog_ballots *ballots)
{
    char path[4096];

    path_of(dir, path, sizeof path);
    return ctx->env->ops->open(ctx, ctx->env, path, BB_OPEN_READ_WRITE, &ballots->file);
}

int replog_ballots_create(struct bb_ctx *ctx, const char *dir, uint64_t term, uint64_t vote,
                          struct replog_ballots *ballots)
{
    uint8_t bytes[FILE_BYTES] = { 0 };
    char path[4096];

    *ballots = (struct replog_ballots){ .newest = { .number = 1, .term = term, .vote = vote } };
    replog_ballot_encode(&ballots->newest, bytes + slot_at(1));
    path_of(dir, path, sizeof path);
    int rc = bb_file_write_all(ctx, path, bb_slice(bytes, sizeof bytes), 0600);
    return rc == BB_OK ? replog_ballots_open(ctx, dir, ballots) : rc;
}

int replog_ballots_write(struct bb_ctx *ctx, struct replog_ballots *ballots, uint64_t term,
                         uint64_t vote)
{
    const struct bb_env_ops *ops = ctx->env->ops;
    struct replog_ballot next = { .number = ballots->newest.number + 1,
                                  .term = term,
                                  .vote = vote };
    uint8_t bytes[REPLOG_BALLOT_BYTES];

    bb_assert(ballots->file != NULL && ballots->newest.number > 0);
    replog_ballot_encode(&next, bytes);
    int rc = ops->write(ctx, ballots->file, slot_at(next.number), bytes, sizeof bytes);
    if (rc == BB_OK) {
        rc = ops->sync(ctx, ballots->file);
    }
    if (rc == BB_OK) {
        ballots->before = ballots->newest;
        ballots->newest = next;
    }
    return rc;
}

void replog_ballots_close(struct bb_ctx *ctx, struct replog_ballots *ballots)
{
    ctx->env->ops->close(ballots->file);
    ballots->file = NULL;
}
