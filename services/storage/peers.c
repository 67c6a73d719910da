#include "peers.h"

#include <stdio.h>
#include <stdlib.h>

#include "bb/env.h"

static int take_text(struct bb_ctx *ctx, const struct bb_conf *conf, const char *name, char *to)
{
    const char *text = bb_conf_text(conf, name);

    if (text != NULL && strlen(text) > MEMBER_TEXT_MAX) {
        return bb_fail(ctx, BB_BAD_REQUEST, "option %s: more than %d characters", name,
                       MEMBER_TEXT_MAX);
    }
    (void)snprintf(to, MEMBER_TEXT_MAX + 1, "%s", text == NULL ? "" : text); /* it fits */
    return BB_OK;
}

/* "name:port", nothing more: the log splits it at the first colon. */
static bool is_address(const char *text)
{
    const char *colon = strchr(text, ':');
    char *end = NULL;
    unsigned long port = colon == NULL ? 0 : strtoul(colon + 1, &end, 10);

    return colon != NULL && colon != text && port > 0 && port <= 65535 && *end == 0;
}

/* "1=one:3502,2=two:3502"; `peers->text` is cut into pieces. */
static int parse_voters(struct bb_ctx *ctx, struct peers *peers)
{
    char *rest = peers->text;

    for (char *part = strsep(&rest, ","); part != NULL; part = strsep(&rest, ",")) {
        char *equals = NULL;
        uint64_t id = strtoull(part, &equals, 10);

        if (id == 0 || equals == NULL || *equals != '=' || !is_address(equals + 1)) {
            return bb_fail(ctx, BB_BAD_REQUEST, "option peers: \"%s\" is not like 1=storage-1:3502",
                           part);
        }
        if (peers->voter_count == PEERS_MAX) {
            return bb_fail(ctx, BB_BAD_REQUEST, "option peers: more than %d nodes", PEERS_MAX);
        }
        for (size_t i = 0; i < peers->voter_count; i++) {
            if (peers->voters[i].id == id || strcmp(peers->voters[i].address, equals + 1) == 0) {
                return bb_fail(ctx, BB_BAD_REQUEST, "option peers: \"%s\" is there twice", part);
            }
        }
        peers->voters[peers->voter_count++] =
            (struct bb_replog_voter){ .id = id, .address = equals + 1 };
    }
    return BB_OK;
}

/* The node's own row gives its address unless that is named. */
static int find_self(struct bb_ctx *ctx, struct peers *peers)
{
    for (size_t i = 0; i < peers->voter_count; i++) {
        if (peers->voters[i].id == peers->id) {
            if (peers->address[0] == 0) {
                (void)snprintf(peers->address, sizeof peers->address, "%.*s", MEMBER_TEXT_MAX,
                               peers->voters[i].address);
            }
            return BB_OK;
        }
    }
    return bb_fail(ctx, BB_BAD_REQUEST,
                   "option peers: this node, number %" PRIu64 " (--raft-id), is not among them",
                   peers->id);
}

static int check_address(struct bb_ctx *ctx, struct peers *peers)
{
    if (peers->listen[0] == 0 && (peers->voter_count > 0 || peers->is_joining)) {
        return bb_fail(ctx, BB_BAD_REQUEST,
                       "a storage node with others needs an address for them: name it with "
                       "--raft-listen, such as 0.0.0.0:3502");
    }
    if (peers->voter_count > 0 && peers->is_joining) {
        return bb_fail(ctx, BB_BAD_REQUEST,
                       "--peers begins a new cluster and --join waits for one: give one of them");
    }
    if (peers->address[0] == 0) {
        memcpy(peers->address, peers->listen, sizeof peers->address);
    }
    if (peers->listen[0] != 0 &&
        (!is_address(peers->address) || strncmp(peers->address, "0.0.0.0:", 8) == 0)) {
        return bb_fail(ctx, BB_BAD_REQUEST,
                       "the other storage nodes cannot reach this one at \"%s\": name it as they "
                       "see it with --raft-address, such as storage-1:3502",
                       peers->address);
    }
    return BB_OK;
}

static int read_secret(struct bb_ctx *ctx, const char *path, struct bb_buf *secret)
{
    int rc;

    if (path == NULL || path[0] == 0) {
        return BB_OK;
    }
    rc = bb_file_read_all(ctx, path, secret);
    while (rc == BB_OK && secret->size > 0 && strchr("\r\n", secret->data[secret->size - 1])) {
        secret->size -= 1; /* an editor's line end */
    }
    if (rc == BB_OK && secret->size < PEERS_SECRET_MIN) {
        rc = bb_fail(ctx, BB_BAD_REQUEST,
                     "the secret in %s has %zu characters; at least %d are needed", path,
                     secret->size, PEERS_SECRET_MIN);
    }
    return rc;
}

int storage_peers_init(struct bb_ctx *ctx, const struct bb_conf *conf, struct peers *peers)
{
    const char *voters = bb_conf_text(conf, "peers");
    const char *url = bb_conf_text(conf, "advertise");
    int rc;

    *peers = (struct peers){ .id = bb_conf_number(conf, "raft-id"),
                             .is_joining = bb_conf_bool(conf, "join") };
    bb_buf_init(&peers->secret);
    rc = take_text(ctx, conf, url == NULL || url[0] == 0 ? "listen" : "advertise", peers->url);
    if (rc == BB_OK) {
        rc = take_text(ctx, conf, "raft-listen", peers->listen);
    }
    if (rc == BB_OK) {
        rc = take_text(ctx, conf, "raft-address", peers->address);
    }
    if (rc == BB_OK && voters != NULL && voters[0] != 0) {
        peers->text = bb_strdup(voters);
        rc = parse_voters(ctx, peers);
        if (rc == BB_OK) {
            rc = find_self(ctx, peers);
        }
    }
    if (rc == BB_OK) {
        rc = check_address(ctx, peers);
    }
    if (rc == BB_OK) {
        rc = read_secret(ctx, bb_conf_text(conf, "secret-file"), &peers->secret);
    }
    return rc;
}

void storage_peers_fini(struct peers *peers)
{
    if (peers->secret.capacity > 0) {
        explicit_bzero(peers->secret.data, peers->secret.capacity);
    }
    bb_buf_fini(&peers->secret);
    bb_free(peers->text);
    peers->text = NULL;
}
