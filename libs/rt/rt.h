/* Shared inside libs/rt: loops that share a thread; a service seen from its admin port. */
#ifndef RT_RT_H
#define RT_RT_H

#include "bb/rt.h"

struct rt_admin;

/* One more loop in the thread of `other`, where both are freed, too. On that thread. */
struct bb_loop *rt_loop_beside(struct bb_loop *other, struct bb_env *env, struct bb_log *log);
/* Run all loops of the thread until one of them must stop; that one. */
struct bb_loop *rt_loop_run_any(struct bb_loop *any);

/*
 * A small HTTP/1.1 server on the service's own loop: GET /healthz, /readyz, /metrics, one request a
 * connection. Bounded: 32 connections, 8 KB of request, 5 s. `not_ready` gives NULL when the
 * service is ready, else the reason; called on the owner thread. `address`: HOST:PORT.
 */
int rt_admin_open(struct bb_ctx *ctx, struct bb_loop *loop, const char *address,
                  const char *(*not_ready)(void *arg), void *arg, struct rt_admin **admin);
void rt_admin_close(struct rt_admin *admin); /* accepts NULL */
/* The port that was given by the system when the address named port 0. */
unsigned rt_admin_port(const struct rt_admin *admin);

/*
 * When to give free memory back to the system. The allocator holds all its locks while it does, for
 * a tenth of a second and more, and whoever allocates waits: so not while there is much to do, but
 * once in a while all the same.
 */
struct rt_trim {
    uint64_t at_us, cpu_us; /* of the last look */
    unsigned put_off;       /* looks since then that found the process busy */
};
/* A look: is it time? `cpu_us`: what the process has used since it began. */
bool rt_trim_is_due(struct rt_trim *trim, uint64_t now_us, uint64_t cpu_us);

#endif
