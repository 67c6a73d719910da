/*
 * Reading maps pages of the file into the process, one after the other until all of it is there.
 * Whoever reads or writes adds up what it may have mapped, an upper estimate; when that is a
 * sixteenth of the bound, it looks what is mapped, and lets go when it is too much. So the bound
 * holds however fast anybody reads, and nothing is looked at while nothing is read.
 */
#include <unistd.h>

#include "store.h"

enum {
    LOOKUP_BYTES = 64 << 10, /* the kernel maps 16 pages around the one that was read */
    DELIVERED_TIMES = 4,     /* pages are not full, and lie beside others' */
    DEFAULT_SHARE = 4,       /* of the machine's memory */
    LOOKS = 16,              /* until the bound is reached, at least */
    LEAVE_NUMERATOR = 3,     /* of the bound, when it is let go: */
    LEAVE_DENOMINATOR = 4
};

/* What is mapped is the kernel's cache, which has as much without us: a bound below what is read
 * again and again costs a fault for each read, and frees no memory. */
#define DEFAULT_MIN ((size_t)512 << 20)
#define LEAST       ((size_t)32 << 20)

size_t store_resident_max(size_t wanted)
{
    if (wanted > 0) {
        return wanted < LEAST ? LEAST : wanted;
    }
    long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);
    size_t quarter = pages > 0 && size > 0 ? (size_t)pages * (size_t)size / DEFAULT_SHARE : 0;
    return quarter > DEFAULT_MIN ? quarter : DEFAULT_MIN;
}

static void look(struct bb_store *store)
{
    size_t bound = store->options.resident_max;
    size_t resident = bb_kv_resident();
    if (resident > bound - bound / LOOKS) {
        struct store_base *base = store_base_use(store);
        resident = bb_kv_trim(base->kv, bound / LEAVE_DENOMINATOR * LEAVE_NUMERATOR);
        store_base_release(store, base);
        atomic_fetch_add_explicit(&store->resident.trims, 1, memory_order_relaxed);
    }
    atomic_store_explicit(&store->resident.bytes, resident, memory_order_relaxed);
}

uint64_t bb_store_resident(const struct bb_store *store)
{
    return atomic_load_explicit(&store->resident.bytes, memory_order_relaxed);
}

void store_touched_quickly(struct bb_store *store, size_t lookups, size_t bytes)
{
    size_t more = lookups * LOOKUP_BYTES + bytes * DELIVERED_TIMES;
    (void)atomic_fetch_add_explicit(&store->resident.touched, more, memory_order_relaxed);
}

bool bb_store_wants_look(const struct bb_store *store)
{
    size_t touched = atomic_load_explicit(&store->resident.touched, memory_order_relaxed);
    return touched >= store->options.resident_max / LOOKS;
}

void store_touched(struct bb_store *store, size_t lookups, size_t bytes)
{
    struct store_resident *of = &store->resident;
    store_touched_quickly(store, lookups, bytes);
    if (!bb_store_wants_look(store) || atomic_flag_test_and_set(&of->is_looking)) {
        return;
    }
    atomic_store_explicit(&of->touched, 0, memory_order_relaxed);
    look(store);
    atomic_flag_clear(&of->is_looking);
}
