/* A client's end of the simulated HTTP. */
#ifndef SIM_HTTP_H
#define SIM_HTTP_H

#include "sim.h"

struct sim_http_call;
struct sim_http_ask {
    struct sim_node *client, *gateway;
    const char *method, *path, *query; /* the path as sent; query may be NULL */
    const char *headers;               /* "name: value\n" lines, names in lower case; may be NULL */
    struct bb_slice body;
    /* One answer; `status` 0: the connection was lost, nobody knows. */
    void (*on_answer)(void *arg, int status, struct bb_slice body);
    /* A stream's bytes, then its end. NULL: no stream is expected. */
    void (*on_bytes)(void *arg, struct bb_slice bytes);
    void (*on_end)(void *arg);
    void *arg;
};
/* The callbacks run at the client's node. */
struct sim_http_call *sim_http_send(const struct sim_http_ask *ask);
/* The client leaves; no callback follows. */
void sim_http_leave(struct sim_http_call *call);
/* A client that takes nothing for a while; its stream blocks. */
void sim_http_stall(struct sim_http_call *call, uint64_t us);

#endif
