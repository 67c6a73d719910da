#include "rlimits.h"

#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

enum {
    DESCRIPTORS = 64,
    /* Array buffers, four WebAssembly memories, compiled code, results under way. */
    BESIDE_HEAP = 512 << 20
};

/* What the process has mapped for data and stacks so far; 0: not known. */
static size_t data_bytes(void)
{
    unsigned long long pages = 0;
    FILE *file = fopen("/proc/self/statm", "re");

    if (file == NULL)
        return 0;
    int found = fscanf(file, "%*u %*u %*u %*u %*u %llu", &pages);
    (void)fclose(file);
    return found == 1 ? (size_t)pages * (size_t)sysconf(_SC_PAGESIZE) : 0;
}

static void set(__rlimit_resource_t resource, rlim_t limit)
{
    const struct rlimit both = { .rlim_cur = limit, .rlim_max = limit };

    /* A limit that is lower already stays. */
    (void)setrlimit(resource, &both);
}

void slot_rlimits_set(size_t heap_bytes)
{
    size_t data = data_bytes();

    set(RLIMIT_CORE, 0);
    set(RLIMIT_NOFILE, DESCRIPTORS);
    if (data > 0)
        set(RLIMIT_DATA, data + 2 * heap_bytes + BESIDE_HEAP);
}
