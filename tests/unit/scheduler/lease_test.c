#include <criterion/criterion.h>

#include "lease.h"

#define LEASE_US 3000000u

/* The row that schedulers share. */
struct row {
    int holder;
    uint64_t beat;
};

static void ask(struct scheduler_lease *lease, struct row *row, int me, uint64_t now)
{
    bool has_seen;
    uint64_t seen;

    if (!scheduler_lease_ask(lease, now, &has_seen, &seen))
        return;
    if (row->holder == 0 || row->holder == me || (has_seen && seen == row->beat)) {
        row->holder = me;
        row->beat++;
    }
    scheduler_lease_answer(lease, now, row->holder == me, row->beat);
}

Test(lease, without_others_it_is_always_ours)
{
    struct scheduler_lease lease;

    scheduler_lease_init(&lease, 0);
    cr_assert(scheduler_lease_is_active(&lease, 0));
    cr_assert(scheduler_lease_is_active(&lease, UINT64_MAX / 2));
}

Test(lease, a_standby_takes_over_after_a_lease_without_a_beat)
{
    struct scheduler_lease first;
    struct scheduler_lease second;
    struct row row = { 0, 0 };
    uint64_t now = 1;

    scheduler_lease_init(&first, LEASE_US);
    scheduler_lease_init(&second, LEASE_US);
    ask(&first, &row, 1, now);
    ask(&second, &row, 2, now);
    cr_assert(scheduler_lease_is_active(&first, now));
    cr_assert_not(scheduler_lease_is_active(&second, now));
    /* The first one is dead from here on. */
    while (!scheduler_lease_is_active(&second, now)) {
        now += 100000;
        ask(&second, &row, 2, now);
        cr_assert_lt(now, 2 * LEASE_US);
    }
    cr_assert_not(scheduler_lease_is_active(&first, now));
}

Test(lease, one_that_cannot_renew_is_not_active_when_another_one_is)
{
    for (uint64_t step = 10000; step <= 700000; step += 34567) {
        struct scheduler_lease leases[2];
        struct row row = { 0, 0 };

        for (unsigned i = 0; i < 2; i++)
            scheduler_lease_init(&leases[i], LEASE_US);
        for (uint64_t now = 1; now < 60000000; now += step) {
            /* One of them is cut off for a while, in turn. */
            unsigned away = (unsigned)(now / 8000000) % 3;
            for (unsigned i = 0; i < 2; i++) {
                if (i != away)
                    ask(&leases[i], &row, (int)i + 1, now);
            }
            cr_assert_not(scheduler_lease_is_active(&leases[0], now) &&
                              scheduler_lease_is_active(&leases[1], now),
                          "both active at %" PRIu64, now);
        }
    }
}

Test(lease, a_request_that_failed_is_made_again)
{
    struct scheduler_lease lease;
    bool has_seen;
    uint64_t seen;

    scheduler_lease_init(&lease, LEASE_US);
    cr_assert(scheduler_lease_ask(&lease, 5, &has_seen, &seen));
    cr_assert_not(scheduler_lease_ask(&lease, 5, &has_seen, &seen));
    scheduler_lease_failed(&lease, 5);
    cr_assert_eq(scheduler_lease_ask(&lease, scheduler_lease_next_us(&lease, 5), &has_seen, &seen),
                 true);
}
