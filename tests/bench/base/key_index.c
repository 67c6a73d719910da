/*
 * What an index of keys costs while it grows to so many things and shrinks again: the mean, and the
 * longest of all single operations, in the thread's CPU time.
 * bench_base_key_index THINGS
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "bb/key_index.h"

struct thing {
    uint8_t key[20];
};

struct timing {
    double sum, longest;
    size_t count, slow_count; /* slow: 1 ms */
};

static double cpu_us(void)
{
    struct timespec used;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
    return (double)used.tv_sec * 1e6 + (double)used.tv_nsec / 1e3;
}

static uint64_t mix(uint64_t x)
{
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

static struct bb_slice key_of(const void *thing)
{
    return bb_slice(((const struct thing *)thing)->key, sizeof(struct thing));
}

static void took(struct timing *timing, double start)
{
    double us = cpu_us() - start;
    timing->sum += us;
    timing->count++;
    timing->slow_count += us >= 1000;
    timing->longest = us > timing->longest ? us : timing->longest;
}

static void show(const char *what, const struct timing *timing)
{
    printf("%s: longest %.0f us, %zu of %zu over a millisecond\n", what, timing->longest,
           timing->slow_count, timing->count);
}

/* By chance, as keys of calls come. */
static void find_some(const struct bb_key_index *index, struct thing *things, uint64_t count)
{
    double start = cpu_us();
    uint64_t finds = 4000000;
    for (uint64_t i = 0; i < finds; i++) {
        struct thing *thing = &things[mix(i) % count];
        bb_assert(bb_key_index_find(index, key_of(thing)) == thing);
    }
    printf("find: %.3f us each\n", (cpu_us() - start) / (double)finds);
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: %s THINGS\n", argv[0]);
        return 2;
    }
    uint64_t count = strtoull(argv[1], NULL, 10);
    struct thing *things = bb_alloc_zero(count, sizeof(*things));
    struct timing adds = { 0 }, removes = { 0 };
    struct bb_key_index index;
    for (uint64_t i = 0; i < count; i++) {
        bb_put_be64(things[i].key + 4, mix(i + 1));
        bb_put_be64(things[i].key + 12, i);
    }
    bb_key_index_init(&index, key_of);
    for (uint64_t i = 0; i < count; i++) {
        double start = cpu_us();
        bb_key_index_add(&index, &things[i]);
        took(&adds, start);
    }
    show("add", &adds);
    find_some(&index, things, count);
    for (uint64_t i = 0; i < count; i++) {
        double start = cpu_us();
        bb_key_index_remove(&index, &things[i]);
        took(&removes, start);
    }
    show("remove", &removes);
    double start = cpu_us();
    for (uint64_t i = 0; i < count; i++)
        bb_key_index_add(&index, &things[i]);
    printf("add: %.3f us each\n", (cpu_us() - start) / (double)count);
    bb_key_index_fini(&index);
    bb_free(things);
    return 0;
}
