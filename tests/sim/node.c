/* Nodes: their clocks, their starts and their ends. */
#include "sim.h"

#include <stdio.h>

#include "bb/gateway_service.h"
#include "bb/sequencer_service.h"
#include "bb/storage_service.h"
#include "bb/worker_service.h"

#include "parts.h"

#define RESTART_MIN_US 50000
#define RESTART_US     400000

struct sim_node *sim_node_of(struct bb_env *env)
{
    return (struct sim_node *)(void *)env;
}

struct sim_node *sim_node_add(enum sim_role role, const char *name)
{
    bb_assert(sim.node_count < SIM_NODES_MAX);
    struct sim_node *node = &sim.nodes[sim.node_count];

    *node = (struct sim_node){ .env = { .ops = &sim_env_ops },
                               .role = role,
                               .index = sim.node_count++,
                               .boot_us = sim_below(1000000) };
    (void)snprintf(node->name, sizeof node->name, "%s", name);
    bb_list_init(&node->servers);
    node->log = bb_log_new(2, name, BB_LOG_INFO, false);
    node->disk = sim_disk_new();
    return node;
}

static const struct bb_service_def *def_of(enum sim_role role)
{
    switch (role) {
    case SIM_STORAGE:
        return &bb_storage_service;
    case SIM_SEQUENCER:
        return &bb_sequencer_service;
    case SIM_WORKER:
        return &bb_worker_service;
    case SIM_GATEWAY:
        return &bb_gateway_service;
    case SIM_CLIENT:
        break;
    }
    BB_UNREACHABLE("clients run no service");
}

static void begin(void *arg)
{
    struct sim_node *node = arg;

    node->is_up = true;
    sim_trace("process starts, life %u", node->life);
    sim_service_start(node, def_of(node->role));
}

void sim_node_start(struct sim_node *node)
{
    if (node->is_up || node->is_starting)
        return;
    node->is_starting = true;
    node->boot_us = sim_below(1000000);
    uint64_t at_us = sim.now_us > node->restart_us ? sim.now_us : node->restart_us;
    (void)sim_at(node, at_us, begin, node);
}

void sim_node_kill(struct sim_node *node, bool is_power_loss, const char *why)
{
    sim_trace("%s %s: %s", node->name, is_power_loss ? "loses power" : "is gone", why);
    node->life++;
    node->deaths++;
    node->is_up = node->is_starting = node->is_stopping = node->is_ready = false;
    node->is_reseeding = false;
    node->paused_until_us = 0;
    node->service = NULL;
    node->loop = NULL;
    sim_wire_died(node);
    sim_http_died(node);
    sim_slots_died(node);
    sim_raft_died(node, is_power_loss);
    if (is_power_loss)
        sim_disk_power_loss(node->disk);
    /* Whoever runs services starts them again. */
    node->restart_us = sim.now_us + RESTART_MIN_US + sim_below(RESTART_US);
    if (!node->is_kept_down)
        sim_node_start(node);
}

void sim_node_pause(struct sim_node *node, uint64_t us)
{
    sim_trace("%s is paused for %.3f s", node->name, (double)us / 1e6);
    if (sim.now_us + us > node->paused_until_us)
        node->paused_until_us = sim.now_us + us;
}

void sim_node_stop(struct sim_node *node)
{
    if (node->is_up && !node->is_stopping) {
        node->is_stopping = true;
        sim_trace("%s is told to stop", node->name);
        (void)sim_after(node, 1, sim_service_stop, node);
    }
}
