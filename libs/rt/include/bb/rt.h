/*
 * How a service lives: one owner thread with a libuv loop that holds all its mutable state, an
 * inbox for what other threads tell it, timers, a pool for blocking work, and a life cycle.
 *
 * Threads: unless said otherwise a function is called on the owner thread of the loop it names.
 */
#ifndef BB_RT_H
#define BB_RT_H

#include "bb/base.h"
#include "bb/conf.h"

struct uv_loop_s;
struct bb_loop;
struct bb_timer;
struct bb_alarm;
struct bb_pool;

/* ---- loop ---- */

struct bb_loop *bb_loop_new(struct bb_env *env, struct bb_log *log, const char *name);
void bb_loop_free(struct bb_loop *loop); /* after run has returned; accepts NULL */
void bb_loop_run(struct bb_loop *loop);  /* the caller becomes the owner; until bb_loop_stop */
void bb_loop_stop(struct bb_loop *loop); /* any thread */
struct uv_loop_s *bb_loop_uv(struct bb_loop *loop);
/* The loop's own context (env, log; no arena, no deadline), for work that belongs to no request. */
struct bb_ctx *bb_loop_ctx(struct bb_loop *loop);
bool bb_loop_is_owner(const struct bb_loop *loop);
uint64_t bb_loop_now_us(struct bb_loop *loop); /* monotonic, read freshly */

/* ---- inbox: any thread tells the owner to do something ---- */

struct bb_task {
    struct bb_task *next; /* the inbox's while posted */
    void (*run)(struct bb_task *task);
};
/* Any thread. The task's memory is the caller's and must live until run was called; run is called
 * once, on the owner thread, in order of posting. One wake-up serves all that gathered. */
void bb_loop_post(struct bb_loop *loop, struct bb_task *task);
/* Run what is in the inbox now, for a caller that is the owner while the loop does not run (close).
 * A loop does it itself before each sleep, when run ends and in free. */
void bb_loop_drain(struct bb_loop *loop);
/* Called on the owner thread once after each batch of tasks and I/O (before the loop sleeps): the
 * place to send what gathered. At most 8 hooks. */
void bb_loop_on_batch(struct bb_loop *loop, void (*run)(void *arg), void *arg);
/* For a hook: there is more to do already, the hooks shall run again before the owner sleeps. */
void bb_loop_again(struct bb_loop *loop);

/* ---- timers ---- */

struct bb_timer *bb_timer_new(struct bb_loop *loop, void (*fire)(void *arg), void *arg);
void bb_timer_start(struct bb_timer *timer, uint64_t first_ms, uint64_t repeat_ms);
void bb_timer_stop(struct bb_timer *timer);
void bb_timer_free(struct bb_timer *timer); /* accepts NULL; on the owner thread */

/* A timer of microseconds, which costs a system call each time. It fires once for each time that it
 * was set. */
struct bb_alarm *bb_alarm_new(struct bb_loop *loop, void (*fire)(void *arg), void *arg);
void bb_alarm_set(struct bb_alarm *alarm, uint64_t us); /* anew, if it is set already */
void bb_alarm_stop(struct bb_alarm *alarm);
void bb_alarm_free(struct bb_alarm *alarm); /* accepts NULL; on the owner thread */

/* ---- pool: threads for blocking work ---- */

/* A job runs on a pool thread, then `done` on the owner loop of whoever submitted (if not NULL). */
struct bb_job {
    struct bb_job *next;
    void (*work)(struct bb_job *job, size_t thread_index);
    void (*done)(struct bb_job *job);
    struct bb_loop *loop; /* where done runs */
    struct bb_task task;  /* the pool's */
};
struct bb_pool *bb_pool_new(const char *name, size_t thread_count, size_t queue_max);
/* Any thread. BB_OVERLOADED when the queue is full. */
int bb_pool_submit(struct bb_ctx *ctx, struct bb_pool *pool, struct bb_job *job);
void bb_pool_free(struct bb_pool *pool); /* finishes what is queued, joins; accepts NULL */

/* ---- life cycle ---- */

struct bb_service;
enum bb_service_state {
    BB_SERVICE_STARTING,
    BB_SERVICE_READY,
    BB_SERVICE_DRAINING,
    BB_SERVICE_STOPPED
};
/*
 * What a service is. `start` builds everything on the owner loop and returns; the service calls
 * bb_service_ready when it can serve. `stop` begins a graceful end: refuse new work, finish what
 * runs, then call bb_service_stopped; after 10 s the process ends anyway.
 */
struct bb_service_def {
    const char *name;    /* "storage": program bb-storage, variables BB_STORAGE_* */
    const char *summary; /* one line for --help */
    const struct bb_option *options;
    int (*start)(struct bb_ctx *ctx, struct bb_service *service, void **state);
    void (*stop)(struct bb_service *service, void *state);
    void (*close)(struct bb_service *service,
                  void *state); /* free everything; loop is not running */
};

/* A whole program: options, log, admin port, signals (SIGTERM, SIGINT: graceful; a second one: at
 * once), run, exit code (0; 1 could not start; 2 bad options). */
int bb_service_main(const struct bb_service_def *def, int argc, char **argv);

/* The same in a thread of its own, for bb-solo and tests: `conf` has the service's options; start
 * returns when def->start has returned. `on_event` (any thread) hears of READY and STOPPED, and of
 * a later fatal failure as STOPPED. */
int bb_service_start(struct bb_ctx *ctx, const struct bb_service_def *def, struct bb_conf *conf,
                     struct bb_env *env, struct bb_log *log,
                     void (*on_event)(void *arg, enum bb_service_state state), void *arg,
                     struct bb_service **service);
/* The same in the thread of `other`, with its env and log: they ask each other without a wake-up.
 * `other` was not joined yet; BB_UNAVAILABLE when all in that thread have ended by themselves. Each
 * has a loop of its own, and each may end first. */
int bb_service_start_beside(struct bb_ctx *ctx, struct bb_service *other,
                            const struct bb_service_def *def, struct bb_conf *conf,
                            void (*on_event)(void *arg, enum bb_service_state state), void *arg,
                            struct bb_service **service);
void bb_service_stop(struct bb_service *service); /* any thread; graceful */
void bb_service_join(struct bb_service *service); /* waits for STOPPED, closes, frees */

struct bb_loop *bb_service_loop(struct bb_service *service);
struct bb_conf *bb_service_conf(struct bb_service *service);
void bb_service_ready(struct bb_service *service);
/* Not ready any more, or not yet: shown by /readyz with the reason. */
void bb_service_not_ready(struct bb_service *service, const char *why);
void bb_service_stopped(struct bb_service *service);
/* It cannot go on (the reason is in the log already): ends now, without `stop`; a program exits
 * with 1. */
void bb_service_failed(struct bb_service *service);
/* Options that every service has: log-level, log-json, admin-listen, config. Without admin-listen a
 * program listens on its service's admin port of 127.0.0.1 (storage 3509, sequencer 3519, worker
 * 3529, scheduler 3539, gateway and solo 3219), a service in a thread on none; "off" is none. */
extern const struct bb_option bb_service_options[];

/* ---- child processes (worker slots; the embedded suite's parts) ---- */

struct bb_child;
struct bb_child_options {
    const char *const *argv; /* ends with NULL; argv[0] is looked up as given, no PATH */
    const char *const *envp; /* whole environment */
    int inherit_fd;          /* becomes descriptor 3; -1: none */
    int log_fd;              /* stdout and stderr of the child; -1: /dev/null */
    void (*on_exit)(void *arg, int exit_code, int signal); /* on the owner thread, once */
    void *arg;
};
int bb_child_start(struct bb_ctx *ctx, struct bb_loop *loop, const struct bb_child_options *options,
                   struct bb_child **child);
/* A child that another process has made for this one (CLONE_PARENT); on_exit and arg as above. */
struct bb_child *bb_child_adopt(struct bb_loop *loop, int64_t pid,
                                void (*on_exit)(void *arg, int exit_code, int signal), void *arg);
int64_t bb_child_pid(const struct bb_child *child);
void bb_child_kill(struct bb_child *child, int signal);
void bb_child_free(struct bb_child *child); /* after on_exit */

#endif
