/*
 * bb-ctl members: the storage nodes, and changes of them. Asks one named node after the other until
 * the one that leads has answered; a node that does not lead says where that one is. A list comes
 * from the leader too where there is one: a node that was removed may not have heard of it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "storage.pb-c.h"

#include "bb/env.h"
#include "bb/rt.h"
#include "bb/wire.h"
#include "bb/wire_validate.h"

#include "ctl.h"

#define LIST_TIMEOUT_MS   2000u
#define CHANGE_TIMEOUT_MS 60000u /* a new voter gets the whole log first */
#define PAUSE_MS          200u
#define PATIENCE_MS       10000u /* with nodes of which none leads or answers */
#define NOTICE_MS         1000u
#define URLS_MAX          16u

struct session {
    struct bb_loop *loop;
    struct bb_ctx *ctx;
    const struct bb_conf *conf;
    char urls[URLS_MAX][256];
    size_t url_count, next;
    char leader[256]; /* where to ask next; empty: the next of the urls */
    char asked[256];  /* which one, at the moment */
    bool was_sent_on; /* to the leader that a list named */
    Bb__Proto__Members request;
    Bb__Proto__Member member;
    char *texts[2]; /* the member's */
    int tries;
    uint64_t deadline_us; /* not asked again after this */
    struct bb_peer *peer;
    struct bb_timer *pause, *notice;
    struct bb_arena *arena;
    char error[BB_ERROR_MAX];
    int code; /* the exit code */
};

static const char *role_name(Bb__Proto__MemberRole role)
{
    switch (role) {
    case BB__PROTO__MEMBER_ROLE__MEMBER_NONE:
        return "named";
    case BB__PROTO__MEMBER_ROLE__MEMBER_SPARE:
        return "spare";
    case BB__PROTO__MEMBER_ROLE__MEMBER_STANDBY:
        return "standby";
    case BB__PROTO__MEMBER_ROLE__MEMBER_VOTER:
        return "voter";
    case BB__PROTO__MEMBER_ROLE__MEMBER_REMOVED:
        return "removed";
    case _BB__PROTO__MEMBER_ROLE_IS_INT_SIZE:
        break;
    }
    return "unknown";
}

static void print_json(const Bb__Proto__MembersReply *reply)
{
    (void)printf("[");
    for (size_t i = 0; i < reply->n_members; i++) {
        const Bb__Proto__Member *member = reply->members[i];
        (void)printf("%s{\"id\":%" PRIu64 ",\"role\":\"%s\",\"isLeader\":%s,\"url\":\"%s\","
                     "\"address\":\"%s\"}",
                     i > 0 ? "," : "", member->id, role_name(member->role),
                     member->is_leader ? "true" : "false", member->url, member->address);
    }
    (void)printf("]\n");
}

static void print_members(const struct session *session, const Bb__Proto__MembersReply *reply)
{
    if (bb_conf_bool(session->conf, "json")) {
        print_json(reply);
        return;
    }
    (void)printf("%-6s %-8s %-6s %-32s %s\n", "number", "role", "leads", "url",
                 "address of its log");
    for (size_t i = 0; i < reply->n_members; i++) {
        const Bb__Proto__Member *member = reply->members[i];
        (void)printf("%-6" PRIu64 " %-8s %-6s %-32s %s\n", member->id, role_name(member->role),
                     member->is_leader ? "yes" : "", member->url, member->address);
    }
}

/* ---- one question after the other ---- */

static void ask(void *arg);

static void end(struct session *session, int code)
{
    session->code = code;
    bb_loop_stop(session->loop);
}

static void again(struct session *session, const char *why)
{
    (void)snprintf(session->error, sizeof session->error, "%s", why);
    session->tries += 1;
    if (bb_loop_now_us(session->loop) >= session->deadline_us) {
        end(session, 1);
        return;
    }
    bb_timer_start(session->pause, session->leader[0] != 0 ? 1 : PAUSE_MS, 0);
}

static const char *leader_of(const Bb__Proto__MembersReply *reply)
{
    for (size_t i = 0; i < reply->n_members; i++) {
        if (reply->members[i]->is_leader)
            return reply->members[i]->url;
    }
    return NULL;
}

static void take_list(struct session *session, const Bb__Proto__MembersReply *reply)
{
    const char *leader = leader_of(reply);

    if (leader == NULL && (size_t)session->tries < session->url_count) {
        again(session, "no storage node leads");
        return;
    }
    if (leader != NULL && strcmp(leader, session->asked) != 0 && !session->was_sent_on) {
        session->was_sent_on = true;
        (void)snprintf(session->leader, sizeof session->leader, "%s", leader);
        again(session, "the node that leads does not answer");
        return;
    }
    if (leader == NULL) {
        (void)fprintf(stderr,
                      "bb-ctl: no storage node leads: this is what %s knows, it may be old\n",
                      session->asked);
    }
    print_members(session, reply);
    end(session, 0);
}

/* Whoever waits sees for what. */
static void on_notice(void *arg)
{
    struct session *session = arg;
    bool is_change = session->request.change != BB__PROTO__MEMBER_CHANGE__MEMBER_LIST;

    if (session->error[0] != 0) {
        (void)fprintf(stderr, "bb-ctl: %s; asking on for %u s\n", session->error,
                      (PATIENCE_MS - NOTICE_MS) / 1000);
    } else {
        (void)fprintf(stderr, "bb-ctl: waiting for %s%s\n", session->asked,
                      is_change ? ", a change may take a minute" : " to answer");
    }
}

static void on_reply(void *arg, int status, struct bb_slice bytes)
{
    struct session *session = arg;
    struct bb_ctx ctx = *session->ctx;
    Bb__Proto__StorageReply *reply = NULL;
    bool is_change = session->request.change != BB__PROTO__MEMBER_CHANGE__MEMBER_LIST;

    session->leader[0] = 0;
    if (status == BB_OK) {
        status =
            bb_unpack(&ctx, session->arena, &bb__proto__storage_reply__descriptor, bytes, &reply);
    }
    if (status == BB_OK) {
        status = bb_storage_reply_validate(&ctx, reply);
    }
    if (status == BB_TIMEOUT && is_change) {
        (void)snprintf(session->error, sizeof session->error,
                       "no answer in time: list the members to see what became of it");
        end(session, 1);
    } else if (status != BB_OK) {
        char why[BB_ERROR_MAX];
        (void)snprintf(why, sizeof why, "no storage node answers at %.300s", session->asked);
        again(session, why);
    } else if (reply->op_case == BB__PROTO__STORAGE_REPLY__OP_MEMBERS && !is_change) {
        take_list(session, reply->members);
    } else if (reply->op_case == BB__PROTO__STORAGE_REPLY__OP_MEMBERS) {
        print_members(session, reply->members);
        end(session, 0);
    } else if (reply->status == BB_NOT_LEADER || reply->status == BB_NOT_YET ||
               reply->status == BB_UNAVAILABLE || reply->status == BB_BUSY) {
        (void)snprintf(session->leader, sizeof session->leader, "%s", reply->leader);
        again(session, reply->error);
    } else {
        (void)snprintf(session->error, sizeof session->error, "%s", reply->error);
        end(session, 1);
    }
    bb_arena_reset(session->arena);
}

static void ask(void *arg)
{
    struct session *session = arg;
    Bb__Proto__StorageRequest request = BB__PROTO__STORAGE_REQUEST__INIT;
    struct bb_peer_options options = { .url = session->leader, .outstanding_max = 1 };
    bool is_change = session->request.change != BB__PROTO__MEMBER_CHANGE__MEMBER_LIST;
    int rc;

    if (options.url[0] == 0) {
        options.url = session->urls[session->next++ % session->url_count];
    }
    (void)snprintf(session->asked, sizeof session->asked, "%s", options.url);
    bb_peer_close(session->peer);
    session->peer = NULL;
    request.op_case = BB__PROTO__STORAGE_REQUEST__OP_MEMBERS;
    request.members = &session->request;
    rc = bb_peer_open(session->ctx, session->loop, &options, &session->peer);
    if (rc == BB_OK) {
        rc = bb_peer_request(session->ctx, session->peer, &request.base,
                             is_change ? CHANGE_TIMEOUT_MS : LIST_TIMEOUT_MS, on_reply, session);
    }
    if (rc != BB_OK) {
        bool is_named = session->leader[0] == 0;
        session->leader[0] = 0;
        if (is_named) { /* it is no url: asking again does not help */
            (void)snprintf(session->error, sizeof session->error, "%s", session->ctx->error);
            end(session, 1);
        } else {
            again(session, session->ctx->error);
        }
    }
}

/* ---- the command ---- */

/* What nobody could connect to is told here, not by the logs of those who try. */
static bool check_url(const char *url)
{
    const char *port = strrchr(url, ':');
    bool is_url = (strncmp(url, "tcp://", 6) == 0 && port > url + 6 && port[1] != 0) ||
                  (strncmp(url, "ipc://", 6) == 0 && url[6] != 0);

    if (!is_url) {
        (void)fprintf(
            stderr,
            "bb-ctl: %s is no url of a storage node: it is tcp://HOST:PORT, what the node "
            "listens on for clients\n",
            url);
    }
    return is_url;
}

static bool take_urls(struct session *session, const char *urls)
{
    while (urls != NULL && *urls != 0 && session->url_count < URLS_MAX) {
        size_t length = strcspn(urls, ",");
        (void)snprintf(session->urls[session->url_count++], sizeof session->urls[0], "%.*s",
                       (int)length, urls);
        urls += length + (urls[length] == ',');
        if (!check_url(session->urls[session->url_count - 1])) {
            return false;
        }
    }
    return session->url_count > 0;
}

/* All of the text: a slip such as "1.5" must not change node 1. */
static bool take_number(struct session *session, const char *text)
{
    size_t digits = strspn(text, "0123456789");
    uint64_t number = digits > 0 && digits <= 10 ? strtoull(text, NULL, 10) : 0;

    if (text[digits] != 0 || number == 0 || number > UINT32_MAX) {
        (void)fprintf(stderr, "bb-ctl: %s is no number of a storage node: it is from 1 to %u\n",
                      text, UINT32_MAX);
        return false;
    }
    session->member.id = number;
    return true;
}

/* members [add ID URL HOST:PORT | promote ID | remove ID] */
static bool take_change(struct session *session)
{
    static const struct {
        const char *name;
        Bb__Proto__MemberChange change;
        size_t words;
    } changes[] = { { "list", BB__PROTO__MEMBER_CHANGE__MEMBER_LIST, 2 },
                    { "add", BB__PROTO__MEMBER_CHANGE__MEMBER_ADD, 5 },
                    { "promote", BB__PROTO__MEMBER_CHANGE__MEMBER_PROMOTE, 3 },
                    { "remove", BB__PROTO__MEMBER_CHANGE__MEMBER_REMOVE, 3 } };
    size_t words = bb_conf_rest_count(session->conf);

    if (words == 1) {
        return true;
    }
    for (size_t i = 0; i < BB_COUNT_OF(changes); i++) {
        if (strcmp(bb_conf_rest(session->conf, 1), changes[i].name) != 0 ||
            words != changes[i].words) {
            continue;
        }
        session->request.change = changes[i].change;
        if (words > 2 && !take_number(session, bb_conf_rest(session->conf, 2)))
            return false;
        if (words > 4) {
            session->member.url = session->texts[0] = bb_strdup(bb_conf_rest(session->conf, 3));
            session->member.address = session->texts[1] = bb_strdup(bb_conf_rest(session->conf, 4));
        }
        if (words > 4 && !check_url(session->member.url)) {
            return false;
        }
        return true;
    }
    return false;
}

int ctl_members(struct bb_ctx *ctx, const struct bb_conf *conf)
{
    struct session *session = bb_alloc_zero(1, sizeof *session);
    int code;

    session->ctx = ctx;
    session->conf = conf;
    bb__proto__members__init(&session->request);
    bb__proto__member__init(&session->member);
    if (!take_urls(session, bb_conf_text(conf, "storage")) || !take_change(session)) {
        (void)fprintf(
            stderr,
            "bb-ctl: it is: bb-ctl members --storage URLS [list | add NUMBER URL HOST:PORT | "
            "promote NUMBER | remove NUMBER]\n");
        bb_free(session);
        return 2;
    }
    if (session->request.change != BB__PROTO__MEMBER_CHANGE__MEMBER_LIST) {
        session->request.member = &session->member;
    }
    session->loop = bb_loop_new(ctx->env, NULL, "ctl");
    session->arena = bb_arena_new(1 << 20);
    session->pause = bb_timer_new(session->loop, ask, session);
    session->notice = bb_timer_new(session->loop, on_notice, session);
    session->deadline_us = bb_loop_now_us(session->loop) + PATIENCE_MS * UINT64_C(1000);
    bb_timer_start(session->notice, NOTICE_MS, 0);
    bb_timer_start(session->pause, 1, 0);
    bb_loop_run(session->loop);
    code = session->code;
    if (code != 0) {
        (void)fprintf(stderr, "bb-ctl: %s\n", session->error);
    }
    (void)fflush(stdout);
    /* Sockets of processes that do not answer would hold up a careful end. */
    _exit(code);
}
