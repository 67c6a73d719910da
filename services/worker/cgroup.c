#include "cgroup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define PATH_SIZE   1024
#define TEXT_SIZE   4096
#define WORDS_MAX   48
#define SLOTS_MAX   320 /* with spares */
#define NAME_PREFIX "bitbend-slot-"

struct cgroups {
    char base[PATH_SIZE]; /* in which they are made; "": nowhere */
    char lacks[256];
    char procs[PATH_SIZE + 64];
    const char *argv[WORDS_MAX];
    int64_t pid;
    uint64_t bytes_max;
    uint64_t kills[SLOTS_MAX]; /* that were counted when the slot's process started */
};

/* Small files of the kernel; "" when it cannot be read. */
static void read_text(const char *path, char text[TEXT_SIZE])
{
    text[0] = '\0';
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return;
    }
    ssize_t size = read(fd, text, TEXT_SIZE - 1);
    text[size < 0 ? 0 : size] = '\0';
    (void)close(fd);
}

static bool write_text(const char *folder, const char *file, const char *text)
{
    char path[PATH_SIZE + 128];
    (void)snprintf(path, sizeof(path), "%s/%s", folder, file);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0) {
        return false;
    }
    bool is_written = write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    return close(fd) == 0 && is_written;
}

/* Is `word` one of the words of a file? */
static bool has_word(const char *folder, const char *file, const char *word)
{
    char path[PATH_SIZE + 128];
    char text[TEXT_SIZE];
    char *rest = NULL;
    (void)snprintf(path, sizeof(path), "%s/%s", folder, file);
    read_text(path, text);
    for (char *at = strtok_r(text, " \n", &rest); at != NULL; at = strtok_r(NULL, " \n", &rest)) {
        if (strcmp(at, word) == 0) {
            return true;
        }
    }
    return false;
}

static void folder_of(const struct cgroups *cgroups, size_t index, char path[PATH_SIZE + 64])
{
    (void)snprintf(path, PATH_SIZE + 64, "%s/" NAME_PREFIX "%" PRId64 "-%zu", cgroups->base,
                   cgroups->pid, index);
}

static bool make(const struct cgroups *cgroups, size_t index)
{
    char folder[PATH_SIZE + 64];
    char limit[32];
    folder_of(cgroups, index, folder);
    if (mkdir(folder, 0755) != 0 && errno != EEXIST) {
        return false;
    }
    (void)snprintf(limit, sizeof(limit), "%" PRIu64, cgroups->bytes_max);
    if (!write_text(folder, "memory.max", limit)) {
        return false;
    }
    (void)write_text(folder, "memory.swap.max", "0"); /* not there without swap accounting */
    return true;
}

/* Those of processes that died: they are empty, and others cannot be removed. */
static void remove_old(const char *base)
{
    DIR *folder = opendir(base);
    if (folder == NULL) {
        return;
    }
    for (struct dirent *entry = readdir(folder); entry != NULL; entry = readdir(folder)) {
        if (strncmp(entry->d_name, NAME_PREFIX, strlen(NAME_PREFIX)) == 0) {
            (void)unlinkat(dirfd(folder), entry->d_name, AT_REMOVEDIR);
        }
    }
    (void)closedir(folder);
}

/* May cgroups with a memory limit be made in `base`, which is shorter than PATH_SIZE? */
static bool works_in(struct cgroups *cgroups, const char *base)
{
    if (!has_word(base, "cgroup.controllers", "memory")) {
        return false;
    }
    if (!has_word(base, "cgroup.subtree_control", "memory")) {
        (void)write_text(base, "cgroup.subtree_control", "+memory");
        if (!has_word(base, "cgroup.subtree_control", "memory") &&
            !has_word(base, "cgroup.subtree_control", "+memory")) {
            return false;
        }
    }
    memcpy(cgroups->base, base, strlen(base) + 1);
    remove_old(base);
    if (make(cgroups, 0)) {
        return true;
    }
    cgroups->base[0] = '\0';
    return false;
}

/* This process's cgroup, "0::/path"; false: there is none of version 2. */
static bool own_path(const char *file, char path[PATH_SIZE])
{
    char text[TEXT_SIZE];
    char *rest = NULL;
    read_text(file, text);
    for (char *line = strtok_r(text, "\n", &rest); line != NULL;
         line = strtok_r(NULL, "\n", &rest)) {
        if (strncmp(line, "0::/", 4) == 0) {
            (void)snprintf(path, PATH_SIZE, "%s", line + 3);
            return true;
        }
    }
    return false;
}

/* Its own cgroup, or the one around it: a process that sits in a cgroup may not limit what is
 * beside it there, so services are put into a leaf of what is delegated to them. */
static void find_base(struct cgroups *cgroups, const struct cgroup_options *options)
{
    char path[PATH_SIZE];
    char base[2 * PATH_SIZE];
    (void)snprintf(base, sizeof(base), "%s/cgroup.controllers", options->mount);
    if (access(base, R_OK) != 0 || !own_path(options->self, path)) {
        (void)snprintf(cgroups->lacks, sizeof(cgroups->lacks), "there is no cgroup v2 at %s",
                       options->mount);
        return;
    }
    for (int up = 0; up < 2; up++) {
        int size = snprintf(base, sizeof(base), "%s%s", options->mount,
                            strcmp(path, "/") == 0 ? "" : path);
        if (size < PATH_SIZE && works_in(cgroups, base)) {
            return;
        }
        char *slash = strrchr(path, '/');
        if (slash == NULL || slash == path) {
            break;
        }
        *slash = '\0';
    }
    (void)snprintf(cgroups->lacks, sizeof(cgroups->lacks),
                   "the cgroup of this process is not delegated to it with the memory controller");
}

struct cgroups *worker_cgroups_new(const struct cgroup_options *options)
{
    struct cgroups *cgroups = bb_alloc_zero(1, sizeof(*cgroups));
    cgroups->pid = options->pid;
    cgroups->bytes_max = options->bytes_max;
    if (options->bytes_max == 0) {
        (void)snprintf(cgroups->lacks, sizeof(cgroups->lacks), "off");
    } else {
        find_base(cgroups, options);
    }
    return cgroups;
}

void worker_cgroups_free(struct cgroups *cgroups)
{
    if (cgroups == NULL) {
        return;
    }
    for (size_t i = 0; cgroups->base[0] != '\0' && i < SLOTS_MAX; i++) {
        char folder[PATH_SIZE + 64];
        folder_of(cgroups, i, folder);
        (void)rmdir(folder); /* most are not there */
    }
    bb_free(cgroups);
}

const char *worker_cgroups_holds(const struct cgroups *cgroups)
{
    return cgroups->base[0] == '\0' ? "" : "memory-cgroup";
}

const char *worker_cgroups_lacks(const struct cgroups *cgroups)
{
    return cgroups->lacks;
}

/* "oom_kill 3" in memory.events. */
static uint64_t kills_of(const struct cgroups *cgroups, size_t index)
{
    char path[PATH_SIZE + 128];
    char text[TEXT_SIZE];
    uint64_t kills = 0;
    folder_of(cgroups, index, path);
    (void)snprintf(path + strlen(path), 64, "/memory.events");
    read_text(path, text);
    const char *at = strstr(text, "oom_kill ");
    if (at != NULL) {
        (void)sscanf(at, "oom_kill %" SCNu64, &kills);
    }
    return kills;
}

/* Makes it for a new process, and leaves the path of its list of processes in `procs`. */
static bool renew(struct cgroups *cgroups, size_t index)
{
    if (cgroups->base[0] == '\0' || index >= SLOTS_MAX || !make(cgroups, index)) {
        return false;
    }
    cgroups->kills[index] = kills_of(cgroups, index);
    folder_of(cgroups, index, cgroups->procs);
    (void)snprintf(cgroups->procs + strlen(cgroups->procs), 32, "/cgroup.procs");
    return true;
}

int worker_cgroup_open(struct cgroups *cgroups, size_t index)
{
    return renew(cgroups, index) ? open(cgroups->procs, O_WRONLY | O_CLOEXEC) : -1;
}

const char *const *worker_cgroup_argv(struct cgroups *cgroups, size_t index,
                                      const char *const *argv)
{
    /* "0" is the process that writes: in before it is anything that could have children. */
    static const char script[] = "echo 0 > \"$0\"; exec \"$@\"";
    size_t count = 0;
    if (!renew(cgroups, index)) {
        return argv;
    }
    cgroups->argv[count++] = "/bin/sh";
    cgroups->argv[count++] = "-c";
    cgroups->argv[count++] = script;
    cgroups->argv[count++] = cgroups->procs;
    for (size_t i = 0; argv[i] != NULL; i++) {
        bb_assert(count + 1 < WORDS_MAX);
        cgroups->argv[count++] = argv[i];
    }
    cgroups->argv[count] = NULL;
    return cgroups->argv;
}

bool worker_cgroup_was_killed(const struct cgroups *cgroups, size_t index)
{
    return cgroups->base[0] != '\0' && index < SLOTS_MAX &&
           kills_of(cgroups, index) > cgroups->kills[index];
}
