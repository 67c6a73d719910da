#include <criterion/criterion.h>

#include "lanes.h"

#define MS UINT64_C(1000)

/* A range of one-letter keys: "af" is [a, f). */
static void reserve(struct sequencer_lanes *lanes, uint64_t session, uint64_t number,
                    const char *range, uint64_t now)
{
    uint8_t bytes[2] = { (uint8_t)range[0], (uint8_t)range[1] };
    Bb__Proto__Range message;
    Bb__Proto__Range *list[] = { &message };

    bb__proto__range__init(&message);
    message.low = (ProtobufCBinaryData){ 1, bytes };
    message.high = (ProtobufCBinaryData){ 1, bytes + 1 };
    sequencer_lanes_reserve(lanes, session, number, list, 1, now);
    sequencer_lanes_turn(lanes, now);
}

static bool is_held(const struct sequencer_lanes *lanes, uint64_t session, uint64_t number)
{
    const struct sequencer_reserve *found = sequencer_lanes_find(lanes, session, number);
    return found != NULL && found->is_held;
}

static bool blocks(const struct sequencer_lanes *lanes, uint64_t session, uint64_t number,
                   const char *key)
{
    return sequencer_lanes_block(lanes, session, number, bb_slice_str(key));
}

Test(lanes, reservations_that_meet_are_held_in_order_of_arrival)
{
    struct sequencer_lanes lanes;

    sequencer_lanes_init(&lanes);
    reserve(&lanes, 1, 1, "ac", 0);
    reserve(&lanes, 2, 1, "bd", 0);
    reserve(&lanes, 3, 1, "xz", 0);
    reserve(&lanes, 4, 1, "cd", 0);
    cr_assert(is_held(&lanes, 1, 1));
    cr_assert_not(is_held(&lanes, 2, 1), "it meets the first one");
    cr_assert(is_held(&lanes, 3, 1));
    cr_assert_not(is_held(&lanes, 4, 1), "no younger one overtakes one that it meets");
    cr_assert(sequencer_lanes_find(&lanes, 1, 1)->is_wanted);
    cr_assert_not(sequencer_lanes_find(&lanes, 3, 1)->is_wanted);
    uint64_t version = lanes.version;
    sequencer_lanes_end(&lanes, 1, 1);
    sequencer_lanes_turn(&lanes, 1);
    cr_assert(is_held(&lanes, 2, 1));
    cr_assert_not(is_held(&lanes, 4, 1));
    cr_assert_gt(lanes.version, version, "followers hear of it");
    sequencer_lanes_fini(&lanes);
}

Test(lanes, a_commit_waits_for_holds_that_are_older_than_its_own)
{
    struct sequencer_lanes lanes;

    sequencer_lanes_init(&lanes);
    cr_assert_not(blocks(&lanes, 9, 0, "b"));
    reserve(&lanes, 1, 1, "ac", 0);
    reserve(&lanes, 2, 7, "xz", 0);
    cr_assert(blocks(&lanes, 9, 0, "b"), "without a hold it is youngest");
    cr_assert_not(blocks(&lanes, 9, 0, "c"));
    cr_assert_not(blocks(&lanes, 1, 1, "b"), "its own");
    cr_assert_not(blocks(&lanes, 1, 1, "y"), "a younger one");
    cr_assert(blocks(&lanes, 2, 7, "b"), "an older one");
    cr_assert(blocks(&lanes, 1, 2, "b"), "the hold of another number is not its own");
    sequencer_lanes_fini(&lanes);
}

Test(lanes, a_hold_that_is_not_renewed_ends_and_costs_a_tenth_of_a_second)
{
    struct sequencer_lanes lanes;

    sequencer_lanes_init(&lanes);
    reserve(&lanes, 1, 1, "ac", 0);
    reserve(&lanes, 2, 1, "ac", 0);
    sequencer_lanes_keep(&lanes, 1, 1, 90 * MS);
    sequencer_lanes_keep(&lanes, 2, 1, 90 * MS);
    sequencer_lanes_turn(&lanes, 150 * MS);
    cr_assert(is_held(&lanes, 1, 1), "renewed");
    sequencer_lanes_turn(&lanes, 191 * MS);
    cr_assert_null(sequencer_lanes_find(&lanes, 1, 1));
    cr_assert(is_held(&lanes, 2, 1));
    sequencer_lanes_fini(&lanes);
}

Test(lanes, after_a_second_a_hold_goes_behind_those_that_wait)
{
    struct sequencer_lanes lanes;

    sequencer_lanes_init(&lanes);
    reserve(&lanes, 1, 1, "ac", 0);
    reserve(&lanes, 2, 1, "ac", 0);
    for (uint64_t now = 0; now <= 1000 * MS; now += 50 * MS) {
        sequencer_lanes_keep(&lanes, 1, 1, now);
        sequencer_lanes_keep(&lanes, 2, 1, now);
        sequencer_lanes_turn(&lanes, now);
        cr_assert_eq(is_held(&lanes, 1, 1), now < 1000 * MS);
    }
    cr_assert(is_held(&lanes, 2, 1));
    sequencer_lanes_end(&lanes, 2, 1);
    sequencer_lanes_turn(&lanes, 1001 * MS);
    cr_assert(is_held(&lanes, 1, 1), "its turn again");
    for (uint64_t now = 1001 * MS; now <= 5000 * MS; now += 50 * MS) {
        sequencer_lanes_keep(&lanes, 1, 1, now);
        sequencer_lanes_turn(&lanes, now);
        cr_assert(is_held(&lanes, 1, 1), "nobody else wants it");
    }
    sequencer_lanes_fini(&lanes);
}

Test(lanes, ranges_join_a_hold_and_a_hot_range_is_named_once)
{
    struct sequencer_lanes lanes;
    uint8_t bytes[2] = "ab";
    Bb__Proto__Range range;

    sequencer_lanes_init(&lanes);
    reserve(&lanes, 1, 1, "ac", 0);
    reserve(&lanes, 1, 1, "xz", 0);
    reserve(&lanes, 1, 1, "xz", 0);
    cr_assert_eq(sequencer_lanes_find(&lanes, 1, 1)->count, 2);
    cr_assert(blocks(&lanes, 2, 0, "y"));
    bb__proto__range__init(&range);
    range.low = (ProtobufCBinaryData){ 1, bytes };
    range.high = (ProtobufCBinaryData){ 1, bytes + 1 };
    sequencer_lanes_heat(&lanes, &range, 0);
    sequencer_lanes_heat(&lanes, &range, 100 * MS);
    cr_assert_eq(lanes.hot_number, 1);
    sequencer_lanes_heat(&lanes, &range, 500 * MS);
    cr_assert_eq(lanes.hot_number, 2);
    sequencer_lanes_fini(&lanes);
}

/*
 * Random lives: supervisors reserve, renew, end and die. No two that meet are held at once, unless
 * ranges joined later; whoever is alive and waits gets its turn in bounded time.
 */
Test(lanes, everybody_gets_a_turn_and_no_two_at_once, .timeout = 60)
{
    enum {
        SESSIONS = 6
    };
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct sequencer_lanes lanes;
        uint64_t random = seed;
        uint64_t number = 0;
        uint64_t own[SESSIONS] = { 0 };
        uint64_t since[SESSIONS] = { 0 };
        char ranges[SESSIONS][3];

        sequencer_lanes_init(&lanes);
        for (uint64_t now = 0; now < 60000 * MS; now += 10 * MS) {
            for (size_t i = 0; i < SESSIONS; i++) {
                random = random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
                uint32_t roll = (uint32_t)(random >> 33);
                const struct sequencer_reserve *found = sequencer_lanes_find(&lanes, i, own[i]);
                if (own[i] != 0 && roll % 100 == 0) {
                    own[i] = 0; /* its supervisor died */
                } else if (own[i] == 0) {
                    own[i] = ++number;
                    since[i] = now;
                    ranges[i][0] = (char)('a' + (int)(roll % 8));
                    ranges[i][1] = (char)(ranges[i][0] + 1 + (int)(roll / 8 % 3));
                    ranges[i][2] = '\0';
                    reserve(&lanes, i, own[i], ranges[i], now);
                } else if (found != NULL && found->is_held) {
                    since[i] = now;
                    if (roll % 10 == 1) {
                        sequencer_lanes_end(&lanes, i, own[i]);
                        own[i] = 0;
                    } else {
                        sequencer_lanes_keep(&lanes, i, own[i], now);
                    }
                } else {
                    cr_assert_not_null(found, "who renews is not forgotten");
                    sequencer_lanes_keep(&lanes, i, own[i], now);
                    cr_assert_lt(now - since[i], (SESSIONS + 1) * 1200 * MS, "seed %lu", seed);
                }
            }
            sequencer_lanes_turn(&lanes, now);
            for (size_t i = 0; i < SESSIONS; i++) {
                for (size_t k = 0; k < i; k++) {
                    bool both = is_held(&lanes, i, own[i]) && is_held(&lanes, k, own[k]);
                    cr_assert(!both || ranges[i][0] >= ranges[k][1] ||
                              ranges[k][0] >= ranges[i][1]);
                }
            }
        }
        sequencer_lanes_fini(&lanes);
    }
}
