/* What befalls the cluster, at random moments, by the weights of the scenario. */
#include <stdatomic.h>
#include <stdio.h>

#include "parts.h"
#include "raft_io.h"
#include "world.h"

#define CUT_US   3000000
#define LONG_US  2000000
#define APART_US 4500000 /* until then a worker is found to be cut off, and its calls are moved */

static struct sim_node *any_node(enum sim_role role)
{
    struct sim_node *found = NULL;
    size_t count = 0;

    for (size_t i = 0; i < sim.node_count; i++) {
        if (sim.nodes[i].role == role && sim_below(++count) == 0)
            found = &sim.nodes[i];
    }
    bb_assert(found != NULL);
    return found;
}

static struct sim_node *any_server(void)
{
    for (;;) {
        struct sim_node *node = &sim.nodes[sim_below(sim.node_count)];
        if (node->role != SIM_CLIENT)
            return node;
    }
}

static void kill_one(enum sim_role role, bool is_power)
{
    struct sim_node *node = any_node(role);

    if (node->is_up)
        sim_node_kill(node, is_power, "killed");
}

static void cut_some(bool is_one_way)
{
    struct sim_node *a = any_server();
    struct sim_node *b = any_server();
    uint64_t us = 100000 + sim_below(CUT_US);

    if (a == b)
        return;
    sim_cut(a, b, us);
    if (!is_one_way)
        sim_cut(b, a, us);
}

/* One node hears nobody, or nobody hears it, or both. */
static void isolate(void)
{
    struct sim_node *node = sim_chance(700000) ? any_node(SIM_SEQUENCER) : any_server();
    unsigned how = 1 + (unsigned)sim_below(3);
    uint64_t us = 100000 + sim_below(CUT_US);
    bool is_from_storage_only = sim_chance(500000);

    for (size_t i = 0; i < sim.node_count; i++) {
        struct sim_node *other = &sim.nodes[i];
        if (other == node || other->role == SIM_CLIENT ||
            (is_from_storage_only && other->role != SIM_STORAGE))
            continue;
        if ((how & 1) != 0)
            sim_cut(node, other, us);
        if ((how & 2) != 0)
            sim_cut(other, node, us);
    }
}

static void end_full(void *arg)
{
    struct sim_node *node = arg;

    sim_trace("%s: the disk has room again", node->name);
    node->disk->is_full = false;
}

static void fill_disk(void)
{
    struct sim_node *node = any_node(SIM_STORAGE);

    sim_trace("%s: the disk is full", node->name);
    node->disk->is_full = true;
    (void)sim_after(NULL, 50000 + sim_below(1500000), end_full, node);
}

static void slow_disk(void)
{
    struct sim_node *node = any_node(SIM_STORAGE);

    sim_trace("%s: the disk is slow", node->name);
    node->disk->slow_until_us = sim.now_us + sim_below(2000000);
}

/* A majority of the storage nodes keeps about the right time: it is what guards against the rest.
 */
static bool may_be_wrong(const struct sim_node *node)
{
    size_t before = 0;

    for (size_t i = 0; i < node->index; i++)
        before += sim.nodes[i].role == SIM_STORAGE;
    return node->role != SIM_STORAGE || before < (world.scenario->storages - 1) / 2;
}

static void jump_clock(void)
{
    struct sim_node *node = any_server();
    uint64_t range = may_be_wrong(node) && sim_chance(600000) ? world.scenario->skew_us : 1000000;

    node->skew_us = (int64_t)sim_below(2 * range + 1) - (int64_t)range;
    sim_trace("%s: its clock jumps to %+.3f s", node->name, (double)node->skew_us / 1e6);
}

static void lose_all_power(void)
{
    for (size_t i = 0; i < sim.node_count; i++) {
        if (sim.nodes[i].role == SIM_STORAGE && sim.nodes[i].is_up)
            sim_node_kill(&sim.nodes[i], true, "the house is dark");
    }
}

static void end_death(void *arg)
{
    struct sim_node *node = arg;

    node->is_kept_down = !sim_is_member(node);
    if (!node->is_kept_down)
        sim_node_start(node);
}

/* So long that the others cut their logs meanwhile. */
static void long_death(void)
{
    struct sim_node *node = any_node(SIM_STORAGE);

    if (!node->is_up || node->is_kept_down || !sim_are_others_up(node))
        return;
    node->is_kept_down = true;
    sim_node_kill(node, sim_chance(500000), "killed for long");
    (void)sim_after(NULL, 1200000 + sim_below(LONG_US), end_death, node);
}

static void on_deployed(struct bb_slice reply)
{
    (void)reply;
}

static void deploy(void)
{
    static unsigned count;
    char key[32];

    (void)snprintf(key, sizeof key, "deploy-%u", ++count);
    sim_client_ask("deploy", "{\"path\":\"_system:deploy\",\"args\":{\"extra\":true}}", key,
                   on_deployed);
}

static void stop_one(void)
{
    struct sim_node *node = any_server();

    if (node->is_up)
        sim_node_stop(node);
}

static void pause(struct sim_node *node, uint64_t us_max)
{
    sim_node_pause(node, 20000 + sim_below(us_max));
}

static void befall(unsigned fault)
{
    switch (fault) {
    case 0:
        kill_one(SIM_STORAGE, false);
        return;
    case 1:
        kill_one(SIM_SEQUENCER, false);
        return;
    case 2:
        kill_one(SIM_WORKER, false);
        return;
    case 3:
        kill_one(SIM_GATEWAY, false);
        return;
    case 4:
        kill_one(SIM_STORAGE, true);
        return;
    case 5:
        pause(any_node(SIM_STORAGE), 1500000);
        return;
    case 6:
        pause(any_node(SIM_SEQUENCER), 3000000);
        return;
    case 7:
        pause(any_server(), 2000000);
        return;
    case 8:
        cut_some(false);
        return;
    case 9:
        cut_some(true);
        return;
    case 10:
        isolate();
        return;
    case 11:
        slow_disk();
        return;
    case 12:
        fill_disk();
        return;
    case 13:
        jump_clock();
        return;
    case 14:
        sim_slot_kill(any_node(SIM_WORKER));
        return;
    case 15:
        stop_one();
        return;
    case 16:
        deploy();
        return;
    case 17:
        sim_watches_drop();
        sim_sessions_drop();
        return;
    case 18:
        sim_failpoint_arm(any_server());
        return;
    case 19:
        lose_all_power();
        return;
    case 20:
        long_death();
        return;
    case 21:
        (void)sim_operator_lose_disk();
        return;
    default:
        sim_compact(any_node(SIM_STORAGE));
        return;
    }
}

static void next_fault(void *arg)
{
    const struct sim_scenario *scenario = world.scenario;
    const unsigned weights[] = {
        scenario->faults.kill_storage,
        scenario->faults.kill_sequencer,
        scenario->faults.kill_worker,
        scenario->faults.kill_gateway,
        scenario->faults.power,
        scenario->faults.pause_storage,
        scenario->faults.pause_sequencer,
        scenario->faults.pause_other,
        scenario->faults.cut,
        scenario->faults.cut_one_way,
        scenario->faults.isolate,
        scenario->faults.slow_disk,
        scenario->faults.full_disk,
        scenario->faults.clock_jump,
        scenario->faults.kill_slot,
        scenario->faults.stop,
        scenario->faults.deploy,
        scenario->faults.drop_streams,
        scenario->faults.failpoint,
        scenario->faults.power_all,
        scenario->faults.long_death,
        scenario->faults.lose_disk,
        scenario->faults.compact,
    };
    unsigned sum = 0;

    (void)arg;
    if (world.is_settling)
        return;
    for (size_t i = 0; i < BB_COUNT_OF(weights); i++)
        sum += weights[i];
    unsigned at = (unsigned)sim_below(sum);
    for (unsigned i = 0; i < BB_COUNT_OF(weights); i++) {
        if (at < weights[i]) {
            befall(i);
            break;
        }
        at -= weights[i];
    }
    (void)sim_after(NULL, sim_below(2 * (uint64_t)scenario->fault_us), next_fault, NULL);
}

/* The storage node that most have voted for in the newest term. */
static struct sim_node *storage_leader(void)
{
    struct sim_node *found = NULL;
    unsigned most = 0;

    for (size_t i = 0; i < sim.node_count; i++) {
        unsigned votes = 0;
        for (size_t k = 0; k < sim.node_count && sim.nodes[i].role == SIM_STORAGE; k++) {
            const struct sim_raft *raft = sim.nodes[k].raft;
            votes += raft != NULL && raft->term == sim_storage_term() &&
                     raft->voted_for == sim_storage_id(&sim.nodes[i]);
        }
        if (votes > most) {
            most = votes;
            found = &sim.nodes[i];
        }
    }
    bb_assert(found != NULL);
    return found;
}

static void cut_both_ways(struct sim_node *one, struct sim_node *other, uint64_t us)
{
    sim_cut(one, other, us);
    sim_cut(other, one, us);
}

/* A sequencer does not reach storage, and one worker perhaps no other sequencer. If it is the
 * active one it is followed by another, and does not hear of it. */
static void set_apart_from_storage(uint64_t us)
{
    struct sim_node *lone = any_node(SIM_SEQUENCER);
    struct sim_node *worker = sim_below(2) == 0 ? NULL : any_node(SIM_WORKER);

    for (size_t i = 0; i < sim.node_count; i++) {
        struct sim_node *node = &sim.nodes[i];
        if (node->role == SIM_STORAGE)
            cut_both_ways(lone, node, us);
        if (node->role == SIM_SEQUENCER && node != lone && worker != NULL)
            cut_both_ways(worker, node, us);
    }
}

/*
 * While the load lasts: the sequencers do not reach the storage node that leads, or one worker does
 * not reach them, or both; or one sequencer reaches no storage node. After a moment nobody who
 * calls may notice.
 */
static void set_apart(void)
{
    uint64_t us = world.load_until_us - sim.now_us;
    struct sim_node *leader = storage_leader();
    struct sim_node *worker = any_node(SIM_WORKER);
    unsigned which = (unsigned)sim_below(5) & 3;

    if (which == 0)
        set_apart_from_storage(us);
    for (size_t i = 0; i < sim.node_count; i++) {
        struct sim_node *node = &sim.nodes[i];
        if (node->role != SIM_SEQUENCER)
            continue;
        if ((which & 1) != 0)
            cut_both_ways(node, leader, us);
        if ((which & 2) != 0)
            cut_both_ways(node, worker, us);
    }
    world.whole_us = sim.now_us + APART_US;
}

void sim_faults_start(void)
{
    if (world.scenario->is_apart)
        set_apart();
    if (world.scenario->fault_us != 0)
        (void)sim_after(NULL, sim_below(world.scenario->fault_us), next_fault, NULL);
    sim.failpoint_ppm = world.scenario->failpoint_ppm;
}

void sim_faults_end(void)
{
    sim_trace("the faults end");
    sim.failpoint_ppm = 0;
    sim_heal();
    sim.weather = (struct sim_weather){
        .latency_us = 50, .jitter_us = 100, .sync_us = 200, .sync_jitter_us = 200
    };
    for (size_t i = 0; i < sim.node_count; i++) {
        sim.nodes[i].disk->is_full = false;
        atomic_store(&sim.nodes[i].env.failpoint, 0);
        sim.nodes[i].disk->slow_until_us = 0;
        if (sim.nodes[i].role == SIM_SEQUENCER)
            sim.nodes[i].skew_us = 0; /* one that is far ahead refuses to serve */
    }
}
