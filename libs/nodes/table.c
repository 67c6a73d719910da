#include "table.h"

#include <stdio.h>
#include <string.h>

int nodes_table_add(struct bb_ctx *ctx, struct nodes_table *table, struct bb_slice url,
                    size_t *place)
{
    for (*place = 0; *place < BB_NODES_MAX && table->rows[*place].is_used; ++*place)
        continue;
    if (*place == BB_NODES_MAX || url.size >= NODES_URL_MAX) {
        return bb_fail(ctx, BB_BAD_REQUEST,
                       "option storage: at most %u urls of at most %u characters", BB_NODES_MAX,
                       NODES_URL_MAX - 1);
    }
    struct nodes_row *row = &table->rows[*place];

    *row = (struct nodes_row){ .is_used = true };
    (void)snprintf(row->url, sizeof row->url, "%.*s", BB_SLICE_ARG(url)); /* it fits */
    return BB_OK;
}

/* ---- who is who ---- */

static bool is_named_by_url(const struct nodes_row *row, const struct nodes_said *said)
{
    for (size_t i = 0; i < said->voter_count; i++) {
        if (strcmp(row->url, said->voters[i]->url) == 0)
            return true;
    }
    return false;
}

static bool is_named_by_id(const struct nodes_row *row, const struct nodes_said *said)
{
    for (size_t i = 0; row->id != 0 && i < said->voter_count; i++) {
        if (row->id == said->voters[i]->id)
            return true;
    }
    return false;
}

/* The same node answers in another row. */
static bool is_elsewhere(const struct nodes_table *table, const struct nodes_row *row)
{
    for (size_t i = 0; row->id != 0 && i < BB_NODES_MAX; i++) {
        const struct nodes_row *other = &table->rows[i];
        if (other != row && other->is_used && other->is_connected && other->id == row->id)
            return true;
    }
    return false;
}

static bool is_asked(const struct nodes_table *table, const Bb__Proto__Voter *voter)
{
    for (size_t i = 0; i < BB_NODES_MAX; i++) {
        const struct nodes_row *row = &table->rows[i];
        if (row->is_used &&
            (strcmp(row->url, voter->url) == 0 || (row->id == voter->id && row->is_connected)))
            return true;
    }
    return false;
}

/* ---- the list ---- */

/* All places are taken: one that nobody needs goes next, and the member comes with a later list. */
static void make_room(struct nodes_table *table, const struct nodes_said *said)
{
    for (size_t i = 0; i < BB_NODES_MAX; i++) {
        struct nodes_row *row = &table->rows[i];
        bool is_stranger = row->id == 0 && !row->is_connected && !is_named_by_url(row, said);
        if (row->is_idle && (row->since_us != 0 || is_stranger)) {
            row->since_us = 1;
            return;
        }
    }
}

static void learn(struct nodes_table *table, const Bb__Proto__Voter *voter,
                  const struct nodes_said *said)
{
    struct bb_ctx ctx = { .status = BB_OK };
    size_t place;

    if (voter->url[0] == '\0' || strlen(voter->url) >= NODES_URL_MAX || is_asked(table, voter))
        return;
    if (nodes_table_add(&ctx, table, bb_slice_str(voter->url), &place) == BB_OK) {
        table->rows[place].id = voter->id;
    } else {
        make_room(table, said);
    }
}

/* One that never answered, under a url that nobody names, may be a member all the same. */
static bool is_wanted(const struct nodes_table *table, const struct nodes_row *row,
                      const struct nodes_said *said)
{
    bool is_named = is_named_by_url(row, said) || is_named_by_id(row, said);

    if (!is_named)
        return row->id == 0;
    return row->is_connected || !is_elsewhere(table, row);
}

void nodes_table_hear(struct nodes_table *table, size_t place, const struct nodes_said *said,
                      uint64_t now_us)
{
    bb_assert(place < BB_NODES_MAX && table->rows[place].is_used);
    if (said->id != 0)
        table->rows[place].id = said->id;
    if (said->voter_count == 0 || said->index < table->index)
        return;
    table->index = said->index;
    for (size_t i = 0; i < BB_NODES_MAX; i++) {
        struct nodes_row *row = &table->rows[i];
        if (is_wanted(table, row, said)) {
            row->since_us = 0;
        } else if (row->since_us == 0) {
            row->since_us = now_us;
        }
    }
    for (size_t i = 0; i < said->voter_count; i++)
        learn(table, said->voters[i], said);
}

bool nodes_table_is_member(const struct nodes_table *table, size_t place)
{
    return table->rows[place].is_used && table->rows[place].since_us == 0;
}

/* A list whose nodes cannot be reached from here does not take away those that can. */
static bool is_served(const struct nodes_table *table)
{
    for (size_t i = 0; i < BB_NODES_MAX; i++) {
        if (nodes_table_is_member(table, i) && table->rows[i].is_connected)
            return true;
    }
    return false;
}

bool nodes_table_drop(struct nodes_table *table, uint64_t now_us, size_t *place)
{
    for (*place = 0; is_served(table) && *place < BB_NODES_MAX; ++*place) {
        struct nodes_row *row = &table->rows[*place];
        if (!row->is_used || row->since_us == 0 || !row->is_idle ||
            now_us < row->since_us + NODES_KEEP_US)
            continue;
        *row = (struct nodes_row){ .is_used = false };
        return true;
    }
    return false;
}

/* ---- choosing ---- */

/* How much one is preferred. */
static unsigned rank(const struct nodes_table *table, size_t place)
{
    const struct nodes_row *row = &table->rows[place];

    return !row->is_used ? 0
                         : 1 + 2 * (unsigned)row->is_connected +
                               (unsigned)nodes_table_is_member(table, place);
}

size_t nodes_table_next(const struct nodes_table *table, size_t place)
{
    size_t best = place;
    unsigned best_rank = 0;

    for (size_t i = 1; i < BB_NODES_MAX; i++) {
        size_t next = (place + i) % BB_NODES_MAX;
        if (rank(table, next) > best_rank) {
            best = next;
            best_rank = rank(table, next);
        }
    }
    return best;
}
