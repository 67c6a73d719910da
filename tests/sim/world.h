/* The cluster under test, who uses it, and what befalls it. */
#ifndef SIM_WORLD_H
#define SIM_WORLD_H

#include "checkers.h"
#include "http.h"
#include "sim.h"

/* Weights of what clients do. */
struct sim_mix {
    unsigned append, registers, transfer, take, guard, counter, blind, erase, scan, query, look,
        fail, fill;
};
struct sim_scenario {
    const char *name;
    const char *prevents; /* the failure that it looks for */
    unsigned storages, sequencers, workers, gateways, clients, watches, sessions;
    struct sim_weather weather;
    struct sim_mix mix;
    unsigned hot_keys; /* of each kind; fewer: more conflicts */
    uint32_t think_us; /* between the requests of a client, about */
    uint32_t fault_us; /* between faults, about; 0: none */
    uint32_t failpoint_ppm;
    uint32_t skew_us;   /* of the nodes' wall clocks at most */
    uint32_t outcome_s; /* how long outcomes of keys are kept; 0: for ever, and keys have no time */
    uint32_t load_ms;   /* 0: 3000 */
    bool is_growing;    /* its storage nodes are 1, then 3, then 5, then 3, .. */
    bool is_steady; /* nothing befalls it: whoever leads when the load begins leads at its end */
    bool is_apart;  /* one way of two is cut while the load lasts, and writes go on */
    /* Weights of faults. */
    struct {
        unsigned kill_storage, kill_sequencer, kill_worker, kill_gateway, power, pause_storage,
            pause_sequencer, pause_other, cut, cut_one_way, isolate, slow_disk, full_disk,
            clock_jump, kill_slot, stop, deploy, drop_streams, failpoint, power_all, long_death,
            lose_disk, compact;
    } faults;
};
extern const struct sim_scenario sim_scenarios[]; /* ends with a name that is NULL */

struct sim_world {
    const struct sim_scenario *scenario;
    uint64_t load_until_us;
    bool is_settling, is_deployed;
    struct check_history history;
    struct sim_node *checker; /* the client that looks at the end */
    unsigned busy_clients;
    unsigned waiting_watches;
    uint64_t answered, retried, refused, expired;
    uint64_t term;                       /* of the storage nodes when the load began */
    uint64_t whole_us;                   /* from then on calls shall do well; 0: no matter */
    uint64_t written_late, refused_late; /* since then, until the load ended */
};
extern struct sim_world world;

/* client.c */
void sim_checker_start(void);
void sim_clients_start(void);
/* One request of the checker, repeated until it is answered. */
void sim_client_ask(const char *path, const char *body, const char *key,
                    void (*done)(struct bb_slice reply));
struct sim_node *sim_any_gateway(void);

/* watch.c */
uint32_t sim_watch_number(void); /* a fresh one */
void sim_watches_start(void);
void sim_watches_drop(void); /* their connections end */
bool sim_watch_shows(unsigned number, struct bb_slice value);
const char *sim_watch_steps(unsigned number);
void sim_watch_tell(unsigned number); /* that it never came to show it */

/* session.c */
void sim_sessions_start(void);
void sim_sessions_drop(void);
unsigned sim_session_queries(void);
bool sim_session_shows(unsigned index, struct bb_slice value);
const char *sim_session_steps(unsigned index);
void sim_session_tell(unsigned index);

/* follow.c: feeds as consumers see them */
void sim_followers_start(void);
bool sim_followers_have(uint64_t tx); /* all sources came that far */

/* faults.c */
void sim_faults_start(void);
void sim_faults_end(void);

/* main.c */
/* What a storage node is started with from now on; its number in the group. */
void sim_storage_arguments(struct sim_node *node, uint64_t id, bool is_joining);
uint64_t sim_storage_id(const struct sim_node *node);
uint64_t sim_storage_term(void); /* the highest */

/* operator.c */
void sim_operator_start(void);
bool sim_operator_lose_disk(void); /* false: not now */
bool sim_operator_is_done(void);   /* the group is as it was wanted */
bool sim_is_member(const struct sim_node *node);
bool sim_are_others_up(const struct sim_node *node);

/* agree.c */
/* The storage nodes hold the same at `tx`, then `done`. */
void sim_agree(uint64_t tx, void (*done)(void));
void sim_compact(struct sim_node *node);

/* settle.c */
void sim_settle(void);

#endif
