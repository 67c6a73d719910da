#include <criterion/criterion.h>
#include <fcntl.h>
#include <ftw.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "bb/obs.h"
#include "bb/storage_service.h"
#include "client.h"

#define URL "inproc://test-storage"

struct node_world {
    char dir[128];
    struct bb_ctx ctx;
    struct bb_conf *conf;
    struct bb_service *service;
    bool is_memory;
};

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *where)
{
    (void)info, (void)kind, (void)where;
    return remove(path);
}

static void on_event(void *arg, enum bb_service_state state)
{
    (void)arg, (void)state;
}

static int node_start(struct node_world *world)
{
    const struct bb_option *tables[] = { bb_service_options, bb_storage_service.options, NULL };
    char name[] = "test";
    char *argv[] = { name, NULL };
    cr_assert_eq(bb_conf_parse(&world->ctx, "storage", "", tables, 1, argv, &world->conf), BB_OK);
    cr_assert_eq(bb_conf_set(&world->ctx, world->conf, "data", world->dir), BB_OK);
    cr_assert_eq(bb_conf_set(&world->ctx, world->conf, "listen", URL), BB_OK);
    if (world->is_memory)
        cr_assert_eq(bb_conf_set(&world->ctx, world->conf, "memory", "true"), BB_OK);
    int rc = bb_service_start(&world->ctx, &bb_storage_service, world->conf, world->ctx.env, NULL,
                              on_event, NULL, &world->service);
    if (rc != BB_OK)
        bb_conf_free(world->conf);
    return rc;
}

static void node_begin(struct node_world *world)
{
    memset(world, 0, sizeof *world);
    world->ctx.env = bb_env_real();
    snprintf(world->dir, sizeof world->dir, "/tmp/bb-storage-XXXXXX");
    cr_assert_not_null(mkdtemp(world->dir));
    cr_assert_eq(node_start(world), BB_OK, "%s", world->ctx.error);
}

static void node_stop(struct node_world *world)
{
    bb_service_stop(world->service);
    bb_service_join(world->service);
    bb_conf_free(world->conf);
}

static void node_end(struct node_world *world)
{
    node_stop(world);
    nftw(world->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* Every record once, in order, from `after`; returns how many. */
static size_t tail_all(struct client *client, uint64_t after, uint32_t max_bytes)
{
    size_t count = 0;
    uint64_t at = after;
    do {
        cr_assert_eq(client_tail(client, at, max_bytes, 0), BB_OK, "%s",
                     client->reply == NULL ? "no reply" : client->reply->error);
        const Bb__Proto__TailReply *tail = client->reply->tail;
        for (size_t i = 0; i < tail->n_records; i++) {
            Bb__Proto__TxRecord *record;
            struct bb_arena *arena = bb_arena_new(0);
            cr_assert_eq(bb_unpack(client->ctx, arena, &bb__proto__tx_record__descriptor,
                                   bb_pb_slice(tail->records[i]), &record),
                         BB_OK);
            cr_assert_eq(record->prev, at);
            at = record->tx;
            bb_arena_free(arena);
            count++;
        }
        if (tail->n_records == 0)
            cr_assert_eq(tail->last_tx, at);
    } while (client->reply->tail->n_records > 0);
    return count;
}

/* `count` gets in one request; with `is_range` the first one is a range. */
static void read_many(struct client *client, size_t count, bool is_range)
{
    Bb__Proto__StorageRequest request = BB__PROTO__STORAGE_REQUEST__INIT;
    Bb__Proto__Read read = BB__PROTO__READ__INIT;
    Bb__Proto__ReadOp ops[32], *list[32];
    uint8_t keys[32][20], high[4] = { 0xff, 0xff, 0xff, 0xff };
    for (size_t i = 0; i < count; i++) {
        bb__proto__read_op__init(&ops[i]);
        client_key(i, keys[i]);
        ops[i].low = bb_slice_pb(bb_slice(keys[i], sizeof keys[i]));
        list[i] = &ops[i];
    }
    if (is_range)
        ops[0].high = bb_slice_pb(bb_slice(high, sizeof high));
    read.n_ops = count;
    read.ops = list;
    request.op_case = BB__PROTO__STORAGE_REQUEST__OP_READ;
    request.read = &read;
    cr_assert_eq(client_call(client, &request, 5000), BB_OK);
    cr_assert_eq(client->reply->read->n_results, count);
    cr_assert_eq(client->reply->read->results[1]->n_entries, 1);
}

Test(storage, a_few_gets_are_answered_at_once_and_all_else_by_a_reader, .timeout = 30)
{
    struct node_world world;
    struct client client;
    struct bb_metric *here = bb_metric("bb_storage_read_here_total", BB_COUNTER, "");
    node_begin(&world);
    client_open(&client, URL);
    client_claim_next(&client);
    cr_assert_eq(client_append(&client, 0, 20, 100), BB_OK);
    for (int i = 0; i < 20; i++) {
        read_many(&client, 17, false);
        read_many(&client, 2, true);
    }
    cr_assert_eq(bb_metric_get(here), 0);
    for (int i = 0; i < 20; i++)
        read_many(&client, 16, false);
    cr_assert_gt(bb_metric_get(here), 0, "all of them, if this thread never waited for the disk");
    client_close(&client);
    node_end(&world);
}

Test(storage, append_is_read_back_and_in_the_feed, .timeout = 30)
{
    struct node_world world;
    struct client client;
    uint64_t tx;
    node_begin(&world);
    client_open(&client, URL);
    client_claim_next(&client);
    cr_assert_eq(client.epoch, 1);
    cr_assert_eq(client_append(&client, 1, 3, 100), BB_OK);
    cr_assert_eq(client_append(&client, 3, 2, 100), BB_OK);
    cr_assert_eq(client_get(&client, 0, 1, &tx), BB_OK);
    cr_assert_eq(tx, 10);
    cr_assert_eq(client_get(&client, 50, 3, &tx), BB_OK);
    cr_assert_eq(tx, 40);
    cr_assert_eq(client_get(&client, 30, 3, &tx), BB_OK);
    cr_assert_eq(tx, 30, "a read at an older tx sees the older version");
    cr_assert_eq(client_get(&client, 50, 77, &tx), BB_OK);
    cr_assert_eq(tx, 0);
    cr_assert_eq(client_get(&client, 60, 1, &tx), BB_NOT_YET);
    cr_assert_eq(tail_all(&client, 0, 0), 5);
    cr_assert_eq(tail_all(&client, 0, 1), 5);
    cr_assert_eq(tail_all(&client, 30, 0), 2);
    cr_assert_eq(client_info(&client), BB_OK);
    cr_assert_eq(client.reply->info->last_tx, 50);
    cr_assert_eq(client.reply->info->last_seq, 2);
    cr_assert(client.reply->info->is_leader);
    cr_assert_eq(client.reply->info->cluster_id.len, 16);
    client_close(&client);
    node_end(&world);
}

Test(storage, repeated_gapped_and_fenced_batches_get_their_answers, .timeout = 30)
{
    struct node_world world;
    struct client client, other;
    struct bb_buf batch, wrong;
    node_begin(&world);
    client_open(&client, URL);
    client_open(&other, URL);
    client_claim_next(&client);
    bb_buf_init(&batch);
    bb_buf_init(&wrong);
    client_batch(0, 1, 2, 50, &batch);
    client_batch(0, 5, 2, 50, &wrong);
    struct bb_slice bytes = bb_buf_slice(&batch);
    cr_assert_eq(client_append_raw(&client, 1, 2, 0, 20, bytes), BB_GAP);
    cr_assert_eq(client.reply->append->last_seq, 0);
    cr_assert_eq(client_append_raw(&client, 1, 1, 5, 20, bytes), BB_BAD_REQUEST);
    cr_assert_eq(client_append_raw(&client, 1, 1, 0, 21, bytes), BB_BAD_REQUEST);
    cr_assert_eq(client_append_raw(&client, 1, 1, 0, 20, bb_slice(bytes.data, bytes.size - 1)),
                 BB_BAD_REQUEST);
    cr_assert_eq(client_append_raw(&client, 1, 1, 0, 20, bytes), BB_OK);
    cr_assert_eq(client_append_raw(&client, 1, 1, 0, 20, bytes), BB_OK);
    cr_assert_eq(client.reply->append->last_seq, 1);
    cr_assert_eq(client.reply->append->last_tx, 20);
    cr_assert_eq(client_append_raw(&client, 1, 1, 0, 20, bb_buf_slice(&wrong)), BB_FENCED);
    cr_assert_eq(client_append_raw(&client, 2, 2, 20, 30, bytes), BB_BAD_REQUEST);
    cr_assert_eq(tail_all(&client, 0, 0), 2, "nothing was applied twice");

    cr_assert_eq(client_claim(&other, 1), BB_FENCED);
    cr_assert_eq(client_claim(&other, 2), BB_OK);
    cr_assert_eq(other.tx, 20);
    client.seq = 1;
    client.tx = 20;
    cr_assert_eq(client_append(&client, 9, 1, 10), BB_FENCED);
    cr_assert_eq(client_append(&other, 9, 1, 10), BB_OK);
    bb_buf_fini(&batch);
    bb_buf_fini(&wrong);
    client_close(&client);
    client_close(&other);
    node_end(&world);
}

Test(storage, claim_waits_until_the_lease_of_the_holder_has_ended, .timeout = 30)
{
    struct node_world world;
    struct client client, other;
    node_begin(&world);
    client_open(&client, URL);
    client_open(&other, URL);
    client_claim_next(&client);
    cr_assert_eq(client_renew(&client), BB_OK);
    cr_assert_eq(client.reply->renew->epoch, 1);
    cr_assert_eq(client.reply->renew->leader, 1);
    uint64_t start = bb_now_us(client.ctx);
    cr_assert_eq(client_claim(&other, 2), BB_OK);
    uint64_t waited_ms = (bb_now_us(client.ctx) - start) / 1000;
    cr_assert(waited_ms >= 800 && waited_ms < 1500, "waited %d ms", (int)waited_ms);
    cr_assert_eq(client_claim(&client, 1), BB_FENCED);
    client_close(&client);
    client_close(&other);
    node_end(&world);
}

Test(storage, tail_waits_for_what_comes_without_holding_up_others, .timeout = 30)
{
    struct node_world world;
    struct client client, readers[20];
    node_begin(&world);
    client_open(&client, URL);
    client_claim_next(&client);
    cr_assert_eq(client_append(&client, 1, 1, 10), BB_OK);
    uint64_t start = bb_now_us(client.ctx);
    cr_assert_eq(client_tail(&client, 10, 0, 200), BB_OK);
    cr_assert_eq(client.reply->tail->n_records, 0);
    cr_assert_eq(client.reply->tail->last_tx, 10);
    cr_assert_geq(bb_now_us(client.ctx) - start, 190000);

    for (size_t i = 0; i < BB_COUNT_OF(readers); i++) {
        client_open(&readers[i], URL);
        client_send_tail(&readers[i], 10 + 10 * (i / 10), 0, 10000); /* half waits for one more */
    }
    cr_assert_eq(client_append(&client, 2, 1, 10), BB_OK);
    for (size_t i = 0; i < 10; i++) {
        cr_assert_eq(client_wait(&readers[i]), BB_OK);
        cr_assert_eq(readers[i].reply->tail->n_records, 1);
    }
    cr_assert_eq(client_append(&client, 2, 1, 10), BB_OK);
    for (size_t i = 10; i < 20; i++) {
        cr_assert_eq(client_wait(&readers[i]), BB_OK);
        cr_assert_eq(readers[i].reply->tail->n_records, 1);
        cr_assert_eq(readers[i].reply->tail->last_tx, 30);
    }
    cr_assert_lt(bb_now_us(client.ctx) - start, 5000000, "nobody waited for a timeout");
    for (size_t i = 0; i < BB_COUNT_OF(readers); i++)
        client_close(&readers[i]);
    client_close(&client);
    node_end(&world);
}

Test(storage, graceful_end_answers_those_who_wait, .timeout = 30)
{
    struct node_world world;
    struct client client, reader;
    node_begin(&world);
    client_open(&client, URL);
    client_open(&reader, URL);
    client_claim_next(&client);
    client_send_tail(&reader, 0, 0, 20000);
    cr_assert_eq(client_append(&client, 2, 1, 10), BB_OK);
    cr_assert_eq(client_wait(&reader), BB_OK);
    client_send_tail(&reader, 10, 0, 20000);
    cr_assert_eq(client_info(&client), BB_OK);
    uint64_t start = bb_now_us(client.ctx);
    node_stop(&world);
    client_wait(&reader);
    cr_assert_lt(bb_now_us(client.ctx) - start, 3000000);
    client_close(&client);
    client_close(&reader);
    nftw(world.dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

Test(storage, p11_memory_keeps_nothing_and_leaves_no_folder, .timeout = 30)
{
    struct node_world world;
    struct client client;
    uint64_t tx;
    glob_t before, after;
    memset(&world, 0, sizeof world);
    world.ctx.env = bb_env_real();
    world.is_memory = true;
    glob("/dev/shm/bitbend-memory-*", 0, NULL, &before);
    cr_assert_eq(node_start(&world), BB_OK, "%s", world.ctx.error);
    client_open(&client, URL);
    client_claim_next(&client);
    cr_assert_eq(client_append(&client, 1, 3, 100), BB_OK);
    cr_assert_eq(client_get(&client, 30, 2, &tx), BB_OK);
    cr_assert_eq(tx, 20);
    client_close(&client);
    node_stop(&world);
    cr_assert_eq(node_start(&world), BB_OK, "%s", world.ctx.error);
    client_open(&client, URL);
    client_claim_next(&client);
    cr_assert_eq(client.epoch, 1, "a second run knows nothing of the first");
    client_close(&client);
    node_stop(&world);
    glob("/dev/shm/bitbend-memory-*", 0, NULL, &after);
    cr_assert_leq(after.gl_pathc, before.gl_pathc);
    globfree(&before);
    globfree(&after);
}

Test(storage, restart_has_everything_and_goes_on, .timeout = 60)
{
    struct node_world world;
    struct client client;
    uint64_t tx, expected[20];
    node_begin(&world);
    for (size_t round = 0; round < 4; round++) {
        client_open(&client, URL);
        client_claim_next(&client);
        cr_assert_eq(client.epoch, round + 1);
        for (uint64_t k = 0; k < 20; k++) {
            cr_assert_eq(client_append(&client, k, 1, 3000), BB_OK);
            expected[k] = client.tx;
        }
        client_close(&client);
        node_stop(&world);
        cr_assert_eq(node_start(&world), BB_OK, "%s", world.ctx.error);
        client_open(&client, URL);
        while (client_info(&client) == BB_NOT_YET)
            usleep(1000);
        for (uint64_t k = 0; k < 20; k++) {
            cr_assert_eq(client_get(&client, 0, k, &tx), BB_OK);
            cr_assert_eq(tx, expected[k]);
        }
        cr_assert_eq(tail_all(&client, 0, 4000), 20 * (round + 1));
        client_close(&client);
    }
    node_end(&world);
}

Test(storage, folder_of_another_version_is_refused_with_what_to_do, .timeout = 30)
{
    struct node_world world;
    char path[256];
    node_begin(&world);
    node_stop(&world);
    snprintf(path, sizeof path, "%s/VERSION", world.dir);
    FILE *file = fopen(path, "w");
    fputs("bitbend-data 7\ncluster 00000000000000000000000000000000\n", file);
    fclose(file);
    cr_assert_eq(node_start(&world), BB_WRONG_VERSION);
    cr_assert(strstr(world.ctx.error, "bitbend-data 7") != NULL, "%s", world.ctx.error);
    cr_assert(strstr(world.ctx.error, "--data") != NULL, "%s", world.ctx.error);
    file = fopen(path, "w");
    fputs("\x01\x02 rubbish", file);
    fclose(file);
    cr_assert_eq(node_start(&world), BB_CORRUPT);
    cr_assert(strstr(world.ctx.error, "VERSION in") != NULL, "%s", world.ctx.error);
    cr_assert(strstr(world.ctx.error, "from a backup") != NULL, "%s", world.ctx.error);
    nftw(world.dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* What a killed process does: it holds the lock a moment longer. */
static void hold_lock(void *arg)
{
    struct timespec moment = { .tv_nsec = 400000000 };
    (void)nanosleep(&moment, NULL);
    (void)close(*(int *)arg);
}

Test(storage, start_waits_for_a_process_that_is_dying, .timeout = 30)
{
    struct node_world world;
    char path[256];
    node_begin(&world);
    node_stop(&world);
    snprintf(path, sizeof path, "%s/LOCK", world.dir);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    cr_assert_eq(flock(fd, LOCK_EX | LOCK_NB), 0);
    struct bb_thread *dying = bb_thread_start("dying", hold_lock, &fd);
    cr_assert_eq(node_start(&world), BB_OK, "%s", world.ctx.error);
    bb_thread_join(dying);
    node_end(&world);
}

Test(storage, folder_in_use_is_refused_with_what_to_do, .timeout = 30)
{
    struct node_world first, second;
    node_begin(&first);
    memset(&second, 0, sizeof second);
    second.ctx.env = bb_env_real();
    memcpy(second.dir, first.dir, sizeof second.dir);
    cr_assert_eq(node_start(&second), BB_BUSY);
    cr_assert(strstr(second.ctx.error, first.dir) != NULL, "%s", second.ctx.error);
    node_end(&first);
}

Test(storage, log_that_ends_before_the_data_is_refused, .timeout = 30)
{
    static const char *const lost[] = { "raft", "feed" };
    struct node_world world;
    struct client client;
    char path[256];
    node_begin(&world);
    client_open(&client, URL);
    client_claim_next(&client);
    for (uint64_t k = 0; k < 20; k++)
        cr_assert_eq(client_append(&client, k, 1, 100), BB_OK);
    client_close(&client);
    node_stop(&world);
    /* Indexes of a new log would be taken for entries that the data has. */
    for (size_t i = 0; i < BB_COUNT_OF(lost); i++) {
        snprintf(path, sizeof path, "%s/%s", world.dir, lost[i]);
        nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    }
    cr_assert_eq(node_start(&world), BB_CORRUPT);
    cr_assert(strstr(world.ctx.error, "as a whole") != NULL, "%s", world.ctx.error);
    nftw(world.dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

Test(storage, bad_requests_are_refused_and_change_nothing, .timeout = 30)
{
    struct node_world world;
    struct client client;
    Bb__Proto__StorageRequest empty = BB__PROTO__STORAGE_REQUEST__INIT;
    node_begin(&world);
    client_open(&client, URL);
    client_claim_next(&client);
    cr_assert_eq(client_call(&client, &empty, 5000), BB_BAD_REQUEST);
    cr_assert_eq(client_append_raw(&client, 1, 0, 0, 10, bb_slice_str("no batch")), BB_BAD_REQUEST);
    cr_assert_eq(client_append_raw(&client, 1, 1, 0, 10, bb_slice_str("no batch")), BB_BAD_REQUEST);
    cr_assert_eq(client_info(&client), BB_OK);
    cr_assert_eq(client.reply->info->last_seq, 0);
    client_close(&client);
    node_end(&world);
}
