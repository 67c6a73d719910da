/* bb/failpoint.h: the services' own named points, and the places of this folder where a process
 * dies at random. */
#include "bb/failpoint.h"

#include "parts.h"

#define RESEED_FACTOR 300

static const char *const names[BB_FAILPOINT_COUNT] = {
#define NAME(name, text) text,
    BB_FAILPOINTS(NAME)
#undef NAME
};

const char *bb_failpoint_name(enum bb_failpoint point)
{
    return names[point];
}

int bb_failpoint_arm(struct bb_ctx *ctx, struct bb_env *env, const char *text)
{
    (void)env;
    return bb_fail(ctx, BB_UNSUPPORTED, "the simulator arms %s itself", text);
}

void bb_failpoint_reached(struct bb_env *env)
{
    unsigned point = atomic_load(&env->failpoint);

    if (atomic_fetch_sub(&env->failpoint_left, 1) != 1)
        return;
    atomic_store(&env->failpoint, 0);
    sim.failpoints++;
    sim_die(137, names[point - 1]);
}

/* One of its points, soon. */
void sim_failpoint_arm(struct sim_node *node)
{
    atomic_store(&node->env.failpoint_left, 1 + sim_below(8));
    atomic_store(&node->env.failpoint, (unsigned)(1 + sim_below(BB_FAILPOINT_COUNT)));
}

/* While a checkpoint is taken over a death is likely at each of its steps. */
void sim_failpoint(const char *name)
{
    if (sim.failpoint_ppm == 0 || sim.current == NULL || sim.current->role == SIM_CLIENT ||
        !sim_chance(sim.failpoint_ppm * (sim.current->is_reseeding ? RESEED_FACTOR : 1)))
        return;
    if (sim.current->is_reseeding)
        sim_trace("dies while it takes over a checkpoint");
    sim.failpoints++;
    sim_die(137, name);
}
