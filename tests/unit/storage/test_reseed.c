/*
 * A replica that fell behind what the log still holds is brought up by a
 * checkpoint while the others serve: with kills in the middle, on either side. And what the leader
 * answers while its log waits for the others. The nodes and the driver are processes of their own;
 * the test's process never touches the network, so it may fork.
 */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <netinet/in.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bb/storage_service.h"
#include "client.h"

#define ROLE "BB_TEST_RESEED_ROLE"
enum {
    NODES = 3,
    STORY_SECONDS = 150,
    DOCUMENT = 50000,
    PER_BATCH = 3 /* the log keeps 128 batches at least */
};

extern char **environ;

struct replica {
    pid_t pid;
    struct client client;
};
struct cluster {
    char dir[64];
    struct replica nodes[NODES + 1]; /* by number */
    struct client *writer;
    uint64_t keys;
};

/* ---- a node ---- */

static int run_node(const char *dir, int number, const char *rate)
{
    char name[] = "bb-storage", listen[160], data[160], log[160], id[32], raft[64], peers[256];
    char copy[64], path[160], admin[] = "--admin-listen=off", days[] = "--retention-days=0";
    int ports[NODES];
    snprintf(path, sizeof path, "%s/ports", dir);
    FILE *file = fopen(path, "rb");
    check(file != NULL && fread(ports, sizeof ports, 1, file) == 1);
    fclose(file);
    snprintf(log, sizeof log, "%s/log%d", dir, number);
    check(dup2(open(log, O_WRONLY | O_CREAT | O_APPEND, 0600), 2) == 2);
    snprintf(listen, sizeof listen, "--listen=ipc://%s/socket%d", dir, number);
    snprintf(data, sizeof data, "--data=%s/data%d", dir, number);
    snprintf(id, sizeof id, "--raft-id=%d", number);
    snprintf(raft, sizeof raft, "--raft-listen=127.0.0.1:%d", ports[number - 1]);
    snprintf(peers, sizeof peers, "--peers=1=127.0.0.1:%d,2=127.0.0.1:%d,3=127.0.0.1:%d", ports[0],
             ports[1], ports[2]);
    snprintf(copy, sizeof copy, "--copy-rate=%s", rate);
    char *argv[] = { name, listen, data, admin, days, id, raft, copy, peers, NULL };
    return bb_service_main(&bb_storage_service, 9, argv);
}

/* Its client connects anew, so that nothing of the process before is waited for. */
static void start(struct cluster *cluster, int number, const char *rate)
{
    struct client *client = &cluster->nodes[number].client;
    struct client old = *client; /* the epoch goes on */
    char url[160];
    snprintf(url, sizeof url, "ipc://%s/socket%d", cluster->dir, number);
    if (client->loop != NULL)
        client_close(client);
    client_open(client, url);
    client->epoch = old.epoch;
    client->seq = old.seq;
    client->tx = old.tx;
    memcpy(client->holder, old.holder, sizeof old.holder);
    char role[] = "node", text[16], speed[16];
    snprintf(text, sizeof text, "%d", number);
    snprintf(speed, sizeof speed, "%s", rate);
    char *argv[] = { role, cluster->dir, text, speed, NULL };
    setenv(ROLE, "node", 1);
    check(posix_spawn(&cluster->nodes[number].pid, "/proc/self/exe", NULL, NULL, argv, environ) ==
          0);
}

static void kill_node(struct cluster *cluster, int number)
{
    int status;
    kill(cluster->nodes[number].pid, SIGKILL);
    check(waitpid(cluster->nodes[number].pid, &status, 0) == cluster->nodes[number].pid);
    check(WIFSIGNALED(status)); /* it had not ended by itself */
    cluster->nodes[number].pid = 0;
}

/* ---- looking from outside ---- */

static bool is_there(const struct cluster *cluster, int number, const char *name)
{
    char path[256];
    snprintf(path, sizeof path, "%s/data%d/%s", cluster->dir, number, name);
    return access(path, F_OK) == 0;
}

static int times_logged(const struct cluster *cluster, int number, const char *event)
{
    char path[256], line[2048];
    int count = 0;
    snprintf(path, sizeof path, "%s/log%d", cluster->dir, number);
    FILE *file = fopen(path, "r");
    while (file != NULL && fgets(line, sizeof line, file) != NULL)
        count += strstr(line, event) != NULL;
    if (file != NULL)
        fclose(file);
    return count;
}

/* 60 s for whatever a loaded machine needs. */
#define until(condition)                                          \
    do {                                                          \
        int until_tries = 0;                                      \
        while (!(condition) && until_tries++ < 12000)             \
            usleep(5000);                                         \
        if (until_tries >= 12000) {                               \
            fprintf(stderr, "never came true: %s\n", #condition); \
            check(false);                                         \
        }                                                         \
    } while (false)

static int leader_of(struct cluster *cluster)
{
    for (int number = 1; number <= NODES; number++) {
        struct replica *node = &cluster->nodes[number];
        if (node->pid != 0 && client_info(&node->client) == BB_OK &&
            node->client.reply->info->is_leader)
            return number;
    }
    return 0;
}

/* As the sequencer does: the same batch goes to whoever leads now, until it is answered. */
static void write_more(struct cluster *cluster, int batches)
{
    for (int i = 0; i < batches; i++) {
        int rc;
        while ((rc = client_append(cluster->writer, cluster->keys, PER_BATCH, DOCUMENT)) != BB_OK) {
            struct client *old = cluster->writer;
            int leader;
            check(rc != BB_FENCED && rc != BB_GAP && rc != BB_BAD_REQUEST);
            usleep(5000);
            until((leader = leader_of(cluster)) != 0);
            cluster->writer = &cluster->nodes[leader].client;
            cluster->writer->epoch = old->epoch;
            cluster->writer->seq = old->seq;
            cluster->writer->tx = old->tx;
            memcpy(cluster->writer->holder, old->holder, sizeof old->holder);
        }
        cluster->keys += PER_BATCH;
    }
}

/* The one that leads now is written to, from where it stands. */
static void take_over(struct cluster *cluster)
{
    int leader = 0;
    until((leader = leader_of(cluster)) != 0);
    cluster->writer = &cluster->nodes[leader].client;
    client_claim_next(cluster->writer);
}

static bool has_tx(struct cluster *cluster, int number, uint64_t tx)
{
    struct client *client = &cluster->nodes[number].client;
    return client_info(client) == BB_OK && client->reply->info->last_tx >= tx;
}

static uint64_t hash_at(struct cluster *cluster, int number, uint64_t tx)
{
    struct client *client = &cluster->nodes[number].client;
    Bb__Proto__StorageRequest request = BB__PROTO__STORAGE_REQUEST__INIT;
    Bb__Proto__StateHash hash = BB__PROTO__STATE_HASH__INIT;
    hash.tx = tx;
    request.op_case = BB__PROTO__STORAGE_REQUEST__OP_STATE_HASH;
    request.state_hash = &hash;
    until(client_call(client, &request, 30000) == BB_OK);
    check(client->reply->state_hash->tx == tx);
    return client->reply->state_hash->hash;
}

/* Each node that runs holds, at the newest tx, what the leader holds. */
static void check_equal(struct cluster *cluster)
{
    uint64_t tx = cluster->writer->tx, hash = 0;
    for (int number = 1; number <= NODES; number++) {
        if (cluster->nodes[number].pid == 0)
            continue;
        until(has_tx(cluster, number, tx));
        uint64_t own = hash_at(cluster, number, tx);
        check(hash == 0 || own == hash);
        hash = own;
    }
}

/* Reads the feed from `at` to its end as a consumer does; where it ends. */
static uint64_t follow_feed(struct client *client, uint64_t at)
{
    for (;;) {
        until(client_tail(client, at, 4 << 20, 0) == BB_OK);
        const Bb__Proto__TailReply *tail = client->reply->tail;
        if (tail->n_records == 0)
            return at;
        for (size_t i = 0; i < tail->n_records; i++) {
            Bb__Proto__TxRecord *record;
            struct bb_arena *arena = bb_arena_new(0);
            check(bb_unpack(client->ctx, arena, &bb__proto__tx_record__descriptor,
                            bb_pb_slice(tail->records[i]), &record) == BB_OK);
            check(record->prev == at);
            at = record->tx;
            bb_arena_free(arena);
        }
    }
}

/* ---- the stories ---- */

static void begin(struct cluster *cluster, const char *dir)
{
    char path[160];
    int ports[NODES], fds[NODES];
    srand((unsigned)getpid());
    memset(cluster, 0, sizeof *cluster);
    snprintf(cluster->dir, sizeof cluster->dir, "%s", dir);
    for (int i = 0; i < NODES; i++) {
        struct sockaddr_in address = { .sin_family = AF_INET };
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        do {
            ports[i] = 20000 + rand() % 12000;
            address.sin_port = htons((uint16_t)ports[i]);
        } while (bind(fds[i], (struct sockaddr *)&address, sizeof address) != 0);
    }
    for (int i = 0; i < NODES; i++)
        close(fds[i]);
    snprintf(path, sizeof path, "%s/ports", dir);
    FILE *file = fopen(path, "wb");
    check(file != NULL && fwrite(ports, sizeof ports, 1, file) == 1);
    fclose(file);
    for (int number = 1; number <= 3; number++)
        start(cluster, number, "100M");
    take_over(cluster);
}

static int follower_of(struct cluster *cluster, int than)
{
    for (int number = 1; number <= 3; number++) {
        if (&cluster->nodes[number].client != cluster->writer && number != than)
            return number;
    }
    return 0;
}

static int writer_number(struct cluster *cluster)
{
    for (int number = 1; number <= NODES; number++) {
        if (&cluster->nodes[number].client == cluster->writer)
            return number;
    }
    return 0;
}

/* Of the entries with which the stories begin the node's log has none any more: who is behind needs
 * a checkpoint. */
static bool is_log_cut(const struct cluster *cluster, int number)
{
    uint64_t first = 0;
    char path[128];
    struct dirent *entry;
    DIR *dir;

    snprintf(path, sizeof path, "%s/data%d/raft", cluster->dir, number);
    dir = opendir(path);
    check(dir != NULL);
    while ((entry = readdir(dir)) != NULL) {
        char *end; /* a closed file of the log is FIRST-LAST */
        uint64_t from = strtoull(entry->d_name, &end, 10);
        if (end != entry->d_name && *end == '-' && (first == 0 || from < first))
            first = from;
    }
    (void)closedir(dir);
    return first > 20;
}

/* A log is cut behind what its node's data holds, which comes a moment later than the writes. */
static void write_until_logs_are_cut(struct cluster *cluster, int but_for, int count)
{
    write_more(cluster, count);
    for (int number = 1; number <= NODES; number++) {
        while (number != but_for && !is_log_cut(cluster, number)) {
            usleep(50000);
            write_more(cluster, 10);
        }
    }
}

/* It was down while so much was written that the log was cut behind it. */
static void tell_behind(const char *dir)
{
    struct cluster cluster;
    begin(&cluster, dir);
    write_more(&cluster, 3);
    int behind = follower_of(&cluster, 0);
    until(has_tx(&cluster, behind, cluster.writer->tx));
    uint64_t seen = cluster.writer->tx;
    kill_node(&cluster, behind);
    write_until_logs_are_cut(&cluster, behind, 400);
    start(&cluster, behind, "100M");
    until(has_tx(&cluster, behind, cluster.writer->tx));
    check(times_logged(&cluster, behind, "storage.reseeded") > 0);
    check_equal(&cluster);

    /* p3: what its own feed lacks comes from another one, from any position on, without a gap. */
    struct client *client = &cluster.nodes[behind].client;
    check(follow_feed(client, 0) == cluster.writer->tx);
    check(follow_feed(client, seen) == cluster.writer->tx);
    check(client_info(client) == BB_OK);
    uint64_t earliest = client->reply->info->earliest;
    check(earliest > seen);
    write_more(&cluster, 2);
    until(has_tx(&cluster, behind, cluster.writer->tx));
    check(client_tail(client, earliest, 100000, 0) == BB_OK);
    check_equal(&cluster);

    /* And after a kill it is what it was. */
    kill_node(&cluster, behind);
    start(&cluster, behind, "100M");
    check_equal(&cluster);
    check(!is_there(&cluster, behind, "store/incoming"));
    _exit(0);
}

/* The one that sends dies in the middle, then the one that receives. */
static void tell_killed(const char *dir)
{
    struct cluster cluster;
    begin(&cluster, dir);
    write_more(&cluster, 1);
    int behind = follower_of(&cluster, 0), other = follower_of(&cluster, behind);
    int sender = writer_number(&cluster);
    kill_node(&cluster, behind);
    kill_node(&cluster, other);
    start(&cluster, other, "4M"); /* slow senders */
    until(has_tx(&cluster, other, cluster.writer->tx));
    kill_node(&cluster, sender);
    start(&cluster, sender, "4M");
    take_over(&cluster);
    write_until_logs_are_cut(&cluster, behind, 300);
    sender = writer_number(&cluster);
    other = sender == other ? 6 - behind - sender : other;
    start(&cluster, behind, "4M");
    until(is_there(&cluster, behind, "store/incoming/data.mdb"));
    usleep(300000);
    until((sender = leader_of(&cluster)) != 0);
    check(sender != behind);
    kill_node(&cluster, sender);
    until(times_logged(&cluster, behind, "storage.reseed_failed") > 0);
    until(is_there(&cluster, behind, "store/incoming/data.mdb"));
    usleep(300000);
    kill_node(&cluster, behind);
    check(is_there(&cluster, behind, "store/incoming"));
    check(times_logged(&cluster, behind, "storage.reseeded") == 0);
    start(&cluster, behind, "100M");
    start(&cluster, sender, "100M");
    take_over(&cluster);
    until(times_logged(&cluster, behind, "storage.reseeded") > 0);
    write_more(&cluster, 1);
    check_equal(&cluster);
    _exit(0);
}

static void signal_followers(struct cluster *cluster, int leader, int signal)
{
    for (int number = 1; number <= NODES; number++) {
        if (number != leader)
            kill(cluster->nodes[number].pid, signal);
    }
}

/* As if by a sequencer of no epoch, so that nobody's claim has to wait for it. */
static int ask_to_renew(struct client *client)
{
    client->epoch = UINT64_MAX;
    return client_renew(client);
}

/*
 * While followers are stopped, a claim that the leader has put into its log is not applied. False:
 * the leader gave up before the claim reached it, as happens where the machine is slow.
 */
static bool renew_beside_a_claim(struct cluster *cluster)
{
    struct client claimer;
    int leader = 0, rc = BB_OK;
    bool is_refused = false;
    char url[160];
    take_over(cluster);
    until((leader = leader_of(cluster)) != 0);
    struct client *node = &cluster->nodes[leader].client;
    snprintf(url, sizeof url, "ipc://%s/socket%d", cluster->dir, leader);
    client_open(&claimer, url);
    usleep(1200000); /* the epoch's holder is silent for longer than its lease */
    check(client_info(&claimer) == BB_OK);
    uint64_t want = claimer.reply->info->epoch + 1;
    signal_followers(cluster, leader, SIGSTOP);
    client_send_claim(&claimer, want);
    while (claimer.is_waiting && !is_refused) {
        (void)uv_run(bb_loop_uv(claimer.loop), UV_RUN_NOWAIT);
        rc = ask_to_renew(node);
        is_refused = rc == BB_NOT_YET;
        if (rc == BB_OK && node->reply->renew->leader != node->reply->renew->node)
            break;
    }
    signal_followers(cluster, leader, SIGCONT);
    (void)client_wait(&claimer);
    client_close(&claimer);
    if (is_refused)
        until((leader = leader_of(cluster)) != 0 &&
              ask_to_renew(&cluster->nodes[leader].client) == BB_OK);
    return is_refused;
}

/* Else whoever held the epoch would have a lease while the one that claims it is active already. */
static void tell_claimed(const char *dir)
{
    struct cluster cluster;
    bool is_refused = false;
    begin(&cluster, dir);
    for (int i = 0; i < 8 && !is_refused; i++)
        is_refused = renew_beside_a_claim(&cluster);
    check(is_refused);
    _exit(0);
}

/* ---- the processes ---- */

__attribute__((constructor)) static void take_role(int argc, char **argv)
{
    const char *role = getenv(ROLE);
    if (role == NULL || argc < 2)
        return;
    if (strcmp(role, "node") == 0)
        _exit(run_node(argv[1], atoi(argv[2]), argv[3]));
    (void)alarm(STORY_SECONDS); /* a story that hangs is one that failed */
    if (strcmp(role, "behind") == 0)
        tell_behind(argv[1]);
    if (strcmp(role, "claimed") == 0)
        tell_claimed(argv[1]);
    tell_killed(argv[1]);
}

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *where)
{
    (void)info, (void)kind, (void)where;
    return remove(path);
}

/* In a process group of its own, so that no node outlives a story that failed. */
static void tell(const char *story)
{
    char dir[] = "/tmp/bb-reseed-XXXXXX";
    int status;
    cr_assert_not_null(mkdtemp(dir));
    pid_t driver = fork();
    if (driver == 0) {
        setpgid(0, 0);
        setenv(ROLE, story, 1);
        execl("/proc/self/exe", story, dir, (char *)NULL);
        _exit(9);
    }
    waitpid(driver, &status, 0);
    kill(-driver, SIGKILL);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the story ended with %x; see %s",
              status, dir);
    usleep(100000);
    nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

Test(storage_reseed, b22_a_replica_that_fell_behind_the_log_is_reseeded, .timeout = 240)
{
    tell("behind");
}

/* Several processes that write for seconds: once is enough. */
#ifdef __SANITIZE_ADDRESS__
#define IS_SLOW true
#else
#define IS_SLOW false
#endif

Test(storage_reseed, b22_kills_of_sender_and_receiver_in_the_middle_lose_nothing, .timeout = 240,
     .disabled = IS_SLOW)
{
    tell("killed");
}

Test(storage_lease, no_renew_is_answered_while_a_claim_is_undecided, .timeout = 240)
{
    tell("claimed");
}
