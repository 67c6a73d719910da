/* Events in the order of time, chance from one seed, and fibers. */
#include "sim.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>

#define FIBER_STACK ((size_t)512 << 10)
#define TRACE_LINES 4096
#define TRACE_WIDTH 400

struct sim sim;

/* ---- chance: xoshiro256** ---- */

static uint64_t rotate(uint64_t x, int by)
{
    return x << by | x >> (64 - by);
}

uint64_t sim_random(void)
{
    uint64_t *s = sim.random;
    uint64_t result = rotate(s[1] * 5, 7) * 9;
    uint64_t t = s[1] << 17;

    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate(s[3], 45);
    return result;
}

uint64_t sim_below(uint64_t limit)
{
    return limit == 0 ? 0 : sim_random() % limit;
}

bool sim_chance(uint32_t ppm)
{
    return ppm != 0 && sim_below(1000000) < ppm;
}

void sim_init(uint64_t seed)
{
    uint64_t x = seed + UINT64_C(0x9e3779b97f4a7c15);

    sim.seed = seed;
    sim.now_us = 1000000;
    for (size_t i = 0; i < 4; i++) { /* splitmix64 */
        uint64_t z = (x += UINT64_C(0x9e3779b97f4a7c15));
        z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
        z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
        sim.random[i] = z ^ (z >> 31);
    }
}

/* ---- trace ---- */

static char trace_lines[TRACE_LINES][TRACE_WIDTH];
static uint64_t trace_count;

void sim_trace_bytes(struct bb_slice bytes)
{
    sim.hash = bb_hash64(bytes, sim.hash);
}

void sim_trace(const char *format, ...)
{
    char *line = trace_lines[trace_count++ % TRACE_LINES];
    va_list arguments;
    int head = snprintf(line, TRACE_WIDTH, "%10.6f %-12s ", (double)sim.now_us / 1e6,
                        sim.current == NULL ? "-" : sim.current->name);

    va_start(arguments, format);
    (void)vsnprintf(line + head, TRACE_WIDTH - (size_t)head, format, arguments); /* cut is fine */
    va_end(arguments);
    sim_trace_bytes(bb_slice_str(line));
    if (sim.is_verbose)
        (void)fprintf(stderr, "%s\n", line);
}

void sim_trace_print(void)
{
    uint64_t first = trace_count > 120 ? trace_count - 120 : 0;

    for (uint64_t i = first; i < trace_count && !sim.is_verbose; i++)
        (void)fprintf(stderr, "%s\n", trace_lines[i % TRACE_LINES]);
}

void sim_fail(const char *format, ...)
{
    va_list arguments;

    if (sim.failure[0] != '\0')
        return;
    va_start(arguments, format);
    (void)vsnprintf(sim.failure, sizeof sim.failure, format, arguments); /* cut is fine */
    va_end(arguments);
    sim_trace("FAILED %s", sim.failure);
    sim.is_over = true;
}

/* ---- events: a binary heap ---- */

static bool is_before(const struct sim_event *a, const struct sim_event *b)
{
    return a->at_us != b->at_us ? a->at_us < b->at_us : a->order < b->order;
}

static void push(struct sim_event *event)
{
    if (sim.heap_count == sim.heap_capacity) {
        sim.heap_capacity = sim.heap_capacity == 0 ? 1024 : sim.heap_capacity * 2;
        sim.heap = bb_realloc(sim.heap, sim.heap_capacity * sizeof *sim.heap);
    }
    size_t at = sim.heap_count++;
    for (; at > 0 && is_before(event, sim.heap[(at - 1) / 2]); at = (at - 1) / 2)
        sim.heap[at] = sim.heap[(at - 1) / 2];
    sim.heap[at] = event;
}

static struct sim_event *pop(void)
{
    struct sim_event *first = sim.heap[0];
    struct sim_event *last = sim.heap[--sim.heap_count];
    size_t at = 0;

    for (;;) {
        size_t child = at * 2 + 1;
        if (child >= sim.heap_count)
            break;
        if (child + 1 < sim.heap_count && is_before(sim.heap[child + 1], sim.heap[child]))
            child++;
        if (!is_before(sim.heap[child], last))
            break;
        sim.heap[at] = sim.heap[child];
        at = child;
    }
    if (sim.heap_count > 0)
        sim.heap[at] = last;
    return first;
}

struct sim_event *sim_at(struct sim_node *node, uint64_t at_us, void (*run)(void *arg), void *arg)
{
    struct sim_event *event = bb_alloc(sizeof *event);

    *event = (struct sim_event){ .at_us = at_us < sim.now_us ? sim.now_us : at_us,
                                 .order = sim.order++,
                                 .node = node,
                                 .life = node == NULL ? 0 : node->life,
                                 .run = run,
                                 .arg = arg };
    push(event);
    return event;
}

struct sim_event *sim_after(struct sim_node *node, uint64_t delay_us, void (*run)(void *arg),
                            void *arg)
{
    return sim_at(node, sim.now_us + delay_us, run, arg);
}

void sim_cancel(struct sim_event *event)
{
    if (event != NULL)
        event->is_cancelled = true;
}

/* ---- fibers ---- */

struct sim_fiber {
    ucontext_t context;
    struct sim_node *node;
    void (*run)(void *arg);
    void *arg;
    struct sim_event *wake;
    bool is_done;
};
static ucontext_t outside;
static void *stacks[64]; /* of fibers that are done */
static size_t stack_count;
static sigjmp_buf left; /* where the process of the running event is left */
static bool is_leaving;
static int leave_code;

static void fiber_main(void)
{
    struct sim_fiber *fiber = sim.fiber;

    fiber->run(fiber->arg);
    fiber->is_done = true;
    (void)swapcontext(&fiber->context, &outside);
}

static void resume(struct sim_fiber *fiber)
{
    bb_assert(sim.fiber == NULL);
    if (fiber->is_done)
        return;
    sim.fiber = fiber;
    (void)swapcontext(&outside, &fiber->context);
    sim.fiber = NULL;
    if (fiber->is_done && stack_count < BB_COUNT_OF(stacks))
        stacks[stack_count++] = fiber->context.uc_stack.ss_sp;
    if (is_leaving)
        siglongjmp(left, 1);
}

static void on_wake(void *arg)
{
    struct sim_fiber *fiber = arg;

    fiber->wake = NULL;
    resume(fiber);
}

struct sim_fiber *sim_fiber_new(void (*run)(void *arg), void *arg)
{
    struct sim_fiber *fiber = bb_alloc_zero(1, sizeof *fiber);

    bb_assert(getcontext(&fiber->context) == 0);
    fiber->context.uc_stack.ss_sp = stack_count > 0 ? stacks[--stack_count] : bb_alloc(FIBER_STACK);
    fiber->context.uc_stack.ss_size = FIBER_STACK;
    fiber->node = sim.current;
    fiber->run = run;
    fiber->arg = arg;
    makecontext(&fiber->context, fiber_main, 0);
    return fiber;
}

void sim_fiber_wake(struct sim_fiber *fiber, uint64_t delay_us)
{
    if (fiber->wake != NULL && fiber->wake->at_us <= sim.now_us + delay_us)
        return;
    sim_cancel(fiber->wake);
    fiber->wake = sim_after(fiber->node, delay_us, on_wake, fiber);
}

void sim_fiber_wait(void)
{
    struct sim_fiber *fiber = sim.fiber;

    bb_assert(fiber != NULL);
    (void)swapcontext(&fiber->context, &outside);
}

void sim_fiber_sleep(uint64_t delay_us)
{
    if (sim.fiber == NULL || delay_us == 0)
        return;
    sim_fiber_wake(sim.fiber, delay_us);
    sim_fiber_wait();
}

bool sim_fiber_is_done(const struct sim_fiber *fiber)
{
    return fiber->is_done;
}

void sim_fiber_run_on(struct sim_fiber *fiber)
{
    sim_cancel(fiber->wake);
    fiber->wake = NULL;
    resume(fiber);
}

void sim_fiber_join(struct sim_fiber *fiber)
{
    while (!fiber->is_done) {
        sim_cancel(fiber->wake);
        fiber->wake = NULL;
        resume(fiber);
    }
    bb_free(fiber);
}

/* ---- the end of a process, from inside of it ---- */

void sim_die(int exit_code, const char *why)
{
    bb_assert(sim.current != NULL);
    sim_trace("process ends: exit %d, %s", exit_code, why);
    is_leaving = true;
    leave_code = exit_code;
    if (sim.fiber == NULL)
        siglongjmp(left, 1);
    (void)swapcontext(&sim.fiber->context, &outside);
    BB_UNREACHABLE("the fiber of a dead process runs");
}

/* ---- the loop ---- */

static void run_event(struct sim_event *event)
{
    if (sigsetjmp(left, 0) == 0) {
        event->run(event->arg);
        return;
    }
    is_leaving = false;
    sim.fiber = NULL;
    struct sim_node *node = sim.current;
    sim.current = NULL;
    sim_node_kill(node, false, leave_code == 137 ? "failpoint" : "its own end");
}

static bool is_live(struct sim_event *event)
{
    struct sim_node *node = event->node;

    if (event->is_cancelled)
        return false;
    return node == NULL || event->life == node->life;
}

void sim_run(void)
{
    while (!sim.is_over && sim.heap_count > 0) {
        struct sim_event *event = pop();
        struct sim_node *node = event->node;
        if (!is_live(event)) {
            bb_free(event);
            continue;
        }
        if (node != NULL && node->paused_until_us > event->at_us) {
            event->at_us = node->paused_until_us; /* `order` stays: they come as they were sent */
            push(event);
            continue;
        }
        sim.now_us = event->at_us;
        if (sim.now_us > sim.end_us) {
            sim_fail("stuck: the run did not end by %.1f s of its time", (double)sim.end_us / 1e6);
            break;
        }
        sim.events++;
        sim.current = node;
        run_event(event);
        sim.current = NULL;
        bb_free(event);
    }
}
