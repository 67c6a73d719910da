/*
 * What the map takes of memory: the pages that this process has mapped. The kernel counts them as
 * memory of the process, although it may take each of them back; who bounds a process counts them
 * too. Letting go of them costs a fault each when they are read again, without the disk as long as
 * the kernel has them.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "kv.h"

enum {
    STATUS_BYTES = 4096,
    STEP_COUNT = 64, /* pieces of the file, of which one is let go at a time */
    STEP_BYTES_MIN = 1 << 20
};

/* The map begins where page 0 would be of a page whose number stands in its first bytes. */
void kv_map_find(struct bb_kv *kv, const void *inside, size_t page_bytes)
{
    uintptr_t page = (uintptr_t)inside & ~(uintptr_t)(page_bytes - 1);
    size_t number;
    memcpy(&number, (const uint8_t *)inside - ((uintptr_t)inside - page), sizeof(number));
    kv->map = page - number * page_bytes;
}

size_t bb_kv_resident(void)
{
    char text[STATUS_BYTES];
    int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
    ssize_t size = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
    if (fd >= 0) {
        (void)close(fd); /* it was only read */
    }
    if (size <= 0) {
        return 0;
    }
    text[size] = 0;
    const char *line = strstr(text, "\nRssFile:");
    return line == NULL ? 0 : (size_t)strtoull(line + strlen("\nRssFile:"), NULL, 10) << 10;
}

uint64_t bb_kv_waits(void)
{
    struct rusage usage;
    return getrusage(RUSAGE_THREAD, &usage) == 0 ? (uint64_t)usage.ru_majflt : 0;
}

/* Pages of the file that were ever used, so that the rest of the address space is left out. */
static size_t used_bytes(const struct bb_kv *kv)
{
    MDB_envinfo info;
    MDB_stat stat;
    bool is_known = mdb_env_info(kv->env, &info) == 0 && mdb_env_stat(kv->env, &stat) == 0;
    return is_known ? (info.me_last_pgno + 1) * stat.ms_psize : 0;
}

size_t bb_kv_trim(struct bb_kv *kv, size_t bytes_max)
{
    size_t resident = bb_kv_resident(), used = used_bytes(kv);
    size_t step = (used / STEP_COUNT + STEP_BYTES_MIN) & ~(size_t)(STEP_BYTES_MIN - 1);
    for (size_t i = 0; kv->map != 0 && i <= STEP_COUNT && resident > bytes_max; i++) {
        size_t at = kv->trim_at < used ? kv->trim_at : 0;
        size_t size = step < used - at ? step : used - at;
        /* The map is only read: what it shows stays in the file, and in the kernel's cache. */
        (void)madvise((void *)(kv->map + at), size, MADV_DONTNEED); // NOLINT: an address
        kv->trim_at = at + size;
        resident = bb_kv_resident();
    }
    return resident;
}
