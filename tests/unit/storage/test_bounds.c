/*
 * Memory and restart time are bounded by configuration, not by how much was ever written. The node
 * and its client are processes of their own; this one never touches the network, so it may fork.
 */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bb/storage_service.h"
#include "client.h"

#define ROLE "BB_TEST_BOUNDS_ROLE"
enum {
    MB = 1 << 20,
    MEMTABLE_MB = 8,
    DOCUMENT = 50000,
    PER_BATCH = 20, /* about 1 MB */
    BATCHES = 80,
    KEYS = BATCHES * PER_BATCH
};

static void path_of(const char *dir, const char *name, char *path, size_t size)
{
    snprintf(path, size, "%s/%s", dir, name);
}

static int run_node(const char *dir)
{
    char name[] = "bb-storage", listen[160], data[160], log[160], admin[] = "--admin-listen=off";
    char days[] = "--retention-days=0", memtable[] = "--memtable-bytes=8M";
    snprintf(listen, sizeof listen, "--listen=ipc://%s/socket", dir);
    snprintf(data, sizeof data, "--data=%s/data", dir);
    path_of(dir, "log", log, sizeof log);
    int fd = open(log, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    dup2(fd, 2);
    char *argv[] = { name, listen, data, admin, days, memtable, NULL };
    return bb_service_main(&bb_storage_service, 6, argv);
}

/* Appends until it is taken: a node whose data does not keep up refuses. */
static size_t append(struct client *client, uint64_t first)
{
    size_t refused = 0;
    int rc;
    while ((rc = client_append(client, first, PER_BATCH, DOCUMENT)) == BB_OVERLOADED) {
        refused++;
        usleep(5000);
    }
    check(rc == BB_OK);
    return refused;
}

static void run_writer(const char *dir)
{
    char url[128];
    struct client client;
    size_t refused = 0;
    snprintf(url, sizeof url, "ipc://%s/socket", dir);
    client_open(&client, url);
    client_claim_next(&client);
    for (uint64_t i = 0; i < BATCHES; i++)
        refused += append(&client, i * PER_BATCH);
    fprintf(stderr, "refused %d times\n", (int)refused);
    _exit(0);
}

static void run_reader(const char *dir)
{
    char url[128];
    struct client client;
    uint64_t tx;
    snprintf(url, sizeof url, "ipc://%s/socket", dir);
    client_open(&client, url);
    client_claim_next(&client);
    for (uint64_t key = 0; key < KEYS; key++) {
        check(client_get(&client, 0, key, &tx) == BB_OK);
        check(tx == (key + 1) * 10);
    }
    _exit(0);
}

__attribute__((constructor)) static void take_role(int argc, char **argv)
{
    const char *role = getenv(ROLE);
    if (role == NULL || argc != 2)
        return;
    if (strcmp(role, "node") == 0)
        _exit(run_node(argv[1]));
    if (strcmp(role, "writer") == 0)
        run_writer(argv[1]);
    run_reader(argv[1]);
}

static pid_t start_role(const char *dir, const char *role)
{
    pid_t pid = fork();
    if (pid != 0)
        return pid;
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* no node outlives a test that failed */
    setenv(ROLE, role, 1);
    execl("/proc/self/exe", role, dir, (char *)NULL);
    _exit(9);
}

static void wait_for(pid_t pid)
{
    int status;
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "it ended with %x", status);
}

/* Most memory of its own that a process ever had (its stack and heap, not the mapped file). */
static size_t anonymous_mb(pid_t pid)
{
    char path[64], line[256];
    size_t kb = 0;
    snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    FILE *file = fopen(path, "r");
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        if (strncmp(line, "RssAnon:", 8) == 0)
            kb = strtoul(line + 8, NULL, 10);
    }
    if (file != NULL)
        fclose(file);
    return kb >> 10;
}

/* What the node's log says it replayed. */
static size_t replayed_mb(const char *dir)
{
    char path[128], line[1024];
    size_t bytes = SIZE_MAX;
    path_of(dir, "log", path, sizeof path);
    FILE *file = fopen(path, "r");
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        const char *at = strstr(line, "storage.replayed");
        if (at != NULL && (at = strstr(at, "bytes=")) != NULL)
            bytes = strtoul(at + 6, NULL, 10);
    }
    if (file != NULL)
        fclose(file);
    cr_assert_neq(bytes, SIZE_MAX);
    return bytes >> 20;
}

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *where)
{
    (void)info, (void)kind, (void)where;
    return remove(path);
}

/* Processes that write for seconds: once is enough. */
#ifdef __SANITIZE_ADDRESS__
#define IS_SLOW true
#else
#define IS_SLOW false
#endif

Test(storage_bounds, b24_memory_and_replay_are_bounded_and_all_is_read_back, .timeout = 240,
     .disabled = IS_SLOW)
{
    char dir[] = "/tmp/bb-bounds-XXXXXX";
    size_t largest_mb = 0;
    int status = 0;
    cr_assert_not_null(mkdtemp(dir));
    pid_t node = start_role(dir, "node"), writer = start_role(dir, "writer");
    while (waitpid(writer, &status, WNOHANG) == 0) {
        size_t mb = anonymous_mb(node);
        largest_mb = mb > largest_mb ? mb : largest_mb;
        usleep(20000);
    }
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the writer ended with %x", status);
    kill(node, SIGKILL);
    waitpid(node, &status, 0);

    node = start_role(dir, "node");
    wait_for(start_role(dir, "reader"));
    size_t replayed = replayed_mb(dir);
    kill(node, SIGTERM);
    wait_for(node);
    cr_log_info("%d MB written, at most %d MB of memory, %d MB replayed",
                BATCHES * PER_BATCH * DOCUMENT / MB, (int)largest_mb, (int)replayed);
    /* The log is cut each 16 MB, behind what is flushed (memory, twice) and in the feed (8 MB). */
    cr_assert_leq(replayed, 16 + 2 * MEMTABLE_MB + 8 + 8);
    nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}
