/*
 * sim: runs seeds of scenarios, each in a process of its own.
 *
 *   sim --seed=N --scenario=NAME [--verbose] [--history=FILE]    one run; prints its trace hash
 *   sim --seconds=S [--seed=N] [--jobs=J]                        fresh seeds; of all scenarios
 * unless one is named; --first: until one fails sim --seeds=FILE "scenario seed" lines, all of them
 *   sim --list                                                   the scenarios
 *
 * SIM_LOAD_MS: simulated time under load (3000). SIM_STORAGES, SIM_SEQUENCERS:
 * instead of the scenario's.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "parts.h"
#include "raft_io.h"
#include "world.h"

#define SETTLE_US       UINT64_C(120000000)
#define CPU_SECONDS     60 /* of one run; then it hangs */
#define JOBS_MAX        16
#define LOAD_MS         3000
#define LOG_BYTES_MIN   UINT64_C(8192)
#define LOG_TRAILING    128
#define DEPLOY_WAIT_US  10000
#define DEPLOY_LIMIT_US 30000000
#define ARGUMENTS_MAX   12
#define GATHER_RUNS_MAX 4
#define FLUSH_MS_MIN    UINT64_C(100)

/* ---- one run ---- */

static char *arguments[SIM_NODES_MAX][ARGUMENTS_MAX];

static void set_arguments(struct sim_node *node, const char *const *values)
{
    size_t count = 0;

    for (; values[count] != NULL; count++) {
        bb_assert(count < ARGUMENTS_MAX);
        arguments[node->index][count] = bb_strdup(values[count]);
    }
    node->argv = arguments[node->index];
    node->argc = (int)count;
}

static void list_urls(char *to, size_t size, const char *prefix, const char *kind, unsigned count,
                      unsigned port)
{
    size_t used = (size_t)snprintf(to, size, "%s", prefix);

    for (unsigned i = 0; i < count; i++) {
        used += (size_t)snprintf(to + used, size - used, "%stcp://%s-%u:%u", i == 0 ? "" : ",",
                                 kind, i + 1, port);
    }
}

static struct sim_node *add_server(enum sim_role role, const char *kind, unsigned index,
                                   unsigned port, const char *const *options)
{
    char name[24];
    char listen[48];
    const char *values[8] = { kind, listen };

    (void)snprintf(name, sizeof name, "%s-%u", kind, index + 1);
    (void)snprintf(listen, sizeof listen, "--listen=tcp://%s:%u", name, port);
    for (size_t k = 0; options[k] != NULL; k++)
        values[k + 2] = options[k];
    struct sim_node *node = sim_node_add(role, name);
    set_arguments(node, values);
    return node;
}

static void add_servers(enum sim_role role, const char *kind, unsigned count, unsigned port,
                        const char *const *options)
{
    for (unsigned i = 0; i < count; i++)
        sim_node_start(add_server(role, kind, i, port, options));
}

/* Each knows its number and where the others are; those that join are told so. */
static char storage_peers[256];
static uint64_t storage_ids[SIM_NODES_MAX];

/* A number from the seed alone: the run's chance, and so what befalls it, stays as it is. */
static uint64_t number_of(const char *what, uint64_t id, uint64_t limit)
{
    uint8_t bytes[16];

    bb_put_le64(bytes, sim.seed);
    bb_put_le64(bytes + 8, id);
    uint64_t seed = bb_hash64(bb_slice_str(what), 0);
    return bb_hash64(bb_slice(bytes, sizeof bytes), seed) % limit;
}

struct ways_to_write {
    char gather[24], runs[24], flush[24];
};

/* In half of all runs most storage nodes gather what they flush, and each at times of its own. */
static void choose_ways_to_write(struct ways_to_write *ways, uint64_t id)
{
    bool is_varied = number_of("gathers", 0, 2) == 0;
    bool gathers = is_varied && number_of("gather", id, 4) > 0;
    uint64_t flush_ms = is_varied ? FLUSH_MS_MIN << number_of("flush", id, 5) : 500;

    (void)snprintf(ways->gather, sizeof ways->gather, "--gather=%s", gathers ? "always" : "auto");
    (void)snprintf(ways->runs, sizeof ways->runs, "--gather-runs=%" PRIu64,
                   1 + number_of("runs", id, GATHER_RUNS_MAX));
    (void)snprintf(ways->flush, sizeof ways->flush, "--flush-ms=%" PRIu64, flush_ms);
}

void sim_storage_arguments(struct sim_node *node, uint64_t id, bool is_joining)
{
    struct ways_to_write ways;
    char listen[48];
    char number[32];
    char raft[48];
    bool has_peers = world.scenario->storages > 1;

    (void)snprintf(listen, sizeof listen, "--listen=tcp://%s:3501", node->name);
    (void)snprintf(number, sizeof number, "--raft-id=%" PRIu64, id);
    (void)snprintf(raft, sizeof raft, "--raft-listen=127.0.0.1:%zu", 7001 + node->index);
    const char *last = is_joining ? "--join=true" : storage_peers[0] == '\0' ? NULL : storage_peers;
    choose_ways_to_write(&ways, id);
    set_arguments(node, (const char *const[]){ "storage", listen, "--data=data", ways.gather,
                                               ways.runs, ways.flush, number,
                                               has_peers ? raft : "--raft-listen=", last, NULL });
    storage_ids[node->index] = id;
}

uint64_t sim_storage_id(const struct sim_node *node)
{
    return storage_ids[node->index];
}

uint64_t sim_storage_term(void)
{
    uint64_t term = 0;

    for (size_t i = 0; i < sim.node_count; i++) {
        const struct sim_raft *raft = sim.nodes[i].raft;
        term = raft != NULL && raft->term > term ? raft->term : term;
    }
    return term;
}

/* A group that grows begins with the first one. */
static void add_storages(void)
{
    unsigned count = world.scenario->storages;
    bool is_growing = world.scenario->is_growing;
    size_t used = 0;

    for (unsigned i = 0; i < count && count > 1 && !is_growing; i++) {
        used += (size_t)snprintf(storage_peers + used, sizeof storage_peers - used,
                                 "%s%u=127.0.0.1:%u", i == 0 ? "--peers=" : ",", i + 1, 7001 + i);
    }
    for (unsigned i = 0; i < count; i++) {
        struct sim_node *node =
            add_server(SIM_STORAGE, "storage", i, 3501, (const char *const[]){ NULL });
        node->is_kept_down = is_growing && i > 0;
        if (node->is_kept_down)
            continue;
        sim_storage_arguments(node, i + 1, false);
        sim_node_start(node);
    }
}

static void build(void)
{
    const struct sim_scenario *scenario = world.scenario;
    char storages[256];
    char first[256];
    char sequencers[256];
    char workers[256];
    char kept[32];

    list_urls(storages, sizeof storages, "--storage=", "storage", scenario->storages, 3501);
    list_urls(sequencers, sizeof sequencers, "--sequencer=", "sequencer", scenario->sequencers,
              3511);
    list_urls(workers, sizeof workers, "--workers=", "worker", scenario->workers, 3521);
    add_storages();
    /* Sequencers find out by themselves who has joined since. */
    list_urls(first, sizeof first, "--storage=", "storage",
              scenario->is_growing ? 3 : scenario->storages, 3501);
    add_servers(SIM_SEQUENCER, "sequencer", scenario->sequencers, 3511,
                (const char *const[]){ first, NULL });
    if (scenario->outcome_s > 0)
        (void)snprintf(kept, sizeof kept, "--outcome-seconds=%u", scenario->outcome_s);
    add_servers(SIM_WORKER, "worker", scenario->workers, 3521,
                (const char *const[]){ storages, sequencers, "--slots=2",
                                       scenario->outcome_s > 0 ? kept : NULL, NULL });
    add_servers(SIM_GATEWAY, "gateway", scenario->gateways, 3210,
                (const char *const[]){ storages, workers, "--admin-key=key", NULL });
}

static uint64_t from_environment(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name); /* NOLINT(concurrency-mt-unsafe): one thread */

    return text == NULL ? otherwise : strtoull(text, NULL, 10);
}

static void end_load(void *arg)
{
    (void)arg;
    sim_settle();
}

static void begin_load(struct bb_slice reply)
{
    (void)reply;
    sim_trace("deployed");
    world.is_deployed = true;
    world.term = sim_storage_term();
    uint64_t load_ms = world.scenario->load_ms == 0 ? LOAD_MS : world.scenario->load_ms;
    world.load_until_us = sim.now_us + from_environment("SIM_LOAD_MS", load_ms) * 1000;
    sim.end_us = world.load_until_us + SETTLE_US;
    (void)sim_at(NULL, world.load_until_us, end_load, NULL);
    sim_clients_start();
    sim_watches_start();
    sim_sessions_start();
    sim_followers_start();
    sim_operator_start();
    sim_faults_start();
}

static void deploy(void *arg)
{
    (void)arg;
    sim_client_ask("deploy", "{\"path\":\"_system:deploy\",\"args\":{}}", "deploy-0", begin_load);
}

static void write_history(const char *path)
{
    struct bb_buf lines;
    FILE *file = fopen(path, "w");

    bb_buf_init(&lines);
    check_write(&world.history, &lines);
    if (file == NULL || fwrite(lines.data, 1, lines.size, file) != lines.size)
        (void)fprintf(stderr, "cannot write %s\n", path);
    if (file != NULL)
        (void)fclose(file);
    bb_buf_fini(&lines);
}

struct options {
    uint64_t seed;
    const char *scenario, *history, *seeds;
    unsigned seconds, jobs;
    bool is_verbose, is_list, has_seed, is_first;
};

/* 0: all is right. */
static int run_one(const struct options *options, const struct sim_scenario *scenario,
                   uint64_t seed, bool is_quiet)
{
    struct check_report report = { .count = 0 };

    sim_init(seed);
    sim.is_verbose = options->is_verbose;
    static struct sim_scenario changed;
    changed = *scenario;
    changed.storages = (unsigned)from_environment("SIM_STORAGES", changed.storages);
    changed.sequencers = (unsigned)from_environment("SIM_SEQUENCERS", changed.sequencers);
    world.scenario = &changed;
    sim.weather = scenario->weather;
    sim.log_bytes = LOG_BYTES_MIN << sim_below(scenario->faults.lose_disk > 0 ? 2 : 6);
    sim.log_trailing = 1 + sim_below(LOG_TRAILING);
    build();
    sim_checker_start();
    (void)sim_after(world.checker, DEPLOY_WAIT_US, deploy, NULL);
    sim.end_us = sim.now_us + DEPLOY_LIMIT_US;
    sim_run();
    if (sim.failure[0] == '\0')
        check_all(&world.history, &report);
    if (options->history != NULL)
        write_history(options->history);
    bool is_right = sim.failure[0] == '\0' && report.count == 0;
    if (!is_right) {
        sim_trace_print();
        (void)fprintf(stderr, "\nFAILED %s\n%.*s", sim.failure,
                      BB_SLICE_ARG(bb_buf_slice(&report.text)));
        (void)fprintf(stderr, "again: make sim SCENARIO=%s SEED=%" PRIu64 "\n", scenario->name,
                      seed);
    } else if (!is_quiet) {
        (void)printf("%s seed %" PRIu64 ": hash %016" PRIx64 ", %" PRIu64
                     " events, %zu transactions"
                     ", %" PRIu64 " retries, %" PRIu64 " deaths by failpoint, %" PRId64
                     " queries answered by kept results\n",
                     scenario->name, seed, sim.hash, sim.events, world.history.txn_count,
                     world.retried, sim.failpoints,
                     bb_metric_get(bb_metric("bb_worker_result_hits_total", BB_COUNTER, "")));
    }
    return is_right ? 0 : 1;
}

/* ---- many runs ---- */

struct job {
    pid_t pid;
    const struct sim_scenario *scenario;
    uint64_t seed;
};
static struct job jobs[JOBS_MAX];
static unsigned job_count, run_count, failure_count;

static void reap(void)
{
    int status = 0;
    pid_t pid = wait(&status);

    for (unsigned i = 0; i < job_count; i++) {
        if (jobs[i].pid != pid)
            continue;
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
            failure_count++;
            (void)printf("FAIL %s %" PRIu64 "%s\n", jobs[i].scenario->name, jobs[i].seed,
                         WIFSIGNALED(status) ? " (it ended by a signal)" : "");
        }
        jobs[i] = jobs[--job_count];
    }
}

static void start(const struct options *options, const struct sim_scenario *scenario, uint64_t seed)
{
    while (job_count >= options->jobs)
        reap();
    (void)fflush(stdout);
    const struct rlimit limit = { CPU_SECONDS, CPU_SECONDS };
    pid_t pid = fork();
    bb_assert(pid >= 0);
    if (pid == 0) {
        (void)setrlimit(RLIMIT_CPU, &limit);
        int code = run_one(options, scenario, seed, true);
        (void)fflush(stdout);
        quick_exit(code);
    }
    run_count++;
    jobs[job_count++] = (struct job){ .pid = pid, .scenario = scenario, .seed = seed };
}

static const struct sim_scenario *find_scenario(const char *name)
{
    for (const struct sim_scenario *at = sim_scenarios; at->name != NULL; at++) {
        if (strcmp(at->name, name) == 0)
            return at;
    }
    (void)fprintf(stderr, "there is no scenario %s; see --list\n", name);
    exit(2);
}

static int finish(void)
{
    while (job_count > 0)
        reap();
    (void)printf("%u runs, %u failed\n", run_count, failure_count);
    return failure_count == 0 && run_count > 0 ? 0 : 1;
}

static int run_fresh(const struct options *options)
{
    time_t until = time(NULL) + options->seconds;
    uint64_t seed = options->has_seed ? options->seed : (uint64_t)time(NULL) * 1000;

    while (time(NULL) < until && !(options->is_first && failure_count > 0)) {
        for (const struct sim_scenario *at = sim_scenarios; at->name != NULL && time(NULL) < until;
             at++) {
            if (options->scenario == NULL || strcmp(options->scenario, at->name) == 0)
                start(options, at, seed);
        }
        seed++;
    }
    return finish();
}

static int run_kept(const struct options *options)
{
    FILE *file = fopen(options->seeds, "r");
    char line[256];

    if (file == NULL) {
        (void)fprintf(stderr, "%s cannot be read\n", options->seeds);
        return 2;
    }
    while (fgets(line, sizeof line, file) != NULL) {
        char name[64];
        char *end = line + strcspn(line, " \n");
        if (line[0] == '#' || line[0] == '\n')
            continue;
        (void)snprintf(name, sizeof name, "%.*s", (int)(end - line), line);
        start(options, find_scenario(name), strtoull(end, NULL, 10));
    }
    (void)fclose(file);
    return finish();
}

static const char HELP[] =
    "sim: the whole suite on simulated machines, clocks, networks and disks\n\n"
    "  --scenario=NAME   this one; without it everything, with --seconds all in turn\n"
    "  --list            the scenarios, and what each looks for\n"
    "  --seed=N          this run alone, or where --seconds begins\n"
    "  --seconds=N       fresh seeds for so long\n"
    "  --seeds=FILE      the kept seeds, a line each: scenario and seed\n"
    "  --jobs=N          so many processes at a time (2)\n"
    "  --first           ends at the first failure\n"
    "  --history=FILE    where what clients saw is written\n"
    "  --verbose         what happens, event by event\n";

static void parse(struct options *options, int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        const char *value = strchr(argv[i], '=');
        value = value == NULL ? "" : value + 1;
        if (strncmp(argv[i], "--seed=", 7) == 0) {
            options->seed = strtoull(value, NULL, 10);
            options->has_seed = true;
        } else if (strncmp(argv[i], "--scenario=", 11) == 0) {
            options->scenario = value;
        } else if (strncmp(argv[i], "--seconds=", 10) == 0) {
            options->seconds = (unsigned)strtoul(value, NULL, 10);
        } else if (strncmp(argv[i], "--jobs=", 7) == 0) {
            options->jobs = (unsigned)strtoul(value, NULL, 10);
        } else if (strncmp(argv[i], "--history=", 10) == 0) {
            options->history = value;
        } else if (strncmp(argv[i], "--seeds=", 8) == 0) {
            options->seeds = value;
        } else if (strcmp(argv[i], "--verbose") == 0) {
            options->is_verbose = true;
        } else if (strcmp(argv[i], "--first") == 0) {
            options->is_first = true;
        } else if (strcmp(argv[i], "--list") == 0) {
            options->is_list = true;
        } else if (strcmp(argv[i], "--help") == 0) {
            (void)fputs(HELP, stdout);
            exit(0);
        } else {
            (void)fprintf(stderr, "unknown option %s; --help lists them\n", argv[i]);
            exit(2);
        }
    }
    if (options->jobs == 0 || options->jobs > JOBS_MAX)
        options->jobs = 1;
}

int main(int argc, char **argv)
{
    struct options options = { .jobs = 2 };
    const struct rlimit no_core = { 0, 0 };

    parse(&options, argc, argv);
    (void)setrlimit(RLIMIT_CORE, &no_core);
    if (options.is_list) {
        for (const struct sim_scenario *at = sim_scenarios; at->name != NULL; at++)
            (void)printf("%-12s %s\n", at->name, at->prevents);
        return 0;
    }
    if (options.seeds != NULL)
        return run_kept(&options);
    if (options.seconds > 0)
        return run_fresh(&options);
    if (options.scenario == NULL) {
        options.scenario = "everything";
    }
    return run_one(&options, find_scenario(options.scenario), options.seed, false);
}
