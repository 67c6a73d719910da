/*
 * kill -9 at random moments: whatever was acknowledged is there after the next start. The node and
 * its client are processes of their own; this one never touches the network, so it may fork them.
 */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <ftw.h>
#include <glob.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "bb/storage_service.h"
#include "client.h"

enum {
    ROUNDS = 12,
    KEYS = 200
};

struct places {
    char dir[64], data[96], url[128], ledger[96];
};

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *where)
{
    (void)info, (void)kind, (void)where;
    return remove(path);
}

#define ROLE "BB_TEST_KILL_ROLE"

static pid_t start_role(const struct places *places, const char *role, uint64_t seed)
{
    char number[32];
    pid_t pid = fork();
    if (pid != 0)
        return pid;
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* none outlives a test that failed */
    snprintf(number, sizeof number, "%d", (int)seed);
    setenv(ROLE, role, 1);
    execl("/proc/self/exe", role, places->dir, number, (char *)NULL);
    _exit(9);
}

static void find_places(const char *dir, struct places *places)
{
    snprintf(places->dir, sizeof places->dir, "%s", dir);
    snprintf(places->data, sizeof places->data, "%s/data", dir);
    snprintf(places->url, sizeof places->url, "ipc://%s/socket", dir);
    snprintf(places->ledger, sizeof places->ledger, "%s/ledger", dir);
}

static int run_node(const struct places *places)
{
    char name[] = "bb-storage", listen[160], data[160], admin[] = "--admin-listen=off";
    char level[] = "--log-level=error", days[] = "--retention-days=0"; /* txs are no times here */
    snprintf(listen, sizeof listen, "--listen=%s", places->url);
    snprintf(data, sizeof data, "--data=%s", places->data);
    char *argv[] = { name, listen, data, admin, level, days, NULL };
    return bb_service_main(&bb_storage_service, 6, argv);
}

/* What the ledger says was acknowledged last: seq and tx. */
static void read_ledger(const struct places *places, uint64_t *seq, uint64_t *tx)
{
    uint64_t pair[2];
    FILE *file = fopen(places->ledger, "rb");
    *seq = *tx = 0;
    while (file != NULL && fread(pair, sizeof pair, 1, file) == 1) {
        check(pair[0] == *seq + 1);
        *seq = pair[0];
        *tx = pair[1];
    }
    if (file != NULL)
        fclose(file);
}

/* The node may be killed at any call; any other failure is one. */
static void ok_or_gone(const struct client *client, int status)
{
    if (client->reply == NULL)
        _exit(0);
    if (status != BB_OK)
        fprintf(stderr, "%s: %s\n", bb_status_name(status), client->reply->error);
    check(status == BB_OK);
}

/* Everything up to the last tx of the claim: each key's newest writer, and the feed without a gap.
 */
static void verify(struct client *client)
{
    uint64_t *newest = calloc(KEYS, sizeof *newest);
    uint64_t at = 0, tx;
    while (at < client->tx) {
        int rc = client_tail(client, at, 200000, 0);
        ok_or_gone(client, rc);
        check(client->reply->tail->n_records > 0);
        for (size_t i = 0; i < client->reply->tail->n_records; i++) {
            Bb__Proto__TxRecord *record;
            Bb__Proto__TxBody *body;
            struct bb_arena *arena = bb_arena_new(0);
            check(bb_unpack(client->ctx, arena, &bb__proto__tx_record__descriptor,
                            bb_pb_slice(client->reply->tail->records[i]), &record) == BB_OK);
            check(record->prev == at);
            at = record->tx;
            check(bb_unpack(client->ctx, arena, &bb__proto__tx_body__descriptor,
                            bb_pb_slice(record->body), &body) == BB_OK);
            newest[bb_get_be64(body->writes[0]->doc_key.data + 12)] = at;
            bb_arena_free(arena);
        }
    }
    check(at == client->tx);
    for (uint64_t key = 0; key < KEYS; key++) {
        ok_or_gone(client, client_get(client, client->tx, key, &tx));
        check(tx == newest[key]);
    }
    free(newest);
}

static bool log_was_cut(const struct places *places)
{
    char pattern[128];
    glob_t snapshots;
    snprintf(pattern, sizeof pattern, "%s/raft/snapshot-*", places->data);
    bool is_cut = glob(pattern, 0, NULL, &snapshots) == 0;
    if (is_cut)
        globfree(&snapshots);
    return is_cut;
}

/* A client's process: verify what earlier rounds left, then append until the node is gone. */
static void run_client(const struct places *places, uint64_t seed, bool only_verifies)
{
    struct client client;
    uint64_t seq, tx;
    int ledger = open(places->ledger, O_WRONLY | O_CREAT | O_APPEND, 0600);
    read_ledger(places, &seq, &tx);
    client_open(&client, places->url);
    client_claim_next(&client);
    check(client.seq >= seq);
    check(client.seq <= seq + 1);
    if (client.seq == seq)
        check(client.tx == tx);
    else
        check(write(ledger, (uint64_t[]){ client.seq, client.tx }, 16) == 16);
    verify(&client);
    if (only_verifies) {
        /* Whatever this machine managed in the rounds, the log is cut once, and all is there still.
         */
        for (unsigned i = 0; i < 4000 && !log_was_cut(places); i++)
            ok_or_gone(&client, client_append(&client, i % (KEYS - 4), 4, 60000));
        verify(&client);
        _exit(log_was_cut(places) ? 4 : 5);
    }
    for (uint64_t i = 0;; i++) {
        uint64_t first = (seed * 7919 + i * 13) % (KEYS - 4);
        size_t size = i % 10 == 0 ? 60000 : 300; /* enough to cut the log now and then */
        ok_or_gone(&client, client_append(&client, first, 1 + i % 4, size));
        if (write(ledger, (uint64_t[]){ client.seq, client.tx }, 16) != 16)
            _exit(3);
    }
}

/* ---- a leader that is not ready ---- */

enum {
    WAS_REFUSED = 4, /* exit codes */
    WAS_READY = 5
};

/* When the socket was made. */
static uint64_t socket_time(const struct places *places)
{
    struct stat now = { .st_ino = 0 };
    (void)stat(places->url + strlen("ipc://"), &now); /* 0: there is none */
    return (uint64_t)now.st_ctim.tv_sec * 1000000000 + (uint64_t)now.st_ctim.tv_nsec;
}

/* A new epoch, behind more than a start reads in a moment. The ledger tells which, and of when the
 * socket of this node is. */
static void claim_and_tell(const struct places *places)
{
    struct client client;
    int ledger = open(places->ledger, O_WRONLY | O_CREAT | O_APPEND, 0600);
    client_open(&client, places->url);
    client_claim_next(&client);
    for (int i = 0; i < 8; i++)
        check(client_append(&client, 1, 4, 250000) == BB_OK);
    check(client_claim(&client, client.epoch + 1) == BB_OK);
    check(write(ledger, (uint64_t[]){ client.epoch, socket_time(places) }, 16) == 16);
    _exit(0);
}

/*
 * The node is killed and started meanwhile, and is asked from the first moment on until it says
 * that it leads. As if by a sequencer of no epoch, so that nobody's claim has to wait for it.
 */
static void renew_at_the_start(const struct places *places)
{
    struct client client;
    uint64_t told[2], made;
    bool is_refused = false;
    int rc, ledger = open(places->ledger, O_RDONLY);
    check(lseek(ledger, -(off_t)sizeof told, SEEK_END) >= 0);
    check(read(ledger, told, sizeof told) == sizeof told);
    while ((made = socket_time(places)) == 0 || made == told[1])
        usleep(100);
    client_open(&client, places->url);
    client.epoch = UINT64_MAX;
    do {
        rc = client_renew(&client);
        is_refused = is_refused || rc == BB_NOT_YET;
    } while (rc != BB_OK || client.reply->renew->leader != client.reply->renew->node);
    check(client.reply->renew->epoch == told[0]);
    _exit(is_refused ? WAS_REFUSED : WAS_READY);
}

/* Before Criterion's main: is this a process of the test? */
__attribute__((constructor)) static void take_role(int argc, char **argv)
{
    const char *role = getenv(ROLE);
    struct places places;
    if (role == NULL || argc != 3)
        return;
    find_places(argv[1], &places);
    if (strcmp(role, "node") == 0)
        _exit(run_node(&places));
    if (strcmp(role, "claim") == 0)
        claim_and_tell(&places);
    if (strcmp(role, "renew") == 0)
        renew_at_the_start(&places);
    run_client(&places, (uint64_t)atoi(argv[2]), strcmp(role, "verify") == 0);
}

/* On a busy machine a start takes longer than a round: until something is acknowledged, 20 s at
 * most. */
static void await_acknowledgement(const struct places *places)
{
    uint64_t before, seq, tx;
    read_ledger(places, &before, &tx);
    seq = before;
    for (unsigned i = 0; i < 2000 && seq == before; i++) {
        usleep(10000);
        read_ledger(places, &seq, &tx);
    }
}

Test(storage_kill, b22_acknowledged_appends_survive_kill_9_at_any_moment, .timeout = 240)
{
    struct places places;
    uint64_t seq, tx;
    int status;
    char dir[] = "/tmp/bb-kill-XXXXXX";
    cr_assert_not_null(mkdtemp(dir));
    find_places(dir, &places);
    srand((unsigned)time(NULL));
    for (uint64_t round = 0; round < ROUNDS; round++) {
        pid_t node = start_role(&places, "node", round);
        pid_t client = start_role(&places, "client", round);
        /* Some die while they start or replay. */
        bool dies_early = round % 4 == 3;
        if (!dies_early) {
            await_acknowledgement(&places);
        }
        usleep((dies_early ? (unsigned)rand() % 100 : 200 + (unsigned)rand() % 900) * 1000);
        kill(node, SIGKILL);
        waitpid(node, &status, 0);
        cr_assert(WIFSIGNALED(status), "the node ended by itself in round %d: %x", (int)round,
                  status);
        usleep(150000);
        if (waitpid(client, &status, WNOHANG) == 0) {
            kill(client, SIGKILL); /* it was still waiting for the node to start */
            waitpid(client, &status, 0);
        } else {
            cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0,
                      "the client found something wrong in round %d: %x", (int)round, status);
        }
    }
    pid_t node = start_role(&places, "node", ROUNDS), client = start_role(&places, "verify", 0);
    waitpid(client, &status, 0);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 4, "the last look found: %x", status);
    kill(node, SIGTERM);
    waitpid(node, &status, 0);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "graceful end: %x", status);
    read_ledger(&places, &seq, &tx);
    cr_log_info("%d batches were acknowledged", (int)seq);
    cr_assert_gt(seq, 0);
    nftw(places.dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static int end_of(pid_t pid)
{
    int status;
    waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* What its log still holds may have given the epoch away: until it has read that it gives nobody a
 * lease. Whether the question comes in that moment is chance, hence the rounds. */
Test(storage_kill, b22_leader_that_is_not_ready_renews_no_lease, .timeout = 240)
{
    struct places places;
    int status, ended = 0;
    char dir[] = "/tmp/bb-kill-XXXXXX";
    cr_assert_not_null(mkdtemp(dir));
    find_places(dir, &places);
    for (uint64_t round = 0; round < 20 && ended != WAS_REFUSED; round++) {
        pid_t node = start_role(&places, "node", round);
        cr_assert_eq(end_of(start_role(&places, "claim", round)), 0);
        kill(node, SIGKILL);
        waitpid(node, &status, 0);
        pid_t renewing = start_role(&places, "renew", round);
        node = start_role(&places, "node", round);
        ended = end_of(renewing);
        kill(node, SIGKILL);
        waitpid(node, &status, 0);
        cr_assert(ended == WAS_REFUSED || ended == WAS_READY, "it had a lease of an old epoch");
        cr_log_info("round %d: %d", (int)round, ended);
    }
    cr_assert_eq(ended, WAS_REFUSED);
    nftw(places.dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}
