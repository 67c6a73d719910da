/*
 * The storage nodes that are asked: those of the option, and those that have a vote since.
 */
#include "sequencer.h"

#include <string.h>

#define URL_MAX_BYTES 256

static int open_peer(struct bb_ctx *ctx, struct sequencer *sequencer, const char *url,
                     struct bb_peer **peer)
{
    struct bb_peer_options options = { .url = url, .outstanding_max = 32 };

    return bb_peer_open(ctx, sequencer->loop, &options, peer);
}

/* In a place that is behind the others or was left. */
static struct sequencer_voter *put(struct sequencer *sequencer, size_t index, struct bb_peer *peer)
{
    struct sequencer_voter *voter = &sequencer->voters[index];

    *voter = (struct sequencer_voter){ .owner = sequencer, .index = index, .peer = peer };
    if (index == sequencer->voter_count)
        sequencer->voter_count++;
    return voter;
}

int sequencer_voters_open(struct bb_ctx *ctx, struct sequencer *sequencer, const char *urls)
{
    struct bb_slice rest = bb_slice_str(urls), item;

    while (bb_slice_next_item(&rest, &item)) {
        char url[URL_MAX_BYTES];
        struct bb_peer *peer;
        if (item.size >= sizeof url)
            return bb_fail(ctx, BB_BAD_REQUEST, "option storage: a url of %zu bytes", item.size);
        if (sequencer->voter_count == SEQUENCER_VOTER_MAX) {
            return bb_fail(ctx, BB_BAD_REQUEST, "option storage: more than %d urls",
                           SEQUENCER_VOTER_MAX);
        }
        memcpy(url, item.data, item.size);
        url[item.size] = '\0';
        int rc = open_peer(ctx, sequencer, url, &peer);
        if (rc != BB_OK)
            return rc;
        put(sequencer, sequencer->voter_count, peer)->is_option = true;
    }
    if (sequencer->voter_count == 0)
        return bb_fail(ctx, BB_BAD_REQUEST, "option storage: no url; see --help");
    return BB_OK;
}

/* Under that url, or under another one where it answers: it may have been moved away from there. */
static bool is_asked(struct sequencer *sequencer, const Bb__Proto__Voter *voter)
{
    for (size_t i = 0; i < sequencer->voter_count; i++) {
        struct sequencer_voter *known = &sequencer->voters[i];
        if (strcmp(bb_peer_url(known->peer), voter->url) == 0) {
            known->named = voter->id;
            return true;
        }
        if (known->node == voter->id && bb_peer_is_connected(known->peer))
            return true;
    }
    return false;
}

static bool is_named(const char *url, Bb__Proto__Voter **voters, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(voters[i]->url, url) == 0)
            return true;
    }
    return false;
}

/* Room for one more: behind the others, or in the place of one that was learned and that nobody
 * names any more. Its requests end here; none of them is a batch whose answer counts: that one is
 * with the leader. */
static bool make_room(struct sequencer *sequencer, const struct sequencer_voter *from,
                      Bb__Proto__Voter **voters, size_t count, size_t *index)
{
    for (*index = 0; *index < sequencer->voter_count; ++*index) {
        struct sequencer_voter *old = &sequencer->voters[*index];
        if (sequencer->voter_count < SEQUENCER_VOTER_MAX || old->is_option || old == from ||
            *index == sequencer->leader || *index == sequencer->via ||
            is_named(bb_peer_url(old->peer), voters, count))
            continue;
        bb_peer_close(old->peer);
        old->peer = NULL;
        sequencer_lease_forget(&sequencer->lease, *index);
        return true;
    }
    return *index < SEQUENCER_VOTER_MAX;
}

static void learn(const struct sequencer_voter *from, const Bb__Proto__Voter *voter,
                  Bb__Proto__Voter **voters, size_t count)
{
    struct sequencer *sequencer = from->owner;
    struct bb_peer *peer;
    size_t index;

    if (voter->url[0] == '\0' || is_asked(sequencer, voter) ||
        open_peer(sequencer->ctx, sequencer, voter->url, &peer) != BB_OK)
        return;
    if (!make_room(sequencer, from, voters, count, &index)) {
        bb_peer_close(peer);
        return;
    }
    if (index == sequencer->voter_count)
        sequencer_lease_grow(&sequencer->lease);
    put(sequencer, index, peer)->named = voter->id;
    bb_info(sequencer->ctx, "sequencer.storage_found", "node=%" PRIu64 " url=%s", voter->id,
            voter->url);
}

void sequencer_voters_learn(struct sequencer_voter *from, Bb__Proto__Voter **voters, size_t count)
{
    for (size_t i = 0; i < count; i++)
        learn(from, voters[i], voters, count);
}

void sequencer_voters_learn_leader(struct sequencer_voter *from, Bb__Proto__Voter **voters,
                                   size_t count, uint64_t leader)
{
    for (size_t i = 0; leader != 0 && i < count; i++) {
        if (voters[i]->id == leader)
            learn(from, voters[i], voters, count);
    }
}

uint64_t sequencer_voters_number(const struct sequencer_voter *voter)
{
    return voter->node != 0 ? voter->node : voter->named;
}

bool sequencer_voters_find(const struct sequencer *sequencer, uint64_t node, size_t *index)
{
    bool is_found = false;

    for (size_t i = 0; node != 0 && i < sequencer->voter_count; i++) {
        if (sequencer_voters_number(&sequencer->voters[i]) != node)
            continue;
        *index = i;
        is_found = true;
        if (bb_peer_is_connected(sequencer->voters[i].peer))
            break; /* not where it was before it was moved */
    }
    return is_found;
}

size_t sequencer_voters_index(const struct sequencer *sequencer, uint64_t node)
{
    size_t index;

    return sequencer_voters_find(sequencer, node, &index) ? index : sequencer->leader;
}
