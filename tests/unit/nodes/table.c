/* Which storage nodes are asked: what lists of the members change, what stays, what is bounded. */
#include "table.h"

#include <criterion/criterion.h>

#include <stdio.h>

/* The initialisers that protoc-c makes for messages with texts cast const away. */
#pragma GCC diagnostic ignored "-Wcast-qual"

#define NOW 1000000u

static const char *const urls[] = { "tcp://none:1",  "tcp://one:1",  "tcp://two:1",
                                    "tcp://three:1", "tcp://four:1", "tcp://five:1" };

static void add(struct nodes_table *table, const char *url)
{
    struct bb_ctx ctx = { .status = BB_OK };
    size_t place;

    cr_assert_eq(nodes_table_add(&ctx, table, bb_slice_str(url), &place), BB_OK);
}

/* Nodes 1, 2 and 3 by the option, which answer. */
static void make(struct nodes_table *table)
{
    *table = (struct nodes_table){ .index = 0 };
    for (size_t i = 1; i <= 3; i++) {
        add(table, urls[i]);
        table->rows[i - 1].is_connected = true;
        table->rows[i - 1].id = i;
        table->rows[i - 1].is_idle = true;
    }
}

/* Node `id` at `place` has applied `index` and names the members `list`, ended by 0. */
static void hear(struct nodes_table *table, size_t place, uint64_t id, uint64_t index,
                 const uint64_t *list, uint64_t now_us)
{
    Bb__Proto__Voter rows[8], *pointers[8];
    size_t count = 0;

    for (; list[count] != 0; count++) {
        bb__proto__voter__init(&rows[count]);
        rows[count].id = list[count];
        rows[count].url = (char *)urls[list[count]];
        pointers[count] = &rows[count];
    }
    nodes_table_hear(
        table, place,
        &(struct nodes_said){ .id = id, .index = index, .voters = pointers, .voter_count = count },
        now_us);
}
#define HEAR(table, place, id, index, now, ...) \
    hear(table, place, id, index, (const uint64_t[]){ __VA_ARGS__, 0 }, now)

/* The urls of the rows in use, in their order; those that are no members in brackets. */
static const char *shown(const struct nodes_table *table)
{
    static char text[1024];
    size_t size = 0;

    text[0] = '\0';
    for (size_t i = 0; i < BB_NODES_MAX; i++) {
        if (table->rows[i].is_used)
            size += (size_t)snprintf(text + size, sizeof text - size,
                                     nodes_table_is_member(table, i) ? "%s " : "(%s) ",
                                     table->rows[i].url + strlen("tcp://"));
    }
    return text;
}

static void all_idle(struct nodes_table *table)
{
    for (size_t i = 0; i < BB_NODES_MAX; i++)
        table->rows[i].is_idle = table->rows[i].is_connected = table->rows[i].is_used;
}

Test(table, new_members_are_asked_and_removed_ones_go_after_a_while)
{
    struct nodes_table table;
    size_t place;

    make(&table);
    HEAR(&table, 2, 3, 10, NOW, 1, 2, 3, 4);
    cr_expect_str_eq(shown(&table), "one:1 two:1 three:1 four:1 ");
    HEAR(&table, 2, 3, 11, NOW, 3, 4, 5);
    cr_expect_str_eq(shown(&table), "(one:1) (two:1) three:1 four:1 five:1 ");
    all_idle(&table);
    table.rows[1].is_idle = false;
    cr_expect_not(nodes_table_drop(&table, NOW + NODES_KEEP_US - 1, &place));
    cr_expect(nodes_table_drop(&table, NOW + NODES_KEEP_US, &place));
    cr_expect_eq(place, 0);
    cr_expect_not(nodes_table_drop(&table, NOW + NODES_KEEP_US, &place),
                  "a request to the other one is under way");
    cr_expect_str_eq(shown(&table), "(two:1) three:1 four:1 five:1 ");
}

Test(table, one_that_is_named_again_stays)
{
    struct nodes_table table;
    size_t place;

    make(&table);
    HEAR(&table, 0, 1, 10, NOW, 1, 2);
    HEAR(&table, 0, 1, 11, NOW + 1, 1, 2, 3);
    cr_expect_not(nodes_table_drop(&table, NOW + 2 * NODES_KEEP_US, &place));
    cr_expect_str_eq(shown(&table), "one:1 two:1 three:1 ");
}

Test(table, a_node_that_was_removed_is_not_listened_to)
{
    struct nodes_table table;

    make(&table);
    HEAR(&table, 2, 3, 20, NOW, 3, 4, 5);
    HEAR(&table, 0, 1, 19, NOW, 1, 2, 3);
    cr_expect_str_eq(shown(&table), "(one:1) (two:1) three:1 four:1 five:1 ");
}

Test(table, who_hears_nothing_keeps_what_it_had)
{
    struct nodes_table table;
    size_t place;

    make(&table);
    nodes_table_hear(&table, 0, &(struct nodes_said){ .id = 1, .index = 9 }, NOW);
    cr_expect_not(nodes_table_drop(&table, NOW + 2 * NODES_KEEP_US, &place));
    cr_expect_str_eq(shown(&table), "one:1 two:1 three:1 ");
    /* A list of which nobody answers here takes nothing away. */
    HEAR(&table, 0, 1, 10, NOW, 4, 5);
    for (size_t i = 3; i < 5; i++)
        cr_expect_not(table.rows[i].is_connected);
    cr_expect_not(nodes_table_drop(&table, NOW + 2 * NODES_KEEP_US, &place));
}

Test(table, a_node_under_another_url_is_known_by_its_number)
{
    struct nodes_table table = { .index = 0 };

    add(&table, "tcp://alias:1");
    table.rows[0].is_connected = true;
    HEAR(&table, 0, 1, 10, NOW, 1, 2);
    cr_expect_str_eq(shown(&table), "alias:1 two:1 ");
    table.rows[0].is_connected = false; /* it may have moved away from there */
    table.rows[1].is_connected = true;
    HEAR(&table, 1, 2, 11, NOW, 1, 2);
    cr_expect_str_eq(shown(&table), "alias:1 two:1 one:1 ");
    table.rows[2].is_connected = true;
    HEAR(&table, 2, 1, 12, NOW, 1, 2);
    cr_expect_str_eq(shown(&table), "(alias:1) two:1 one:1 ");
}

Test(table, members_without_a_url_change_nothing)
{
    struct nodes_table table = { .index = 0 };
    Bb__Proto__Voter voter = BB__PROTO__VOTER__INIT, *list[1] = { &voter };

    add(&table, "tcp://alias:1");
    table.rows[0].is_connected = true;
    voter.id = 1;
    nodes_table_hear(&table, 0,
                     &(struct nodes_said){ .id = 1, .index = 5, .voters = list, .voter_count = 1 },
                     NOW);
    cr_expect_str_eq(shown(&table), "alias:1 ");
}

Test(table, places_are_bounded_and_a_stranger_makes_room)
{
    struct nodes_table table = { .index = 0 };
    struct bb_ctx ctx = { .status = BB_OK };
    char url[32];
    size_t place;

    add(&table, urls[1]);
    table.rows[0].is_connected = true;
    for (size_t i = 1; i < BB_NODES_MAX; i++) {
        (void)snprintf(url, sizeof url, "tcp://silent-%zu:1", i);
        add(&table, url);
        table.rows[i].is_idle = true;
    }
    cr_expect_eq(nodes_table_add(&ctx, &table, bb_slice_str(urls[2]), &place), BB_BAD_REQUEST);
    HEAR(&table, 0, 1, 10, NOW, 1, 2);
    cr_assert(nodes_table_drop(&table, NOW + NODES_KEEP_US, &place));
    cr_expect_eq(place, 1);
    HEAR(&table, 0, 1, 11, NOW, 1, 2);
    cr_expect_str_eq(table.rows[1].url, urls[2]);
}

Test(table, the_next_one_is_there_and_a_member_if_there_is_one)
{
    struct nodes_table table;

    make(&table);
    cr_expect_eq(nodes_table_next(&table, 0), 1);
    cr_expect_eq(nodes_table_next(&table, 2), 0);
    table.rows[1].is_connected = false;
    cr_expect_eq(nodes_table_next(&table, 0), 2);
    table.rows[2].since_us = NOW;
    cr_expect_eq(nodes_table_next(&table, 0), 2, "rather one that is there");
    table.rows[1].is_connected = true;
    cr_expect_eq(nodes_table_next(&table, 2), 0);
    cr_expect_eq(nodes_table_next(&table, 0), 1);
}
