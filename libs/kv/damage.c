/*
 * Damage that shows while LMDB reads its map: a page that is not there is a signal, one that is not
 * what it should be may be a broken assertion. Both become one sentence.
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "kv.h"

enum {
    TEXT_BYTES = 4500,
    LINE_BYTES = 4400
};

static void (*at_damage)(const char *what);

void kv_damage_asserted(MDB_env *env, const char *assertion)
{
    const char *dir = mdb_env_get_userctx(env);
    char text[TEXT_BYTES];

    (void)snprintf(text, sizeof(text), "data.mdb in %s is damaged: %s", dir, assertion);
    if (at_damage != NULL) {
        at_damage(text);
    }
}

/* The file and the place in it that are mapped at `address`. */
static bool find_place(const void *address, char *text)
{
    uint64_t start, end, offset, at = (uint64_t)(uintptr_t)address;
    char line[LINE_BYTES], path[LINE_BYTES];
    FILE *maps = fopen("/proc/self/maps", "re");
    bool is_found = false;

    while (maps != NULL && !is_found && fgets(line, sizeof(line), maps) != NULL) {
        is_found = sscanf(line, "%" SCNx64 "-%" SCNx64 " %*s %" SCNx64 " %*s %*s %4399[^\n]",
                          &start, &end, &offset, path) == 4 &&
                   at >= start && at < end;
    }
    if (maps != NULL) {
        (void)fclose(maps); /* it was only read */
    }
    if (is_found) {
        (void)snprintf(text, TEXT_BYTES,
                       "%s cannot be read at byte %" PRIu64 ": it was cut short, or its disk fails",
                       path, at - start + offset);
    }
    return is_found;
}

/*
 * The thread was in the middle of a look at memory and holds no lock of the library, so the calls
 * here may be made although a signal brought us.
 */
static void on_bus_error(int number, siginfo_t *info, void *context)
{
    char text[TEXT_BYTES];

    (void)context;
    if (find_place(info->si_addr, text)) {
        at_damage(text);
    }
    (void)signal(number, SIG_DFL); /* the same access again ends the process */
}

void bb_kv_at_damage(void (*end)(const char *what))
{
    struct sigaction action = { .sa_sigaction = on_bus_error, .sa_flags = SA_SIGINFO };

    at_damage = end;
    (void)sigemptyset(&action.sa_mask);
    (void)sigaction(SIGBUS, &action, NULL); /* cannot fail for a known signal */
}
