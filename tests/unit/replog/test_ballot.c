/* Term and vote once more: what a flipped byte, a torn write or a killed process leaves of them. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "bb/replog_look.h"

#include "cluster.h"
#include "log.h"

/* ---- one ballot ---- */

Test(ballot, comes_back_and_any_flipped_bit_is_noticed)
{
    struct bb_ctx ctx = { 0 };
    struct replog_ballot in = { .number = 7, .term = 42, .vote = 3 }, out;
    uint8_t bytes[REPLOG_BALLOT_BYTES];
    struct bb_slice all = bb_slice(bytes, sizeof bytes);
    replog_ballot_encode(&in, bytes);
    cr_assert_eq(replog_ballot_decode(&ctx, all, &out), BB_OK);
    cr_assert(out.number == 7 && out.term == 42 && out.vote == 3);
    for (size_t bit = 0; bit < 8 * sizeof bytes; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        cr_assert_neq(replog_ballot_decode(&ctx, all, &out), BB_OK, "bit %zu", bit);
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    for (size_t cut = 0; cut < sizeof bytes; cut++)
        cr_assert_neq(replog_ballot_decode(&ctx, bb_slice(bytes, cut), &out), BB_OK);
}

Test(ballot, is_the_golden_one)
{
    struct replog_ballot in = { .number = 7, .term = 42, .vote = 3 };
    uint8_t bytes[REPLOG_BALLOT_BYTES], golden[REPLOG_BALLOT_BYTES + 1];
    FILE *file = fopen("tests/golden/log/ballot.1.bin", "rb");
    cr_assert_not_null(file);
    replog_ballot_encode(&in, bytes);
    cr_assert_eq(fread(golden, 1, sizeof golden, file), sizeof bytes);
    fclose(file);
    cr_assert_eq(memcmp(golden, bytes, sizeof bytes), 0);
}

Test(ballot, fits_what_the_log_says_or_is_one_ahead_or_promises_less)
{
    struct replog_ballots voted = { .newest = { 5, 9, 2 }, .before = { 4, 9, 0 } };
    struct replog_ballots waits = { .newest = { 5, 9, 0 }, .before = { 4, 8, 3 } };
    const struct {
        const struct replog_ballots *ballots;
        uint64_t term, vote;
        enum replog_ballot_match match;
    } cases[] = {
        { &voted, 9, 2, REPLOG_BALLOT_SAME },
        { &voted, 9, 0, REPLOG_BALLOT_AHEAD },
        { &voted, 9, 1, REPLOG_BALLOT_OTHER },
        { &voted, 8, 2, REPLOG_BALLOT_OTHER },
        { &voted, 0, 0, REPLOG_BALLOT_OTHER },
        { &voted, 10, 0, REPLOG_BALLOT_BEHIND },
        { &voted, 10, 1, REPLOG_BALLOT_BEHIND },
        { &voted, 9 + REPLOG_BALLOT_TERMS_MAX, 0, REPLOG_BALLOT_BEHIND },
        { &voted, 10 + REPLOG_BALLOT_TERMS_MAX, 0, REPLOG_BALLOT_OTHER },
        { &voted, UINT64_MAX, 0, REPLOG_BALLOT_OTHER },
        { &waits, 9, 0, REPLOG_BALLOT_SAME },
        { &waits, 9, 1, REPLOG_BALLOT_BEHIND },
        { &waits, 8, 3, REPLOG_BALLOT_AHEAD },
        { &waits, 8, 0, REPLOG_BALLOT_OTHER },
        { &waits, 8, 1, REPLOG_BALLOT_OTHER },
    };
    for (size_t i = 0; i < BB_COUNT_OF(cases); i++)
        cr_assert_eq(replog_ballots_match(cases[i].ballots, cases[i].term, cases[i].vote),
                     cases[i].match, "case %zu", i);
}

/* ---- a node ---- */

struct metadata {
    uint64_t format, version, term, vote;
};

static void metadata_path(const char *dir, int number, char *path, size_t size)
{
    snprintf(path, size, "%s/metadata%d", dir, number);
}

/* The newer of libraft's two files; its number. */
static int read_metadata(const char *dir, struct metadata *newest)
{
    int number = 0;
    newest->version = 0;
    for (int i = 1; i <= 2; i++) {
        struct metadata found;
        char path[300];
        metadata_path(dir, i, path, sizeof path);
        FILE *file = fopen(path, "rb");
        if (file == NULL)
            continue;
        cr_assert_eq(fread(&found, sizeof found, 1, file), 1);
        fclose(file);
        if (found.version > newest->version) {
            *newest = found;
            number = i;
        }
    }
    cr_assert_neq(number, 0);
    return number;
}

static void write_metadata(const char *dir, int number, const struct metadata *metadata)
{
    char path[300];
    metadata_path(dir, number, path, sizeof path);
    FILE *file = fopen(path, "r+b");
    cr_assert_not_null(file, "%s", path);
    cr_assert_eq(fwrite(metadata, sizeof *metadata, 1, file), 1);
    fclose(file);
}

static void remove_ballot(const char *dir)
{
    char path[300];
    snprintf(path, sizeof path, "%s/ballot", dir);
    cr_assert_eq(unlink(path), 0);
}

static void live(struct cluster *cluster)
{
    for (size_t i = 0; i < cluster->node_count; i++)
        cluster_start(cluster, i);
    cluster_until(cluster, cluster_has_leader);
    cluster_write(cluster, 3, 100);
    cluster_until(cluster, cluster_is_equal);
}

static void end(struct cluster *cluster)
{
    for (size_t i = 0; i < cluster->node_count; i++)
        cluster_kill(cluster, i);
}

/* Three nodes that have lived and ended; the folder of the first that has voted in its term. */
static const char *ended(struct cluster *cluster, size_t *node)
{
    struct metadata metadata;
    cluster_init(cluster, 3, 3);
    for (int lives = 0; lives < 2; lives++) {
        live(cluster);
        end(cluster);
    }
    for (*node = 0; *node < 3; ++*node) {
        (void)read_metadata(cluster->nodes[*node].dir, &metadata);
        if (metadata.vote != 0)
            return cluster->nodes[*node].dir;
    }
    cr_assert_fail("nobody has voted");
    return NULL;
}

static struct replog_ballots ballots_of(struct cluster *cluster, const char *dir)
{
    struct replog_ballots ballots;
    cr_assert_eq(replog_ballots_read(&cluster->ctx, dir, &ballots), BB_OK);
    return ballots;
}

/* All go on, and have all that was acknowledged. */
static void go_on(struct cluster *cluster, size_t node)
{
    if (cluster->nodes[node].is_up)
        cluster_kill(cluster, node);
    live(cluster);
    cluster_check_ledger(cluster, node);
    cluster_fini(cluster);
}

/* What the file says; the caller frees it. */
static uint8_t *file_of(const char *dir, const char *name, size_t *size)
{
    uint8_t *bytes = malloc(1 << 16);
    char path[300];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *file = fopen(path, "rb");
    cr_assert_not_null(file, "%s", path);
    *size = fread(bytes, 1, 1 << 16, file);
    fclose(file);
    return bytes;
}

static void try_damaged(struct cluster *cluster, size_t node, const char *text)
{
    static const char *const names[] = { "metadata1", "metadata2", "ballot" };
    const char *dir = cluster->nodes[node].dir;
    uint8_t *before[3], *after;
    size_t sizes[3], size;
    for (size_t i = 0; i < 3; i++)
        before[i] = file_of(dir, names[i], &sizes[i]);
    cr_assert_eq(cluster_try_start(cluster, node), BB_CORRUPT);
    cr_assert_not_null(strstr(cluster->ctx.error, text), "%s", cluster->ctx.error);
    for (size_t i = 0; i < 3; i++) {
        after = file_of(dir, names[i], &size);
        cr_assert(size == sizes[i] && memcmp(before[i], after, size) == 0, "%s", names[i]);
        free(before[i]);
        free(after);
    }
}

/* A term raised by a little is taken, which does no harm. */
Test(ballot, b22_flipped_byte_in_term_or_vote_is_noticed, .timeout = 60)
{
    struct cluster cluster;
    struct metadata good;
    size_t node;
    const char *dir = ended(&cluster, &node);
    int number = read_metadata(dir, &good);
    size_t refused = 0;
    for (size_t byte = offsetof(struct metadata, term); byte < sizeof good; byte++) {
        struct metadata bad = good;
        ((uint8_t *)&bad)[byte] ^= 4;
        if (bad.term > good.term && bad.term - good.term <= REPLOG_BALLOT_TERMS_MAX)
            continue;
        write_metadata(dir, number, &bad);
        try_damaged(&cluster, node, "its file ballot says");
        cr_assert_not_null(strstr(cluster.ctx.error, "that keeps no ballot ran last: remove"), "%s",
                           cluster.ctx.error);
        cr_assert_not_null(strstr(cluster.ctx.error, "an empty folder, and a new number"), "%s",
                           cluster.ctx.error);
        refused++;
    }
    cr_assert_geq(refused, 13);
    write_metadata(dir, number, &good);
    go_on(&cluster, node);
}

/* A version that kept no ballot ran in between, on all nodes. */
Test(ballot, b22_what_a_version_without_ballots_promised_is_kept, .timeout = 60)
{
    struct cluster cluster;
    struct metadata metadata, seen;
    size_t node;
    (void)ended(&cluster, &node);
    for (size_t i = 0; i < 3; i++) {
        int number = read_metadata(cluster.nodes[i].dir, &metadata);
        metadata.term += 3;
        metadata.vote = i == 0 ? 0 : 2;
        write_metadata(cluster.nodes[i].dir, number, &metadata);
    }
    for (size_t i = 0; i < 3; i++) {
        (void)read_metadata(cluster.nodes[i].dir, &metadata);
        cluster_start(&cluster, i); /* alone it asks for no votes */
        (void)read_metadata(cluster.nodes[i].dir, &seen);
        struct replog_ballots ballots = ballots_of(&cluster, cluster.nodes[i].dir);
        cr_assert(seen.term == metadata.term && seen.vote == metadata.vote);
        cr_assert(ballots.newest.term == seen.term && ballots.newest.vote == seen.vote);
        cr_assert_eq(ballots.before.number + 1, ballots.newest.number);
        cr_assert_eq(cluster.nodes[i].replog->raft.voted_for, metadata.vote);
        cluster_kill(&cluster, i);
    }
    go_on(&cluster, node);
}

Test(ballot, b22_term_and_vote_of_before_are_noticed, .timeout = 60)
{
    struct cluster cluster;
    struct metadata older, newer;
    size_t node;
    const char *dir = ended(&cluster, &node);
    (void)read_metadata(dir, &older);
    live(&cluster);
    end(&cluster);
    int number = read_metadata(dir, &newer);
    cr_assert_gt(newer.term, older.term);
    older.version = newer.version;
    write_metadata(dir, number, &older);
    cr_assert_eq(cluster_try_start(&cluster, node), BB_CORRUPT);
    cr_assert_not_null(strstr(cluster.ctx.error, "one is damaged or older"), "%s",
                       cluster.ctx.error);
    write_metadata(dir, number, &newer);
    go_on(&cluster, node);
}

/* The ballot was written, libraft's own file was not: what it meant to promise is not forgotten. */
Test(ballot, b22_process_that_ended_between_the_two_writes_starts, .timeout = 60)
{
    struct cluster cluster;
    struct metadata seen;
    size_t node;
    const char *dir = ended(&cluster, &node);
    uint64_t term = ballots_of(&cluster, dir).newest.term + 1;
    for (uint64_t vote = 0; vote < 3; vote += 2) { /* of a new term, then of a vote in it */
        struct replog_ballots ballots = ballots_of(&cluster, dir);
        cr_assert_eq(replog_ballots_open(&cluster.ctx, dir, &ballots), BB_OK);
        cr_assert_eq(replog_ballots_write(&cluster.ctx, &ballots, term, vote), BB_OK);
        replog_ballots_close(&cluster.ctx, &ballots);
        cluster_start(&cluster, node); /* alone it asks for no votes */
        (void)read_metadata(dir, &seen);
        cr_assert_eq(seen.term, term);
        cr_assert_eq(seen.vote, vote);
        cr_assert_eq(cluster.nodes[node].replog->raft.voted_for, vote);
        cluster_kill(&cluster, node);
    }
    go_on(&cluster, node);
}

Test(ballot, b22_torn_write_leaves_the_one_before, .timeout = 60)
{
    struct cluster cluster;
    char path[300];
    size_t node;
    const char *dir = ended(&cluster, &node);
    struct replog_ballot newest = ballots_of(&cluster, dir).newest;
    snprintf(path, sizeof path, "%s/ballot", dir);
    FILE *file = fopen(path, "r+b");
    cr_assert_not_null(file);
    long slot = (long)((newest.number + 1) % 2) * REPLOG_BALLOT_SLOT;
    cr_assert_eq(fseek(file, slot, SEEK_SET), 0);
    cr_assert_eq(fwrite("BBLV\1\0\0\0torn", 12, 1, file), 1);
    fclose(file);
    cr_assert_eq(ballots_of(&cluster, dir).newest.number, newest.number);
    cluster_start(&cluster, node);
    go_on(&cluster, node);
}

Test(ballot, damaged_file_is_refused, .timeout = 60)
{
    struct cluster cluster;
    char path[300];
    size_t node;
    const char *dir = ended(&cluster, &node);
    snprintf(path, sizeof path, "%s/ballot", dir);
    cr_assert_eq(truncate(path, 20), 0);
    cr_assert_eq(cluster_try_start(&cluster, node), BB_CORRUPT);
    cr_assert_not_null(strstr(cluster.ctx.error, "the file ballot is damaged"), "%s",
                       cluster.ctx.error);
    cluster_fini(&cluster);
}

Test(ballot, folder_without_one_gets_one, .timeout = 60)
{
    struct cluster cluster;
    struct metadata seen;
    size_t node;
    const char *dir = ended(&cluster, &node);
    remove_ballot(dir);
    cluster_start(&cluster, node);
    (void)read_metadata(dir, &seen);
    struct replog_ballot newest = ballots_of(&cluster, dir).newest;
    cr_assert(newest.term == seen.term && newest.vote == seen.vote);
    go_on(&cluster, node);
}

Test(ballot, b22_term_before_that_of_the_entries_is_refused, .timeout = 60)
{
    struct cluster cluster;
    struct metadata metadata;
    struct replog_ballots ballots;
    size_t node;
    const char *dir = ended(&cluster, &node);
    int number = read_metadata(dir, &metadata);
    metadata.term = 1;
    write_metadata(dir, number, &metadata);
    cr_assert_eq(replog_ballots_create(&cluster.ctx, dir, 1, metadata.vote, &ballots), BB_OK);
    cr_assert_eq(replog_ballots_write(&cluster.ctx, &ballots, 1, metadata.vote % 3 + 1), BB_OK);
    replog_ballots_close(&cluster.ctx, &ballots);
    try_damaged(&cluster, node, "it has entries of term"); /* nothing was caught up with */
    remove_ballot(dir);
    cr_assert_eq(cluster_try_start(&cluster, node), BB_CORRUPT);
    cr_assert_not_null(strstr(cluster.ctx.error, "it has entries of term"), "%s",
                       cluster.ctx.error);
    cr_assert_eq(replog_ballots_read(&cluster.ctx, dir, &ballots), BB_NOT_FOUND);
    cluster_fini(&cluster);
}

/* It has promised nothing to anybody. */
Test(ballot, node_without_peers_takes_the_later_term, .timeout = 60)
{
    struct log_world world;
    struct metadata metadata;
    log_init(&world);
    cr_assert_eq(log_start(&world), BB_OK, "%s", world.ctx.error);
    log_propose(&world, 1, 64);
    log_run(&world, 1);
    log_stop(&world);
    int number = read_metadata(world.dir, &metadata);
    metadata.term ^= 4;
    write_metadata(world.dir, number, &metadata);
    for (int life = 0; life < 2; life++) {
        cr_assert_eq(log_start(&world), BB_OK, "%s", world.ctx.error);
        cr_assert_eq(world.applied_count, 1);
        cr_assert_geq(world.role.term, metadata.term);
        log_stop(&world);
    }
    log_fini(&world);
}
