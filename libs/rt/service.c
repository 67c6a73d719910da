#include "bb/rt.h"

#include <malloc.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>
#include <uv.h>

#include "bb/env.h"
#include "bb/failpoint.h"
#include "bb/obs.h"
#include "rt.h"

#define DRAIN_MS       10000
#define TRIM_MS        10000
#define CLOSE_SECONDS  5
#define NOT_READY_SIZE 256

const struct bb_option bb_service_options[] = {
    { "log-level", BB_OPTION_TEXT, "info", 0, 0, "LEVEL",
      "The least important lines that are logged: debug, info, warn or error." },
    { "log-json", BB_OPTION_BOOL, "false", 0, 0, NULL, "Log one JSON object a line." },
    { "admin-listen", BB_OPTION_TEXT, NULL, 0, 0, "HOST:PORT",
      "Where /healthz, /readyz and /metrics are served; off: nowhere." },
    { "config", BB_OPTION_TEXT, NULL, 0, 0, "FILE", "A file with lines name = value." },
    { "failpoint", BB_OPTION_TEXT, NULL, 0, 0, "NAME[:N]",
      "For tests: end as by kill -9 when this point is reached (for the N-th time)." },
    { NULL, BB_OPTION_TEXT, NULL, 0, 0, NULL, NULL },
};

/*
 * A thread and the services that live in it, each with a loop of its own. Services that ask each
 * other all the time need no wake-up when they share one.
 */
struct crew {
    struct bb_thread *thread;
    struct bb_loop *loop;   /* of no service: stopped when one wants to join */
    struct bb_list members; /* those that started; the thread's */
    struct bb_mutex *mutex; /* the fields below, and how each one's start and end went */
    struct bb_cond *changed;
    struct bb_service *joining;
    bool is_over; /* nobody may join any more */
    size_t count; /* of services that were not freed */
};

/*
 * A service's life: STARTING -> READY <-> STARTING, any -> DRAINING -> STOPPED. Only the owner
 * thread moves it; others read.
 */
struct bb_service {
    const struct bb_service_def *def;
    struct bb_conf *conf;
    struct bb_loop *loop;
    void *state;
    _Atomic enum bb_service_state phase;
    char not_ready[NOT_READY_SIZE]; /* the reason while it is not ready */
    bool is_program; /* the process is this service: signals, default admin port, exit code */
    int exit_code;
    struct rt_admin *admin;
    struct bb_timer *drain;
    struct bb_timer *trim; /* a program only */
    struct rt_trim trimmed;
    atomic_bool is_stop_asked;
    struct bb_task stop_task;
    void (*on_event)(void *arg, enum bb_service_state state);
    void *arg;
    struct bb_env *env;
    struct bb_log *log;
    struct bb_mutex *mutex; /* the field below, between stopper and owner */
    bool is_loop_over;      /* nobody posts to the loop any more */
    /* In a thread: how start and end went, under the crew's lock. */
    struct crew *crew;
    struct bb_list member; /* in crew->members */
    bool is_start_done, is_over;
    int start_status;
    char start_error[BB_ERROR_MAX];
};

static volatile sig_atomic_t late_exit_code; /* what the process ends with when close hangs */

static void tell(struct bb_service *service, enum bb_service_state state)
{
    if (service->on_event != NULL)
        service->on_event(service->arg, state);
}

static const char *not_ready(void *arg)
{
    struct bb_service *service = arg;

    return service->phase == BB_SERVICE_READY ? NULL : service->not_ready;
}

static const char *default_admin(const char *name)
{
    static const struct {
        const char *name, *address;
    } table[] = {
        { "gateway", "127.0.0.1:3219" }, { "solo", "127.0.0.1:3219" },
        { "storage", "127.0.0.1:3509" }, { "sequencer", "127.0.0.1:3519" },
        { "worker", "127.0.0.1:3529" },  { "scheduler", "127.0.0.1:3539" },
    };

    for (size_t i = 0; i < BB_COUNT_OF(table); i++) {
        if (strcmp(table[i].name, name) == 0)
            return table[i].address;
    }
    return NULL;
}

static int open_admin(struct bb_ctx *ctx, struct bb_service *service)
{
    const char *address = bb_conf_text(service->conf, "admin-listen");

    if (address == NULL && service->is_program)
        address = default_admin(service->def->name);
    if (address == NULL || address[0] == '\0' || strcmp(address, "off") == 0)
        return BB_OK;
    int rc = rt_admin_open(ctx, service->loop, address, not_ready, service, &service->admin);
    if (rc != BB_ADDRESS_IN_USE || bb_conf_text(service->conf, "admin-listen") != NULL)
        return rc;
    /* Nobody asked for this port; a second suite on the machine must not fail for it. */
    bb_warn(ctx, "service.no_admin_port",
            "service=%s address=%s why=\"the default address is taken\"", service->def->name,
            address);
    return BB_OK;
}

static void on_drain_timeout(void *arg)
{
    struct bb_service *service = arg;

    bb_warn(bb_loop_ctx(service->loop), "service.drain_timeout",
            "service=%s after_ms=%d why=\"work was still running; it is dropped\"",
            service->def->name, DRAIN_MS);
    if (service->is_program)
        _exit(1);
    bb_service_stopped(service);
}

static void begin_stop(struct bb_task *task)
{
    struct bb_service *service = bb_container(task, struct bb_service, stop_task);

    if (service->phase == BB_SERVICE_DRAINING || service->phase == BB_SERVICE_STOPPED)
        return;
    service->phase = BB_SERVICE_DRAINING;
    (void)snprintf(service->not_ready, sizeof service->not_ready, "stopping");
    bb_info(bb_loop_ctx(service->loop), "service.stopping", "service=%s", service->def->name);
    tell(service, BB_SERVICE_DRAINING);
    bb_timer_start(service->drain, DRAIN_MS, 0);
    service->def->stop(service, service->state);
}

/* Of all threads. */
static uint64_t cpu_us(void)
{
    struct rusage used;

    bb_assert(getrusage(RUSAGE_SELF, &used) == 0);
    return (uint64_t)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1000000 +
           (uint64_t)(used.ru_utime.tv_usec + used.ru_stime.tv_usec);
}

/* After a burst the allocator keeps what windows, rings and memtables held for seconds. */
static void trim_memory(void *arg)
{
    struct bb_service *service = arg;

    if (rt_trim_is_due(&service->trimmed, bb_loop_now_us(service->loop), cpu_us()))
        (void)malloc_trim(0); /* whether anything was given back changes nothing */
}

/* Start the parts; afterwards either the loop may run or all is given back. */
static int start_parts(struct bb_service *service)
{
    struct bb_ctx *ctx = bb_loop_ctx(service->loop);

    service->drain = bb_timer_new(service->loop, on_drain_timeout, service);
    if (service->is_program) {
        service->trimmed =
            (struct rt_trim){ .at_us = bb_loop_now_us(service->loop), .cpu_us = cpu_us() };
        service->trim = bb_timer_new(service->loop, trim_memory, service);
        bb_timer_start(service->trim, TRIM_MS, TRIM_MS);
    }
    int rc = open_admin(ctx, service);
    if (rc == BB_OK)
        rc = service->def->start(ctx, service, &service->state);
    return rc;
}

static void close_parts(struct bb_service *service)
{
    bb_mutex_lock(service->mutex);
    service->is_loop_over = true;
    bb_mutex_unlock(service->mutex);
    service->phase = BB_SERVICE_STOPPED;
    if (service->state != NULL)
        service->def->close(service, service->state);
    rt_admin_close(service->admin);
    bb_timer_free(service->drain);
    bb_timer_free(service->trim);
    bb_loop_free(service->loop);
}

static void prepare(struct bb_service *service)
{
    atomic_init(&service->phase, BB_SERVICE_STARTING);
    atomic_init(&service->is_stop_asked, false);
    service->stop_task.run = begin_stop;
    service->mutex = bb_mutex_new();
    (void)snprintf(service->not_ready, sizeof service->not_ready, "starting");
    (void)signal(SIGPIPE, SIG_IGN); /* a closed peer is a status, not the end of the process */
}

/* ---- a program ---- */

static void on_signal(uv_signal_t *handle, int number)
{
    struct bb_service *service = handle->data;

    if (service->is_stop_asked)
        _exit(128 + number); /* asked a second time: at once */
    bb_service_stop(service);
}

static void leave_late(int number)
{
    (void)number;
    _exit(late_exit_code);
}

static int parse_level(struct bb_ctx *ctx, const char *text, enum bb_log_level *level)
{
    static const char *const names[] = { "debug", "info", "warn", "error" };

    for (size_t i = 0; i < BB_COUNT_OF(names); i++) {
        if (strcmp(names[i], text) == 0) {
            *level = (enum bb_log_level)i;
            return BB_OK;
        }
    }
    return bb_fail(ctx, BB_BAD_REQUEST,
                   "option log-level: \"%.64s\" is unknown; allowed: debug, info, warn, error",
                   text);
}

static void complain(const struct bb_service_def *def, const struct bb_ctx *ctx)
{
    (void)fprintf(stderr, "bb-%s: %s\n", def->name, ctx->error);
}

static int run_program(struct bb_service *service)
{
    uv_signal_t signals[2];
    static const int numbers[2] = { SIGTERM, SIGINT };

    prepare(service);
    service->loop = bb_loop_new(service->env, service->log, service->def->name);
    for (size_t i = 0; i < 2; i++) {
        bb_assert(uv_signal_init(bb_loop_uv(service->loop), &signals[i]) == 0);
        signals[i].data = service;
        bb_assert(uv_signal_start(&signals[i], on_signal, numbers[i]) == 0);
    }
    int rc = start_parts(service);
    if (rc == BB_OK) {
        bb_loop_run(service->loop);
    } else {
        complain(service->def, bb_loop_ctx(service->loop));
    }
    int code = rc == BB_OK ? service->exit_code : 1;
    /* Everything is answered and synced by now: when a library hangs in its close, we leave. */
    late_exit_code = code;
    (void)signal(SIGALRM, leave_late);
    (void)alarm(CLOSE_SECONDS);
    for (size_t i = 0; i < 2; i++)
        uv_close((uv_handle_t *)&signals[i], NULL);
    close_parts(service);
    (void)alarm(0);
    bb_mutex_free(service->mutex);
    return code;
}

int bb_service_main(const struct bb_service_def *def, int argc, char **argv)
{
    struct bb_ctx ctx = { .env = bb_env_real() };
    struct bb_service service = { .def = def, .is_program = true, .env = ctx.env };
    const struct bb_option *const tables[] = { def->options, bb_service_options, NULL };
    enum bb_log_level level = BB_LOG_INFO;

    int rc = bb_conf_parse(&ctx, def->name, def->summary, tables, argc, argv, &service.conf);
    if (rc == BB_CANCELLED)
        return 0;
    if (rc == BB_OK && bb_conf_rest_count(service.conf) > 0) {
        rc = bb_fail(&ctx, BB_BAD_REQUEST, "\"%.64s\" is no option; see --help",
                     bb_conf_rest(service.conf, 0));
    }
    if (rc == BB_OK)
        rc = parse_level(&ctx, bb_conf_text(service.conf, "log-level"), &level);
    if (rc == BB_OK && bb_conf_text(service.conf, "failpoint") != NULL)
        rc = bb_failpoint_arm(&ctx, ctx.env, bb_conf_text(service.conf, "failpoint"));
    if (rc != BB_OK) {
        complain(def, &ctx);
        bb_conf_free(service.conf);
        return 2;
    }
    service.log =
        bb_log_new(STDERR_FILENO, def->name, level, bb_conf_bool(service.conf, "log-json"));
    ctx.log = service.log;
    int code = run_program(&service);
    bb_info(&ctx, "service.stopped", "exit=%d", code);
    bb_log_free(service.log);
    bb_conf_free(service.conf);
    return code;
}

/* ---- in a thread ---- */

static struct crew *crew_new(struct bb_service *first)
{
    struct crew *crew = bb_alloc_zero(1, sizeof *crew);

    crew->mutex = bb_mutex_new();
    crew->changed = bb_cond_new();
    bb_list_init(&crew->members);
    crew->joining = first;
    crew->count = 1;
    return crew;
}

static void crew_release(struct crew *crew)
{
    bb_mutex_lock(crew->mutex);
    bool is_last = --crew->count == 0;
    bb_mutex_unlock(crew->mutex);
    if (!is_last)
        return;
    bb_thread_join(crew->thread);
    bb_mutex_free(crew->mutex);
    bb_cond_free(crew->changed);
    bb_free(crew);
}

static void tell_waiting(struct bb_service *service, bool is_over)
{
    struct crew *crew = service->crew;

    bb_mutex_lock(crew->mutex);
    service->is_start_done = true;
    service->is_over = is_over;
    bb_cond_broadcast(crew->changed);
    bb_mutex_unlock(crew->mutex); /* it may be freed from here on */
}

/* Whoever asked to join starts. No loop of the thread runs meanwhile. */
static void take_in(struct crew *crew)
{
    bb_mutex_lock(crew->mutex);
    struct bb_service *service = crew->joining;
    crew->joining = NULL;
    bb_mutex_unlock(crew->mutex);
    if (service == NULL)
        return;
    service->loop = rt_loop_beside(crew->loop, service->env, service->log);
    service->start_status = start_parts(service);
    if (service->start_status == BB_OK) {
        bb_list_push_back(&crew->members, &service->member);
    } else {
        memcpy(service->start_error, bb_loop_ctx(service->loop)->error,
               sizeof service->start_error);
        close_parts(service);
    }
    tell_waiting(service, service->start_status != BB_OK);
}

static void let_go(struct crew *crew, const struct bb_loop *loop)
{
    bb_list_each_safe(item, &crew->members) {
        struct bb_service *service = bb_container(item, struct bb_service, member);

        if (service->loop != loop)
            continue;
        bb_list_remove(item);
        close_parts(service);
        tell(service, BB_SERVICE_STOPPED);
        tell_waiting(service, true);
        return;
    }
}

/* The last one has ended and nobody has asked to join meanwhile. */
static bool is_over(struct crew *crew)
{
    bb_mutex_lock(crew->mutex);
    crew->is_over = bb_list_is_empty(&crew->members) && crew->joining == NULL;
    bool is_over = crew->is_over;
    bb_cond_broadcast(crew->changed);
    bb_mutex_unlock(crew->mutex);
    return is_over;
}

static void run_crew(void *arg)
{
    struct crew *crew = arg;

    crew->loop = bb_loop_new(crew->joining->env, crew->joining->log, crew->joining->def->name);
    take_in(crew);
    while (!is_over(crew)) {
        struct bb_loop *stopped = rt_loop_run_any(crew->loop);

        if (stopped == crew->loop) {
            take_in(crew);
        } else {
            let_go(crew, stopped);
        }
    }
    bb_loop_free(crew->loop);
}

static void free_service(struct bb_service *service)
{
    crew_release(service->crew);
    bb_mutex_free(service->mutex);
    bb_free(service);
}

static void join_crew(struct bb_service *service, struct crew *crew)
{
    service->crew = crew;
    bb_mutex_lock(crew->mutex);
    while (crew->joining != NULL)
        bb_cond_wait(crew->changed, crew->mutex);
    crew->count++;
    if (crew->is_over) {
        service->is_start_done = service->is_over = true;
        service->start_status = BB_UNAVAILABLE;
        (void)snprintf(service->start_error, sizeof service->start_error,
                       "the service whose thread it shares has ended");
    } else {
        crew->joining = service;
        bb_loop_stop(crew->loop); /* under the lock: the thread does not end now */
    }
    bb_mutex_unlock(crew->mutex);
}

static struct bb_service *service_new(const struct bb_service_def *def, struct bb_conf *conf,
                                      void (*on_event)(void *arg, enum bb_service_state state),
                                      void *arg)
{
    struct bb_service *service = bb_alloc_zero(1, sizeof *service);

    service->def = def;
    service->conf = conf;
    service->on_event = on_event;
    service->arg = arg;
    bb_list_init(&service->member);
    prepare(service);
    return service;
}

static int await_start(struct bb_ctx *ctx, struct bb_service *started, struct bb_service **service)
{
    struct crew *crew = started->crew;

    bb_mutex_lock(crew->mutex);
    while (!started->is_start_done)
        bb_cond_wait(crew->changed, crew->mutex);
    int rc = started->start_status;
    bb_mutex_unlock(crew->mutex);
    if (rc != BB_OK) {
        rc = bb_fail(ctx, rc, "%s", started->start_error);
        free_service(started);
        return rc;
    }
    *service = started;
    return BB_OK;
}

/* NOLINTNEXTLINE(readability-function-size): each argument has another type */
int bb_service_start(struct bb_ctx *ctx, const struct bb_service_def *def, struct bb_conf *conf,
                     struct bb_env *env, struct bb_log *log,
                     void (*on_event)(void *arg, enum bb_service_state state), void *arg,
                     struct bb_service **service)
{
    struct bb_service *started = service_new(def, conf, on_event, arg);

    started->env = env;
    started->log = log;
    started->crew = crew_new(started);
    started->crew->thread = bb_thread_start(def->name, run_crew, started->crew);
    return await_start(ctx, started, service);
}

/* NOLINTNEXTLINE(readability-function-size): each argument has another type */
int bb_service_start_beside(struct bb_ctx *ctx, struct bb_service *other,
                            const struct bb_service_def *def, struct bb_conf *conf,
                            void (*on_event)(void *arg, enum bb_service_state state), void *arg,
                            struct bb_service **service)
{
    struct bb_service *started = service_new(def, conf, on_event, arg);

    started->env = other->env;
    started->log = other->log;
    join_crew(started, other->crew);
    return await_start(ctx, started, service);
}

void bb_service_stop(struct bb_service *service)
{
    if (atomic_exchange(&service->is_stop_asked, true))
        return;
    bb_mutex_lock(service->mutex);
    if (!service->is_loop_over)
        bb_loop_post(service->loop, &service->stop_task);
    bb_mutex_unlock(service->mutex);
}

void bb_service_join(struct bb_service *service)
{
    struct crew *crew = service->crew;

    bb_mutex_lock(crew->mutex);
    while (!service->is_over)
        bb_cond_wait(crew->changed, crew->mutex);
    bb_mutex_unlock(crew->mutex);
    free_service(service);
}

/* ---- what a service calls ---- */

struct bb_loop *bb_service_loop(struct bb_service *service)
{
    return service->loop;
}

struct bb_conf *bb_service_conf(struct bb_service *service)
{
    return service->conf;
}

void bb_service_ready(struct bb_service *service)
{
    if (service->phase != BB_SERVICE_STARTING)
        return;
    service->phase = BB_SERVICE_READY;
    bb_info(bb_loop_ctx(service->loop), "service.ready", "service=%s", service->def->name);
    tell(service, BB_SERVICE_READY);
}

void bb_service_not_ready(struct bb_service *service, const char *why)
{
    if (service->phase == BB_SERVICE_READY)
        service->phase = BB_SERVICE_STARTING;
    if (service->phase == BB_SERVICE_STARTING)
        (void)snprintf(service->not_ready, sizeof service->not_ready, "%s", why);
}

void bb_service_stopped(struct bb_service *service)
{
    service->phase = BB_SERVICE_STOPPED;
    bb_loop_stop(service->loop);
}

void bb_service_failed(struct bb_service *service)
{
    service->exit_code = 1;
    bb_service_stopped(service);
}
