/*
 * The storage nodes that are asked: those of the option, and those that have a vote since.
 */
#include "sequencer.h"

#include <string.h>

#define URL_MAX_BYTES 256

static int add(struct bb_ctx *ctx, struct sequencer *sequencer, const char *url)
{
    struct sequencer_voter *voter = &sequencer->voters[sequencer->voter_count];
    struct bb_peer_options options = { .url = url, .outstanding_max = 32 };

    voter->owner = sequencer;
    voter->index = sequencer->voter_count;
    int rc = bb_peer_open(ctx, sequencer->loop, &options, &voter->peer);
    if (rc == BB_OK)
        sequencer->voter_count++;
    return rc;
}

int sequencer_voters_open(struct bb_ctx *ctx, struct sequencer *sequencer, const char *urls)
{
    while (*urls != '\0') {
        char url[URL_MAX_BYTES];
        size_t size = strcspn(urls, ",");
        if (size >= sizeof url)
            return bb_fail(ctx, BB_BAD_REQUEST, "option storage: a url of %zu bytes", size);
        if (sequencer->voter_count == SEQUENCER_VOTER_MAX) {
            return bb_fail(ctx, BB_BAD_REQUEST, "option storage: more than %d urls",
                           SEQUENCER_VOTER_MAX);
        }
        memcpy(url, urls, size);
        url[size] = '\0';
        urls += size + (urls[size] == ',');
        if (size == 0)
            continue;
        int rc = add(ctx, sequencer, url);
        if (rc != BB_OK)
            return rc;
    }
    if (sequencer->voter_count == 0)
        return bb_fail(ctx, BB_BAD_REQUEST, "option storage: no url; see --help");
    return BB_OK;
}

/* A node is known by its number; one that has not answered yet by where it is. */
static bool is_asked(const struct sequencer *sequencer, const Bb__Proto__Voter *voter)
{
    for (size_t i = 0; i < sequencer->voter_count; i++) {
        const struct sequencer_voter *known = &sequencer->voters[i];
        if (known->node == voter->id || strcmp(bb_peer_url(known->peer), voter->url) == 0)
            return true;
    }
    return false;
}

void sequencer_voters_learn(struct sequencer *sequencer, Bb__Proto__Voter **voters, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (voters[i]->url[0] == '\0' || is_asked(sequencer, voters[i]) ||
            sequencer->voter_count == SEQUENCER_VOTER_MAX)
            continue;
        if (add(sequencer->ctx, sequencer, voters[i]->url) == BB_OK) {
            sequencer_lease_grow(&sequencer->lease);
            bb_info(sequencer->ctx, "sequencer.storage_found", "node=%" PRIu64 " url=%s",
                    voters[i]->id, voters[i]->url);
        }
    }
}

void sequencer_voters_learn_leader(struct sequencer *sequencer, Bb__Proto__Voter **voters,
                                   size_t count, uint64_t leader)
{
    for (size_t i = 0; leader != 0 && i < count; i++) {
        if (voters[i]->id == leader)
            sequencer_voters_learn(sequencer, &voters[i], 1);
    }
}
