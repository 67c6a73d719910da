/* What the parts of the simulated world tell each other. */
#ifndef SIM_PARTS_H
#define SIM_PARTS_H

#include "sim.h"

/* rt.c */
void sim_service_start(struct sim_node *node, const struct bb_service_def *def);
void sim_service_stop(void *node);
void sim_loop_touch(struct sim_node *node);

/* uv.c */
void sim_raft_touch(struct sim_node *node); /* something of it may have ended */

/* http.c */
void sim_http_died(struct sim_node *node);
void sim_http_handle(void *call);

/* failpoint.c */
void sim_failpoint_arm(struct sim_node *node);

#endif
