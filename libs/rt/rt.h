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

#endif
