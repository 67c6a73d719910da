/* The cgroups of slots, in a folder that looks as the kernel's does; and in the kernel's, if we
 * may. */
#include <criterion/criterion.h>

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cgroup.h"

static char mount[64], self[128];

static void write_file(const char *folder, const char *name, const char *text)
{
    char path[512];
    (void)snprintf(path, sizeof(path), "%s%s/%s", mount, folder, name);
    FILE *file = fopen(path, "w");
    cr_assert_not_null(file);
    (void)fputs(text, file);
    (void)fclose(file);
}

static void read_file(const char *folder, const char *name, char text[256])
{
    char path[512];
    (void)snprintf(path, sizeof(path), "%s%s/%s", mount, folder, name);
    FILE *file = fopen(path, "r");
    text[0] = '\0';
    if (file != NULL) {
        size_t size = fread(text, 1, 255, file);
        text[size] = '\0';
        (void)fclose(file);
    }
}

static void make_folder(const char *folder)
{
    char path[512];
    (void)snprintf(path, sizeof(path), "%s%s", mount, folder);
    cr_assert_eq(mkdir(path, 0755), 0);
}

static void setup(void)
{
    (void)snprintf(mount, sizeof(mount), "/tmp/bb-cgroup-XXXXXX");
    cr_assert_not_null(mkdtemp(mount));
    (void)snprintf(self, sizeof(self), "%s/self", mount);
    write_file("", "cgroup.controllers", "cpu memory pids\n");
    make_folder("/service");
    make_folder("/service/main");
    write_file("", "self", "4:memory:/elsewhere\n0::/service/main\n");
}

static void teardown(void)
{
    char command[128];
    (void)snprintf(command, sizeof(command), "rm -rf %s", mount);
    cr_assert_eq(system(command), 0);
}

TestSuite(cgroup, .init = setup, .fini = teardown);

static struct cgroups *open_cgroups(void)
{
    return worker_cgroups_new(&(struct cgroup_options){
        .mount = mount, .self = self, .pid = 77, .bytes_max = 900 << 20 });
}

static const char *const plain[] = { "/bin/true", "word", NULL };

Test(cgroup, without_the_second_version_slots_run_as_they_are)
{
    write_file("", "self", "4:memory:/elsewhere\n");
    struct cgroups *cgroups = open_cgroups();
    cr_assert_str_empty(worker_cgroups_holds(cgroups));
    cr_assert_not_null(strstr(worker_cgroups_lacks(cgroups), "no cgroup v2"));
    cr_assert_eq(worker_cgroup_argv(cgroups, 0, plain), plain);
    cr_assert_not(worker_cgroup_was_killed(cgroups, 0));
    worker_cgroups_free(cgroups);
}

Test(cgroup, without_the_memory_controller_slots_run_as_they_are)
{
    write_file("/service/main", "cgroup.controllers", "cpu pids\n");
    write_file("/service", "cgroup.controllers", "cpu pids\n");
    struct cgroups *cgroups = open_cgroups();
    cr_assert_str_empty(worker_cgroups_holds(cgroups));
    cr_assert_not_null(strstr(worker_cgroups_lacks(cgroups), "not delegated"));
    cr_assert_eq(worker_cgroup_argv(cgroups, 0, plain), plain);
    worker_cgroups_free(cgroups);
}

Test(cgroup, a_slot_enters_its_own_with_its_limit_before_anything_else)
{
    char text[256];
    write_file("/service", "cgroup.controllers", "cpu memory\n");
    write_file("/service", "cgroup.subtree_control", "memory\n");
    make_folder("/service/bitbend-slot-5-0"); /* of a process that died */
    struct cgroups *cgroups = open_cgroups();
    cr_assert_str_eq(worker_cgroups_holds(cgroups), "memory-cgroup", "%s",
                     worker_cgroups_lacks(cgroups));
    const char *const *argv = worker_cgroup_argv(cgroups, 3, plain);
    cr_assert_str_eq(argv[0], "/bin/sh");
    cr_assert_not_null(strstr(argv[3], "/service/bitbend-slot-77-3/cgroup.procs"));
    cr_assert_str_eq(argv[4], "/bin/true");
    cr_assert_str_eq(argv[5], "word");
    cr_assert_null(argv[6]);
    read_file("/service/bitbend-slot-77-3", "memory.max", text);
    cr_assert_str_eq(text, "943718400");
    char old[128];
    (void)snprintf(old, sizeof(old), "%s/service/bitbend-slot-5-0", mount);
    cr_assert_neq(access(old, F_OK), 0, "what a dead process left is gone");
    /* The command line is one that works. */
    pid_t pid = fork();
    if (pid == 0) {
        union {
            const char *const *in;
            char *const *out;
        } words = { .in = argv };
        (void)execv(argv[0], words.out);
        _exit(99);
    }
    int status = -1;
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    read_file("/service/bitbend-slot-77-3", "cgroup.procs", text);
    cr_assert_str_eq(text, "0\n");
    worker_cgroups_free(cgroups);
}

Test(cgroup, a_kill_by_the_kernel_is_told_from_others)
{
    write_file("/service", "cgroup.controllers", "memory\n");
    write_file("/service", "cgroup.subtree_control", "memory\n");
    struct cgroups *cgroups = open_cgroups();
    (void)worker_cgroup_argv(cgroups, 0, plain);
    cr_assert_not(worker_cgroup_was_killed(cgroups, 0));
    write_file("/service/bitbend-slot-77-0", "memory.events", "low 0\noom 1\noom_kill 1\n");
    cr_assert(worker_cgroup_was_killed(cgroups, 0));
    (void)worker_cgroup_argv(cgroups, 0, plain);
    cr_assert_not(worker_cgroup_was_killed(cgroups, 0), "that was the process before");
    worker_cgroups_free(cgroups);
}

Test(cgroup, the_kernel_ends_a_process_that_takes_more)
{
    struct cgroups *cgroups =
        worker_cgroups_new(&(struct cgroup_options){ .mount = "/sys/fs/cgroup",
                                                     .self = "/proc/self/cgroup",
                                                     .pid = getpid(),
                                                     .bytes_max = 32 << 20 });
    if (worker_cgroups_holds(cgroups)[0] == '\0') {
        char why[300];
        (void)snprintf(why, sizeof(why), "%s", worker_cgroups_lacks(cgroups));
        worker_cgroups_free(cgroups);
        teardown(); /* a test that is skipped ends here */
        cr_skip_test("%s", why);
    }
    static const char *const greedy[] = { "/bin/sh", "-c", "head -c 256M /dev/zero | tail", NULL };
    const char *const *argv = worker_cgroup_argv(cgroups, 0, greedy);
    pid_t pid = fork();
    if (pid == 0) {
        union {
            const char *const *in;
            char *const *out;
        } words = { .in = argv };
        (void)execv(argv[0], words.out);
        _exit(99);
    }
    int status = -1;
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_assert(worker_cgroup_was_killed(cgroups, 0));
    worker_cgroups_free(cgroups);
}
