#include "zygote.h"

#include <errno.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

#include "slot.h"
#include "slot/zygote_wire.h"

#define ZYGOTE_MAGIC     0x5a59474fu
#define START_MAX_US     30000000u /* from exec to its first word */
#define FORK_MAX_US      5000000u  /* from a request to its answer */
#define BACKOFF_FIRST_US 100000u
#define BACKOFF_MAX_US   10000000u
#define HEALTHY_US       1000000u /* one that lived this long is replaced at once */
/* So many in a row failed before they were ready: slots are started without for a while. */
#define FAILURES_MAX  2
#define STILLBORN_MAX 3 /* and so many slots, or zygotes that were asked for one */
#define REST_US       60000000u
/* Slots of one zygote have its addresses and its hash seed: what one of them finds out about those
 * shall not help for ever. */
#define FORKS_MAX  256
#define AGE_MAX_US (24ull * 3600 * 1000000)

/* Lives until libuv has let go of the handle. */
struct wire {
    uv_poll_t poll;
    int fd;
    struct zygote *zygote; /* NULL: closed */
};

enum zygote_state {
    ZYGOTE_OFF,
    ZYGOTE_STARTING,
    ZYGOTE_READY
};

struct zygote {
    uint32_t magic;
    struct worker *worker;
    enum zygote_state state;
    bool is_exec;    /* the option says that there is none */
    bool is_renewed; /* it is being ended so that another one comes */
    struct bb_child *child;
    struct wire *wire;
    uint64_t started_us, start_at_us, backoff_us;
    unsigned failures, forks, stillborn;
    uint64_t *asked_us; /* of each slot; 0: it asked for nothing */
    size_t asked_count;
};

/* ---- the socket ---- */

static void on_closed(uv_handle_t *handle)
{
    struct wire *wire = handle->data;
    (void)close(wire->fd);
    bb_free(wire);
}

static void close_wire(struct zygote *zygote)
{
    if (zygote->wire != NULL) {
        zygote->wire->zygote = NULL;
        uv_close((uv_handle_t *)&zygote->wire->poll, on_closed);
        zygote->wire = NULL;
    }
}

static void end(struct zygote *zygote)
{
    if (zygote->child != NULL) {
        bb_child_kill(zygote->child, SIGKILL);
    }
}

static void refuse(struct zygote *zygote, const char *what)
{
    bb_error(zygote->worker->ctx, "worker.zygote_protocol", "what=\"%s\"", what);
    end(zygote);
}

static void on_ready(struct zygote *zygote)
{
    uint64_t now = worker_now(zygote->worker);
    zygote->state = ZYGOTE_READY;
    zygote->failures = 0;
    bb_info(zygote->worker->ctx, "worker.zygote_ready", "pid=%" PRId64 " ms=%" PRIu64,
            bb_child_pid(zygote->child), (now - zygote->started_us) / 1000);
    worker_slots_watch(zygote->worker, now);
}

static void on_answer(struct zygote *zygote, struct zygote_answer answer)
{
    struct worker *worker = zygote->worker;
    if (answer.slot == ZYGOTE_IS_UP && zygote->state == ZYGOTE_STARTING) {
        on_ready(zygote);
        return;
    }
    if (answer.slot >= worker->slot_count || zygote->asked_us[answer.slot] == 0) {
        refuse(zygote, "an answer that nobody asked for");
        return;
    }
    zygote->asked_us[answer.slot] = 0;
    zygote->asked_count--;
    if (answer.pid > 0) {
        worker_slot_born(&worker->slots[answer.slot], answer.pid);
    } else {
        char text[128];
        bb_warn(worker->ctx, "worker.zygote_fork", "slot=%" PRIu32 " error=\"%s\"", answer.slot,
                bb_strerror(-answer.pid, text, sizeof(text)));
        worker_slot_unborn(&worker->slots[answer.slot], BACKOFF_FIRST_US);
        worker_zygote_judge(zygote, false);
    }
}

static void on_message(uv_poll_t *poll, int status, int events)
{
    struct wire *wire = poll->data;
    uint8_t bytes[ZYGOTE_ANSWER_BYTES + 1];
    (void)events;
    while (wire->zygote != NULL) {
        ssize_t n = recv(wire->fd, bytes, sizeof(bytes), MSG_DONTWAIT);
        if (n == ZYGOTE_ANSWER_BYTES) {
            on_answer(wire->zygote, zygote_get_answer(bytes));
            continue;
        }
        if (status < 0 || n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
            (void)uv_poll_stop(poll); /* the end of the process follows */
        } else if (n > 0) {
            refuse(wire->zygote, "an answer of another size");
        }
        return;
    }
}

static void open_wire(struct zygote *zygote, int fd)
{
    struct wire *wire = bb_alloc_zero(1, sizeof(*wire));
    *wire = (struct wire){ .fd = fd, .zygote = zygote };
    int rc = uv_poll_init(bb_loop_uv(zygote->worker->loop), &wire->poll, fd);
    bb_assert(rc == 0);
    wire->poll.data = wire;
    rc = uv_poll_start(&wire->poll, UV_READABLE, on_message);
    bb_assert(rc == 0);
    zygote->wire = wire;
}

/* ---- its process ---- */

/* What it was asked for and did not say that it did: if it did, that slot finds its socket closed
 * and ends. */
static void drop_asked(struct zygote *zygote)
{
    struct worker *worker = zygote->worker;
    for (size_t i = 0; i < worker->slot_count && zygote->asked_count > 0; i++) {
        if (zygote->asked_us[i] != 0) {
            zygote->asked_us[i] = 0;
            zygote->asked_count--;
            worker_slot_unborn(&worker->slots[i], 0);
        }
    }
}

static void rest(struct zygote *zygote, uint64_t now_us)
{
    zygote->failures = FAILURES_MAX;
    zygote->stillborn = 0;
    zygote->start_at_us = now_us + REST_US;
    bb_warn(zygote->worker->ctx, "worker.zygote_off",
            "hint=\"slots are started without one, which takes longer; the lines above may say "
            "why\"");
}

static void plan_next(struct zygote *zygote, bool was_ready, uint64_t now_us)
{
    uint64_t us = zygote->backoff_us == 0 ? BACKOFF_FIRST_US : zygote->backoff_us * 2;
    if (was_ready && now_us - zygote->started_us > HEALTHY_US) {
        us = 0;
    }
    zygote->backoff_us = us > BACKOFF_MAX_US ? BACKOFF_MAX_US : us;
    zygote->start_at_us = now_us + zygote->backoff_us;
    zygote->failures += !was_ready;
    if (zygote->failures >= FAILURES_MAX || zygote->stillborn >= STILLBORN_MAX) {
        rest(zygote, now_us);
    }
}

static void on_exit_of_child(void *arg, int exit_code, int signal)
{
    struct zygote *zygote = bb_cast(struct zygote, arg, ZYGOTE_MAGIC);
    struct worker *worker = zygote->worker;
    uint64_t now = worker_now(worker);
    bool was_ready = zygote->state == ZYGOTE_READY;
    if (zygote->wire != NULL) {
        on_message(&zygote->wire->poll, 0, 0); /* its last words */
    }
    if (!worker->is_stopping && !zygote->is_renewed) {
        bb_warn(worker->ctx, "worker.zygote_ended", "exit=%d signal=%d", exit_code, signal);
    }
    bb_child_free(zygote->child);
    zygote->child = NULL;
    zygote->state = ZYGOTE_OFF;
    close_wire(zygote);
    zygote->stillborn += zygote->asked_count > 0;
    if (worker->is_stopping) {
        drop_asked(zygote);
        return;
    }
    plan_next(zygote, was_ready, now);
    drop_asked(zygote);
    worker_slots_watch(worker, now); /* this one as well */
}

static int start(struct zygote *zygote, uint64_t now_us)
{
    struct worker *worker = zygote->worker;
    int ends[2];
    zygote->started_us = now_us;
    zygote->forks = 0;
    zygote->is_renewed = false;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) {
        char text[128];
        return bb_fail(worker->ctx, BB_IO, "socketpair: %s",
                       bb_strerror(errno, text, sizeof(text)));
    }
    struct bb_child_options options = { .argv = worker_sandbox_zygote_argv(worker->sandbox),
                                        .envp = worker_sandbox_envp(worker->sandbox),
                                        .inherit_fd = ends[1],
                                        .log_fd = STDERR_FILENO,
                                        .on_exit = on_exit_of_child,
                                        .arg = zygote };
    int rc = bb_child_start(worker->ctx, worker->loop, &options, &zygote->child);
    (void)close(ends[1]);
    if (rc != BB_OK) {
        (void)close(ends[0]);
        return rc;
    }
    worker_raise_oom_score(bb_child_pid(zygote->child)); /* its slots have it as well */
    open_wire(zygote, ends[0]);
    zygote->state = ZYGOTE_STARTING;
    return BB_OK;
}

static void try_start(struct zygote *zygote, uint64_t now_us)
{
    if (start(zygote, now_us) != BB_OK) {
        bb_error(zygote->worker->ctx, "worker.zygote_failed", "what=\"%s\"",
                 zygote->worker->ctx->error);
        plan_next(zygote, false, now_us);
    }
}

/* ---- what the supervisor sees ---- */

int worker_zygote_new(struct worker *worker, const char *mode, struct zygote **out)
{
    bool is_exec = strcmp(mode, "exec") == 0;
    if (!is_exec && strcmp(mode, "fork") != 0) {
        return bb_fail(worker->ctx, BB_BAD_REQUEST, "--slot-start is fork or exec, not \"%s\"",
                       mode);
    }
    struct zygote *zygote = bb_alloc_zero(1, sizeof(*zygote));
    *zygote = (struct zygote){ .magic = ZYGOTE_MAGIC,
                               .worker = worker,
                               .is_exec = is_exec,
                               .asked_us = bb_alloc_zero(worker->slot_count, sizeof(uint64_t)) };
    *out = zygote;
    worker_zygote_watch(zygote, worker_now(worker));
    return BB_OK;
}

void worker_zygote_free(struct zygote *zygote)
{
    if (zygote == NULL) {
        return;
    }
    if (zygote->child != NULL) {
        bb_child_kill(zygote->child, SIGKILL);
        bb_child_free(zygote->child);
    }
    close_wire(zygote);
    bb_free(zygote->asked_us);
    bb_free(zygote);
}

enum zygote_help worker_zygote_help(const struct zygote *zygote)
{
    if (zygote->is_exec || zygote->failures >= FAILURES_MAX) {
        return ZYGOTE_NEVER;
    }
    return zygote->state == ZYGOTE_READY && !zygote->is_renewed ? ZYGOTE_READY_TO_FORK
                                                                : ZYGOTE_SOON;
}

/* Of one message; `cgroup_fd` may be -1. */
static bool send_request(int fd, struct zygote_request request, int socket_fd, int cgroup_fd)
{
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(ZYGOTE_DESCRIPTORS_MAX * sizeof(int))];
    } control = { .bytes = { 0 } };
    const int fds[ZYGOTE_DESCRIPTORS_MAX] = { socket_fd, cgroup_fd };
    size_t size = (cgroup_fd < 0 ? 1 : 2) * sizeof(int);
    uint8_t bytes[ZYGOTE_REQUEST_BYTES];
    struct iovec data = { .iov_base = bytes, .iov_len = sizeof(bytes) };
    struct msghdr message = { .msg_iov = &data,
                              .msg_iovlen = 1,
                              .msg_control = control.bytes,
                              .msg_controllen = CMSG_SPACE(size) };
    zygote_put_request(bytes, request);
    control.header.cmsg_level = SOL_SOCKET;
    control.header.cmsg_type = SCM_RIGHTS;
    control.header.cmsg_len = CMSG_LEN(size);
    memcpy(CMSG_DATA(&control.header), fds, size);
    return sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)sizeof(bytes);
}

int worker_zygote_fork(struct zygote *zygote, const struct slot *slot, int fd)
{
    struct worker *worker = zygote->worker;
    bb_assert(zygote->state == ZYGOTE_READY && zygote->asked_us[slot->index] == 0);
    const struct zygote_request request = { .slot = (uint32_t)slot->index,
                                            .rights = worker_sandbox_rights(worker->sandbox) };
    int cgroup_fd = worker_cgroup_open(worker->cgroups, slot->index);
    bool is_sent = send_request(zygote->wire->fd, request, fd, cgroup_fd);
    int error = errno;
    if (cgroup_fd >= 0) {
        (void)close(cgroup_fd);
    }
    if (!is_sent) {
        char text[128];
        zygote->is_renewed = true;
        end(zygote);
        return bb_fail(worker->ctx, BB_IO, "request to the zygote: %s",
                       bb_strerror(error, text, sizeof(text)));
    }
    zygote->asked_us[slot->index] = worker_now(worker);
    zygote->asked_count++;
    zygote->forks++;
    bb_metric_add(worker->count.slot_forks, 1);
    return BB_OK;
}

void worker_zygote_judge(struct zygote *zygote, bool was_ready)
{
    zygote->stillborn = was_ready ? 0 : zygote->stillborn + 1;
    if (zygote->stillborn == STILLBORN_MAX) {
        end(zygote);
    }
}

static bool hangs(const struct zygote *zygote, uint64_t now_us)
{
    if (zygote->state == ZYGOTE_STARTING) {
        return now_us > zygote->started_us + START_MAX_US;
    }
    for (size_t i = 0; i < zygote->worker->slot_count && zygote->asked_count > 0; i++) {
        if (zygote->asked_us[i] != 0 && now_us > zygote->asked_us[i] + FORK_MAX_US) {
            return true;
        }
    }
    return false;
}

static bool is_old(const struct zygote *zygote, uint64_t now_us)
{
    return zygote->state == ZYGOTE_READY && zygote->asked_count == 0 &&
           (zygote->forks >= FORKS_MAX || now_us > zygote->started_us + AGE_MAX_US);
}

void worker_zygote_watch(struct zygote *zygote, uint64_t now_us)
{
    if (zygote->is_exec || zygote->worker->is_stopping) {
        return;
    }
    if (zygote->child == NULL) {
        if (now_us >= zygote->start_at_us) {
            try_start(zygote, now_us);
        }
    } else if (hangs(zygote, now_us)) {
        bb_warn(zygote->worker->ctx, "worker.zygote_hangs", "state=%s",
                zygote->state == ZYGOTE_READY ? "ready" : "starting");
        end(zygote);
    } else if (is_old(zygote, now_us)) {
        zygote->is_renewed = true;
        end(zygote);
    }
}

void worker_zygote_stop(struct zygote *zygote)
{
    end(zygote);
}

bool worker_zygote_is_gone(const struct zygote *zygote)
{
    return zygote->child == NULL;
}
