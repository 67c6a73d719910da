/*
 * Who runs the storage nodes: replaces one whose disk was lost, and lets the group grow and shrink
 * under load, as `bb-ctl members` does. It asks any node, repeats what ended without an answer, and
 * looks at the list before each step.
 */
#include <stdio.h>

#include "parts.h"
#include "world.h"

#include "bb/wire_validate.h"
#include "common.pb-c.h"
#include "storage.pb-c.h"

#define LOOK_US      30000
#define LIST_MS      500
#define ASK_MS       6000 /* a node that cannot keep up is given up after 5 s */
#define SLOTS_MAX    8
#define RETIRED_MAX  128
#define AMNESIA_US   400000
#define GOAL_REST_US 300000

/* A machine for a storage node. */
struct slot {
    struct sim_node *node;
    struct bb_peer *peer;
    uint64_t id;           /* of the node that should be there; 0: none */
    uint64_t waits_for_us; /* its disk is lost; somebody comes then */
    bool is_known;         /* the group knows its folder from another one */
};
static struct {
    struct slot slots[SLOTS_MAX];
    size_t count, wanted;
    uint64_t last_id, retired[RETIRED_MAX];
    size_t retired_count;
    bool is_asking, is_done;
    uint64_t rest_until_us;
    struct bb_arena *arena;
    Bb__Proto__MemberChange change; /* that was asked for last */
    uint64_t change_id;
    uint64_t leader; /* as the last list says */
} operator;

static void look_soon(void);

/* ---- what the nodes are started with ---- */

static void start_anew(struct slot *slot, bool is_joining)
{
    sim_disk_wipe(slot->node->disk);
    slot->node->raft = NULL;
    sim_storage_arguments(slot->node, slot->id, is_joining);
    slot->node->is_kept_down = false;
    sim_node_start(slot->node);
}

static void take_down(struct slot *slot, const char *why)
{
    slot->node->is_kept_down = true;
    if (slot->node->is_up || slot->node->is_starting)
        sim_node_kill(slot->node, false, why);
}

static void retire(struct slot *slot)
{
    bb_assert(operator.retired_count<RETIRED_MAX);
    operator.retired[operator.retired_count++] = slot->id;
    slot->id = 0;
}

/* ---- disks that are lost ---- */

static void replace(void *arg)
{
    struct slot *slot = arg;

    take_down(slot, "its disk was lost");
    retire(slot);
    slot->id = ++operator.last_id;
    slot->waits_for_us = 0;
    slot->is_known = false;
    start_anew(slot, true);
}

/* Somebody starts it as if nothing had happened: a group that admits it would lose what its vote
 * was counted for. */
static void start_with_amnesia(struct slot *slot)
{
    slot->node->is_kept_down = false;
    sim_disk_wipe(slot->node->disk);
    slot->node->raft = NULL;
    sim_node_start(slot->node);
}

bool sim_operator_lose_disk(void)
{
    struct slot *slot = &operator.slots[sim_below(operator.count)];

    if (operator.count == 0 || operator.wanted<3 || !operator.is_done ||
        slot->id == 0 || !sim_are_others_up(slot->node))
        return false;
    operator.is_done = false;
    sim_trace("%s loses its disk", slot->node->name);
    take_down(slot, "its disk is lost");
    slot->waits_for_us = sim.now_us + 50000 + sim_below(AMNESIA_US);
    if (slot->is_known && sim_chance(500000)) {
        start_with_amnesia(slot);
        slot->waits_for_us += AMNESIA_US;
    }
    (void)sim_at(world.checker, slot->waits_for_us, replace, slot);
    return true;
}

/* ---- what is wanted ---- */

static struct slot *slot_of(uint64_t id)
{
    for (size_t i = 0; i < operator.count; i++) {
        if (operator.slots[i].id == id)
            return &operator.slots[i];
    }
    return NULL;
}

static void add_one(void)
{
    for (size_t i = 0; i < operator.count; i++) {
        struct slot *slot = &operator.slots[i];
        if (slot->id == 0) {
            slot->id = ++operator.last_id;
            slot->is_known = false;
            operator.wanted++;
            start_anew(slot, true);
            return;
        }
    }
}

static void remove_one(void)
{
    for (;;) {
        struct slot *slot = &operator.slots[sim_below(operator.count)];
        if (slot->id != 0) {
            retire(slot);
            operator.wanted--;
            return;
        }
    }
}

/* 1 -> 3 -> 5 -> 3 -> 5 .. */
static void choose_goal(void)
{
    if (!world.scenario->is_growing || world.is_settling ||
        !operator.is_done || sim.now_us<operator.rest_until_us)
        return;
    bool is_less = operator.wanted == operator.count;
    for (unsigned i = 0; i < 2; i++) {
        if (is_less) {
            remove_one();
        } else if (operator.wanted<operator.count) {
            add_one();
        }
    }
    operator.is_done = false;
    sim_trace("%zu storage nodes are wanted", operator.wanted);
}

/* ---- requests ---- */

static void on_reply(void *arg, int status, struct bb_slice bytes);

/* Who led last; for a list any that runs. */
static struct slot *whom_to_ask(Bb__Proto__MemberChange change)
{
    struct slot *slot = &operator.slots[sim_below(operator.count)];
    size_t count = 0;

    for (size_t i = 0; i < operator.count; i++) {
        struct sim_node *node = operator.slots[i].node;
        if (change != BB__PROTO__MEMBER_CHANGE__MEMBER_LIST && node->is_up &&
            sim_storage_id(node) == operator.leader)
            return &operator.slots[i];
        if (operator.slots[i].node->is_up && sim_below(++count) == 0)
            slot = &operator.slots[i];
    }
    return slot;
}

static void ask(Bb__Proto__MemberChange change, uint64_t id)
{
    struct bb_ctx ctx = { .env = &world.checker->env };
    Bb__Proto__StorageRequest request = BB__PROTO__STORAGE_REQUEST__INIT;
    Bb__Proto__Members members = BB__PROTO__MEMBERS__INIT;
    Bb__Proto__Member member;
    struct slot *slot = slot_of(id);
    char url[64];
    char address[64];

    bb__proto__member__init(&member);
    member.id = id;
    if (change == BB__PROTO__MEMBER_CHANGE__MEMBER_ADD) {
        (void)snprintf(url, sizeof url, "tcp://%s:3501", slot->node->name);
        (void)snprintf(address, sizeof address, "127.0.0.1:%zu", 7001 + slot->node->index);
        member.url = url;
        member.address = address;
    }
    members.change = change;
    members.member = change == BB__PROTO__MEMBER_CHANGE__MEMBER_LIST ? NULL : &member;
    request.op_case = BB__PROTO__STORAGE_REQUEST__OP_MEMBERS;
    request.members = &members;
    operator.change = change;
    operator.change_id = id;
    operator.is_asking = true;
    slot = whom_to_ask(change);
    int rc = bb_peer_request(&ctx, slot->peer, &request.base,
                             change == BB__PROTO__MEMBER_CHANGE__MEMBER_LIST ? LIST_MS : ASK_MS,
                             on_reply, NULL);
    bb_assert(rc == BB_OK);
}

static Bb__Proto__MemberRole role_in(const Bb__Proto__MembersReply *list, uint64_t id,
                                     bool *is_known)
{
    for (size_t i = 0; i < list->n_members; i++) {
        if (list->members[i]->id == id) {
            *is_known = true;
            return list->members[i]->role;
        }
    }
    *is_known = false;
    return BB__PROTO__MEMBER_ROLE__MEMBER_NONE;
}

/* Whoever leads cannot remove itself: it is stopped, and hands over. */
static void hand_over(uint64_t id)
{
    for (size_t i = 0; i < operator.count; i++) {
        struct sim_node *node = operator.slots[i].node;
        if (node->is_up && sim_storage_id(node) == id)
            sim_node_stop(node);
    }
}

/* The next step by the list; false: nothing is to be done. */
static bool take_step(const Bb__Proto__MembersReply *list)
{
    bool is_known;

    for (size_t i = 0; i < operator.retired_count; i++) {
        Bb__Proto__MemberRole role = role_in(list, operator.retired[i], &is_known);
        if (is_known && role != BB__PROTO__MEMBER_ROLE__MEMBER_REMOVED) {
            if (operator.retired[i] == list->node)
                hand_over(list->node);
            ask(BB__PROTO__MEMBER_CHANGE__MEMBER_REMOVE, operator.retired[i]);
            return true;
        }
    }
    for (size_t i = 0; i < operator.count; i++) {
        const struct slot *slot = &operator.slots[i];
        Bb__Proto__MemberRole role = role_in(list, slot->id, &is_known);
        if (slot->id == 0 || role == BB__PROTO__MEMBER_ROLE__MEMBER_VOTER)
            continue;
        ask(role == BB__PROTO__MEMBER_ROLE__MEMBER_STANDBY
                ? BB__PROTO__MEMBER_CHANGE__MEMBER_PROMOTE
                : BB__PROTO__MEMBER_CHANGE__MEMBER_ADD,
            slot->id);
        return true;
    }
    return false;
}

/* The machines that are not needed any more. */
static void take_down_rest(void)
{
    for (size_t i = 0; i < operator.count; i++) {
        if (operator.slots[i].id == 0)
            take_down(&operator.slots[i], "it was removed");
    }
}

static bool is_any_lost(void)
{
    for (size_t i = 0; i < operator.count; i++) {
        if (operator.slots[i].waits_for_us != 0)
            return true;
    }
    return false;
}

static void note_folder(const Bb__Proto__Member *member)
{
    static const uint8_t nothing[16];
    struct slot *slot = slot_of(member->id);

    if (slot != NULL && member->incarnation.len == sizeof nothing)
        slot->is_known = memcmp(member->incarnation.data, nothing, sizeof nothing) != 0;
}

static bool are_all_known(void)
{
    for (size_t i = 0; i < operator.count; i++) {
        if (operator.slots[i].id != 0 && !operator.slots[i].is_known)
            return false;
    }
    return true;
}

static void take_list(const Bb__Proto__MembersReply *list)
{
    bool is_leader = false;

    for (size_t i = 0; i < list->n_members; i++) {
        is_leader |= list->members[i]->id == list->node && list->members[i]->is_leader;
        note_folder(list->members[i]);
    }
    if (!is_leader || operator.is_done)
        return;
    operator.leader = list->node;
    if (take_step(list))
        return;
    take_down_rest();
    if (!is_any_lost() && are_all_known()) {
        sim_trace("the storage nodes are those that are wanted: %zu", operator.wanted);
        operator.is_done = true;
        operator.rest_until_us = sim.now_us + sim_below(GOAL_REST_US);
    }
}

static void on_reply(void *arg, int status, struct bb_slice bytes)
{
    struct bb_ctx ctx = { .env = NULL };
    Bb__Proto__StorageReply *reply = NULL;

    (void)arg;
    operator.is_asking = false;
    bb_arena_reset(operator.arena);
    if (status == BB_OK)
        status =
            bb_unpack(&ctx, operator.arena, &bb__proto__storage_reply__descriptor, bytes, &reply);
    if (operator.change != BB__PROTO__MEMBER_CHANGE__MEMBER_LIST)
        sim_trace("members: change %d of node %" PRIu64 ": %s",
                  (int)operator.change, operator.change_id,
                  status != BB_OK ? bb_status_name(status) : bb_status_name((int)reply->status));
    if (status == BB_OK && reply->status == BB_OK && reply->members != NULL)
        take_list(reply->members);
    look_soon();
}

static void look(void *arg)
{
    (void)arg;
    choose_goal();
    if (operator.is_asking) {
        return; /* its answer goes on */
    }
    if (operator.is_done) {
        look_soon();
    } else {
        ask(BB__PROTO__MEMBER_CHANGE__MEMBER_LIST, 0);
    }
}

static void look_soon(void)
{
    if (!operator.is_asking)
        (void)sim_after(world.checker, LOOK_US + sim_below(LOOK_US), look, NULL);
}

/* ---- the world's side ---- */

static void begin(void *arg)
{
    struct bb_ctx ctx = { .env = &world.checker->env };
    char url[64];

    (void)arg;
    operator.arena = bb_arena_new(0);
    for (size_t i = 0; i < operator.count; i++) {
        struct bb_peer_options options = { .url = url };
        (void)snprintf(url, sizeof url, "tcp://%s:3501", operator.slots[i].node->name);
        int rc = bb_peer_open(&ctx, NULL, &options, &operator.slots[i].peer);
        bb_assert(rc == BB_OK);
    }
    look_soon();
}

void sim_operator_start(void)
{
    for (size_t i = 0; i < sim.node_count; i++) {
        if (sim.nodes[i].role != SIM_STORAGE)
            continue;
        bb_assert(operator.count<SLOTS_MAX);
        operator.slots[operator.count++] =(struct slot){ .node = &sim.nodes[i],
                                                         .id = sim_storage_id(&sim.nodes[i]) };
        operator.wanted += sim_storage_id(&sim.nodes[i]) != 0;
    }
    operator.last_id = operator.count;
    operator.is_done = !(world.scenario->is_growing || world.scenario->faults.lose_disk > 0);
    if (world.scenario->is_growing || world.scenario->faults.lose_disk > 0)
        (void)sim_after(world.checker, 1000, begin, NULL);
}

bool sim_operator_is_done(void)
{
    return operator.is_done;
}

bool sim_are_others_up(const struct sim_node *node)
{
    for (size_t i = 0; i < operator.count; i++) {
        const struct sim_node *other = operator.slots[i].node;
        if (other != node && operator.slots[i].id != 0 && !other->is_up)
            return false;
    }
    return true;
}

bool sim_is_member(const struct sim_node *node)
{
    for (size_t i = 0; i < operator.count; i++) {
        if (operator.slots[i].node == node)
            return operator.slots[i].id != 0;
    }
    return false;
}
