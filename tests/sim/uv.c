/*
 * The few calls of libuv and of libraft's libuv part that `libs/replog` makes, over the simulated
 * clock. Connections are not here: raft_net.c.
 */
#include <uv.h>

#include <raft/uv.h>

#include "raft_io.h"
#include "replog_internal.h"

/* ---- threads: there is one ---- */

void uv_once(uv_once_t *guard, void (*run)(void))
{
    (void)pthread_once(guard, run);
}

int uv_mutex_init(uv_mutex_t *mutex)
{
    (void)mutex;
    return 0;
}

void uv_mutex_lock(uv_mutex_t *mutex)
{
    (void)mutex;
}

void uv_mutex_unlock(uv_mutex_t *mutex)
{
    (void)mutex;
}

/* ---- timers ---- */

struct timer_run {
    uv_timer_t *timer;
    unsigned generation; /* timers are started anew; what was planned before is void */
};

static void on_timer(void *arg)
{
    struct timer_run *run = arg;
    uv_timer_t *timer = run->timer;

    if (timer->start_id != run->generation) {
        bb_free(run);
        return;
    }
    struct sim_node *node = sim.current;
    if (timer->repeat != 0) {
        (void)sim_after(node, timer->repeat * 1000, on_timer, run);
    } else {
        timer->start_id++;
        bb_free(run);
    }
    timer->timer_cb(timer); /* may stop or close it */
    sim_loop_touch(node);
}

int uv_timer_init(uv_loop_t *loop, uv_timer_t *timer)
{
    memset(timer, 0, sizeof *timer);
    timer->loop = loop;
    return 0;
}

int uv_timer_start(uv_timer_t *timer, uv_timer_cb run, uint64_t first_ms, uint64_t repeat_ms)
{
    struct timer_run *planned = bb_alloc(sizeof *planned);

    timer->start_id++;
    timer->timer_cb = run;
    timer->repeat = repeat_ms;
    *planned = (struct timer_run){ .timer = timer, .generation = (unsigned)timer->start_id };
    (void)sim_after(sim.current, first_ms * 1000 + sim_below(1000), on_timer, planned);
    return 0;
}

int uv_timer_stop(uv_timer_t *timer)
{
    timer->start_id++;
    return 0;
}

/* ---- what runs a little later ---- */

struct later {
    struct bb_list link;
    struct sim_node *node;
    uint32_t life;
    void (*run)(void *arg);
    void *arg;
};
static struct bb_list laters;

static void run_later(void *arg)
{
    struct later *later = arg;

    if (later->run == NULL)
        return; /* uv_run was faster */
    void (*run)(void *arg) = later->run;
    later->run = NULL;
    bb_list_remove(&later->link);
    run(later->arg);
}

void sim_uv_later(void (*run)(void *arg), void *arg)
{
    struct later *later = bb_alloc(sizeof *later);

    if (laters.next == NULL)
        bb_list_init(&laters);
    *later =
        (struct later){ .node = sim.current, .life = sim.current->life, .run = run, .arg = arg };
    bb_list_push_back(&laters, &later->link);
    (void)sim_after(sim.current, 1 + sim_below(100), run_later, later);
}

/* Only to wait for the end of a log. */
int uv_run(uv_loop_t *loop, uv_run_mode mode)
{
    (void)loop;
    (void)mode;
    bb_list_each(item, &laters) {
        struct later *later = bb_container(item, struct later, link);
        if (later->node == sim.current && later->life == sim.current->life) {
            run_later(later);
            return 0;
        }
    }
    BB_UNREACHABLE("a log that waits for nothing does not end");
}

/* No time passes within a turn. */
void uv_update_time(uv_loop_t *loop)
{
    (void)loop;
}

void uv_stop(uv_loop_t *loop)
{
    (void)loop;
}

static void on_closed(void *arg)
{
    uv_handle_t *handle = arg;

    handle->close_cb(handle);
}

void uv_close(uv_handle_t *handle, uv_close_cb closed)
{
    (void)uv_timer_stop((uv_timer_t *)handle); /* nothing else is closed here */
    handle->close_cb = closed;
    sim_uv_later(on_closed, handle);
}

int uv_ip4_addr(const char *ip, int port, struct sockaddr_in *address)
{
    (void)ip;
    (void)port;
    memset(address, 0, sizeof *address); /* the simulator's addresses are good */
    return 0;
}

/* ---- libraft's transport and disk by libuv: in raft_net.c and raft_disk.c ---- */

int raft_uv_tcp_init(struct raft_uv_transport *transport, struct uv_loop_s *loop)
{
    (void)transport;
    (void)loop;
    return 0;
}

void raft_uv_tcp_close(struct raft_uv_transport *transport)
{
    (void)transport;
}

int raft_uv_tcp_set_bind_address(struct raft_uv_transport *transport, const char *address)
{
    (void)transport;
    (void)address;
    return 0;
}

void raft_uv_close(struct raft_io *io)
{
    (void)io;
}

void raft_uv_set_auto_recovery(struct raft_io *io, bool is_on)
{
    (void)io;
    bb_assert(!is_on);
}

void raft_uv_set_disk_retry(struct raft_io *io, unsigned ms)
{
    (void)io;
    (void)ms;
}

void raft_uv_set_connect_retry_delay(struct raft_io *io, unsigned ms)
{
    (void)io;
    (void)ms;
}

struct sim_raft_life *sim_raft_life_of(struct raft_io *io)
{
    return io->impl;
}

static int init(struct raft_io *io, raft_id id, const char *address)
{
    struct sim_raft_life *life = sim_raft_life_of(io);

    life->id = id;
    life->address = bb_strdup(address);
    return 0;
}

static void on_tick(void *arg)
{
    struct sim_raft_life *life = arg;

    if (life->is_closed)
        return;
    (void)sim_after(life->node, life->tick_ms * 1000u, on_tick, life);
    life->tick(life->io);
    sim_loop_touch(life->node);
}

static int start(struct raft_io *io, unsigned ms, raft_io_tick_cb tick, raft_io_recv_cb recv)
{
    struct sim_raft_life *life = sim_raft_life_of(io);
    struct bb_replog *replog = bb_container(io, struct bb_replog, io);

    life->tick = tick;
    life->recv = recv;
    life->tick_ms = ms;
    /* A run is short: the log is cut as often as in a day of the real world. */
    replog->snapshot_bytes = sim.log_bytes;
    replog->hold_bytes_max = 4 * sim.log_bytes; /* some states come too late, others do not */
    replog->trailing_max = sim.log_trailing;
    (void)sim_after(life->node, sim_below(ms * 1000u), on_tick, life);
    return 0;
}

static raft_time time_ms(struct raft_io *io)
{
    struct sim_node *node = sim_raft_life_of(io)->node;

    return node->env.ops->now_us(&node->env) / 1000;
}

static int random_between(struct raft_io *io, int min, int max)
{
    (void)io;
    return min + (int)sim_below((uint64_t)(max - min) + 1);
}

struct closing {
    struct raft_io *io;
    raft_io_close_cb closed;
};

static void on_io_closed(void *arg)
{
    struct closing *closing = arg;
    struct sim_raft_life *life = sim_raft_life_of(closing->io);

    sim_raft_net_close(life);
    sim_raft_disk_close(life);
    closing->closed(closing->io);
    bb_free(closing);
}

static void close_io(struct raft_io *io, raft_io_close_cb closed)
{
    struct sim_raft_life *life = sim_raft_life_of(io);
    struct closing *closing = bb_alloc(sizeof *closing);

    life->is_closed = true;
    life->disk->life = NULL;
    *closing = (struct closing){ .io = io, .closed = closed };
    sim_uv_later(on_io_closed, closing);
}

int raft_uv_init(struct raft_io *io, struct uv_loop_s *loop, const char *dir,
                 struct raft_uv_transport *transport)
{
    struct sim_raft_life *life = bb_alloc_zero(1, sizeof *life);
    struct sim_node *node = sim.current;

    (void)loop;
    (void)dir;
    (void)transport;
    if (node->raft == NULL) {
        node->raft = bb_alloc_zero(1, sizeof *node->raft);
        node->raft->first = 1;
    }
    life->io = io;
    life->node = node;
    life->disk = node->raft;
    life->disk->life = life;
    bb_list_init(&life->writes);
    bb_list_init(&life->sends);
    bb_list_init(&life->gets);
    *io = (struct raft_io){ .version = 2, .impl = life };
    io->init = init;
    io->close = close_io;
    io->start = start;
    io->send = sim_raft_send;
    io->time = time_ms;
    io->random = random_between;
    sim_raft_disk_methods(io);
    return 0;
}

/* ---- libs/replog's own handshakes: raft_net.c asks what they ask ---- */

void replog_wrap_transport(struct bb_replog *replog)
{
    (void)replog;
}

uint64_t replog_peers_received(struct bb_replog *replog, uint64_t id)
{
    return sim_raft_received(sim_raft_life_of(&replog->io), id);
}

void replog_peers_tick(struct bb_replog *replog)
{
    (void)replog;
}

/* Of the library; libuv's loop calls it after each round. */
void LegacyFireCompletedRequests(struct raft *raft);

static void fire(void *arg)
{
    struct sim_raft_life *life = arg;

    life->is_touched = false;
    if (life->is_closed || life->io->data == NULL)
        return;
    life->io->capacity = life->node->disk->is_full ? 0 : SIM_RAFT_CAPACITY_KB;
    LegacyFireCompletedRequests(life->io->data);
}

void sim_raft_touch(struct sim_node *node)
{
    struct sim_raft_life *life = node->raft == NULL ? NULL : node->raft->life;

    if (life != NULL && !life->is_touched) {
        life->is_touched = true;
        (void)sim_after(node, 1 + sim_below(10), fire, life);
    }
}
