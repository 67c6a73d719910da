#include <criterion/criterion.h>

#include "logs.h"

static void add(struct logs *logs, const char *path)
{
    Bb__Proto__CallLog entry;
    bb__proto__call_log__init(&entry);
    entry.path = (char *)(uintptr_t)path;
    worker_logs_add(logs, &entry);
}

Test(logs, a_cursor_gets_each_entry_once)
{
    struct logs *logs = worker_logs_new(4, 1000);
    struct bb_slice packed[8];
    uint64_t cursor = 0;
    add(logs, "a:a");
    add(logs, "b:b");
    cr_assert_eq(worker_logs_after(logs, &cursor, packed, 8), 2);
    cr_assert_eq(cursor, 2);
    cr_assert_eq(worker_logs_after(logs, &cursor, packed, 8), 0);
    add(logs, "c:c");
    cr_assert_eq(worker_logs_after(logs, &cursor, packed, 8), 1);
    cr_assert_eq(cursor, worker_logs_newest(logs));
    worker_logs_free(logs);
}

Test(logs, the_ring_forgets_by_count_and_by_bytes)
{
    struct logs *logs = worker_logs_new(4, 1000);
    struct bb_slice packed[8];
    for (int i = 0; i < 10; i++) {
        add(logs, "a:a");
    }
    uint64_t cursor = 0;
    cr_assert_eq(worker_logs_after(logs, &cursor, packed, 8), 4);
    cr_assert_eq(cursor, 10);
    worker_logs_free(logs);
    logs = worker_logs_new(4, 12);
    add(logs, "aaaa:aaa");
    add(logs, "bbbb:bbb");
    cursor = 0;
    cr_assert_eq(worker_logs_after(logs, &cursor, packed, 8), 1);
    cr_assert_eq(cursor, 2);
    worker_logs_free(logs);
}

Test(logs, a_cursor_of_an_earlier_life_starts_at_the_beginning)
{
    struct logs *logs = worker_logs_new(4, 1000);
    struct bb_slice packed[8];
    add(logs, "a:a");
    uint64_t cursor = 500;
    cr_assert_eq(worker_logs_after(logs, &cursor, packed, 8), 1);
    cr_assert_eq(cursor, 1);
    worker_logs_free(logs);
}
