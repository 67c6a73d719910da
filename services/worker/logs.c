#include "logs.h"

#include "bb/wire.h"

#define PULL_BYTES_MAX (1u << 20)

struct entry {
    struct bb_buf packed;
};
struct logs {
    struct entry *ring; /* entry n is at n % entries_max */
    size_t entries_max, bytes_max, bytes;
    uint64_t oldest, newest; /* empty when oldest > newest */
};

struct logs *worker_logs_new(size_t entries_max, size_t bytes_max)
{
    struct logs *logs = bb_alloc_zero(1, sizeof(*logs));
    logs->ring = bb_alloc_zero(entries_max, sizeof(struct entry));
    logs->entries_max = entries_max;
    logs->bytes_max = bytes_max;
    logs->oldest = 1;
    return logs;
}

static struct entry *entry_at(struct logs *logs, uint64_t number)
{
    return &logs->ring[number % logs->entries_max];
}

static void forget_oldest(struct logs *logs)
{
    struct entry *entry = entry_at(logs, logs->oldest++);
    logs->bytes -= entry->packed.size;
    bb_buf_fini(&entry->packed);
    bb_buf_init(&entry->packed);
}

void worker_logs_free(struct logs *logs)
{
    if (logs == NULL) {
        return;
    }
    while (logs->oldest <= logs->newest) {
        forget_oldest(logs);
    }
    bb_free(logs->ring);
    bb_free(logs);
}

void worker_logs_add(struct logs *logs, const Bb__Proto__CallLog *entry)
{
    if (logs->newest - logs->oldest + 1 == logs->entries_max) {
        forget_oldest(logs);
    }
    struct entry *to = entry_at(logs, ++logs->newest);
    bb_buf_init(&to->packed);
    bb_pack_append(&to->packed, &entry->base);
    logs->bytes += to->packed.size;
    while (logs->bytes > logs->bytes_max && logs->oldest < logs->newest) {
        forget_oldest(logs);
    }
}

uint64_t worker_logs_newest(const struct logs *logs)
{
    return logs->newest;
}

size_t worker_logs_after(struct logs *logs, uint64_t *cursor, struct bb_slice *packed,
                         size_t packed_max)
{
    /* A cursor of an earlier life of this worker is beyond ours: start at the beginning. */
    uint64_t next = *cursor > logs->newest ? logs->oldest : *cursor + 1;
    next = next < logs->oldest ? logs->oldest : next;
    size_t count = 0;
    size_t bytes = 0;
    for (; next <= logs->newest && count < packed_max && bytes < PULL_BYTES_MAX; next++) {
        packed[count] = bb_buf_slice(&entry_at(logs, next)->packed);
        bytes += packed[count++].size;
    }
    *cursor = next - 1;
    return count;
}
