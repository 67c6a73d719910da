#include "auth.h"

#include "auth_config.h"
#include "auth_fetch.h"
#include "result.h"
#include "subscribe.h"

#include "bb/conf.h"

#define TICK_MS      500u
#define REFRESH_US   3600000000u /* key sets are fetched anew this often */
#define AGAIN_US     10000000u   /* and for an unknown key at most this often */
#define RETRY_MIN_US 500000u
#define RETRY_MAX_US 60000000u
#define KNOWN_MAX    256u /* tokens that were verified, by their hash; a power of two */
#define CONFIG_PATH  "_system:authConfig"
#define NO_PROVIDER                                                                                 \
    "A token was sent, but no auth provider is configured. Call without Authorization, or declare " \
    "its issuer in auth.config.ts."

/* When the keys of a provider are fetched. */
struct key_times {
    uint64_t fetched_us, tried_us, retry_us; /* 0: never */
    uint32_t failures;                       /* in a row */
    bool is_fetching;
};

/* The providers of one origin. */
struct provider_set {
    struct auth_config config;
    struct key_times times[AUTH_PROVIDERS_MAX];
};

struct known_token {
    uint8_t hash[32];
    struct bb_slice identity; /* owned; data == NULL: the place is free */
    uint64_t expires_us;
};

struct auth {
    struct gateway *gateway;
    struct sink sink; /* the owner of the session that watches the deployment's config */
    struct session *session;
    struct provider_set fixed, deployed;
    bool has_deployed; /* the deployment's providers are known, if there are any */
    struct auth_fetcher *fetcher;
    struct bb_timer *tick;
    uint32_t skew_s; /* between the issuers' clocks and ours */
    struct known_token known[KNOWN_MAX];
};

/* ---- tokens that were verified ---- */

static void free_slice(struct bb_slice slice)
{
    union {
        const uint8_t *in;
        uint8_t *out;
    } cast = { .in = slice.data };

    bb_free(cast.out);
}

static void forget_tokens(struct auth *auth)
{
    for (size_t i = 0; i < KNOWN_MAX; i++) {
        free_slice(auth->known[i].identity);
        auth->known[i].identity = BB_SLICE_EMPTY;
    }
}

static struct known_token *place_of(struct auth *auth, const uint8_t hash[32])
{
    return &auth->known[bb_get_le32(hash) % KNOWN_MAX];
}

static void remember(struct auth *auth, const uint8_t hash[32], const struct caller *caller)
{
    struct known_token *place = place_of(auth, hash);

    free_slice(place->identity);
    memcpy(place->hash, hash, sizeof(place->hash));
    place->identity = bb_slice_dup(caller->identity);
    place->expires_us = caller->expires_us;
}

/* ---- key sets ---- */

struct wish {
    struct auth *auth;
    char *issuer, *url;
};

static bool is_same_text(const char *a, const char *b)
{
    return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

static void take_keys(struct auth *auth, struct provider_set *set, size_t index, int status,
                      struct bb_slice json)
{
    struct auth_provider *provider = &set->config.providers[index];
    struct key_times *times = &set->times[index];
    struct bb_ctx ctx = *auth->gateway->ctx;
    struct bb_jwt_keys *keys = NULL;
    uint64_t now = bb_loop_now_us(auth->gateway->loop);
    uint64_t pause = (uint64_t)RETRY_MIN_US << (times->failures < 7 ? times->failures : 7);

    times->is_fetching = false;
    if (status == BB_OK)
        status = bb_jwt_keys_parse(&ctx, json, &keys);
    if (status != BB_OK) {
        times->failures++;
        times->retry_us = now + (pause < RETRY_MAX_US ? pause : RETRY_MAX_US);
        return;
    }
    bb_jwt_keys_free(provider->keys);
    provider->keys = keys;
    times->failures = 0;
    times->fetched_us = now;
}

static void take_fetched(struct auth *auth, struct provider_set *set, const struct wish *wish,
                         int status, struct bb_slice json)
{
    for (size_t i = 0; i < set->config.count; i++) {
        const struct auth_provider *provider = &set->config.providers[i];

        if (set->times[i].is_fetching && is_same_text(provider->issuer, wish->issuer) &&
            is_same_text(provider->keys_url, wish->url))
            take_keys(auth, set, i, status, json);
    }
}

static void wish_free(struct wish *wish)
{
    bb_free(wish->issuer);
    bb_free(wish->url);
    bb_free(wish);
}

static void on_fetched(void *arg, int status, const char *error, struct bb_slice json)
{
    struct wish *wish = arg;
    struct auth *auth = wish->auth;

    if (status == BB_CANCELLED) {
        wish_free(wish);
        return;
    }
    if (status == BB_OK) {
        bb_info(auth->gateway->ctx, "gateway.auth_keys", "issuer=%s", wish->issuer);
    } else {
        bb_warn(auth->gateway->ctx, "gateway.auth_keys_away", "issuer=%s why=\"%s\"", wish->issuer,
                error);
    }
    /* A key that an issuer took back verifies no token any more. */
    forget_tokens(auth);
    take_fetched(auth, &auth->fixed, wish, status, json);
    take_fetched(auth, &auth->deployed, wish, status, json);
    wish_free(wish);
}

static void fetch(struct auth *auth, struct provider_set *set, size_t index)
{
    const struct auth_provider *provider = &set->config.providers[index];
    struct key_times *times = &set->times[index];
    struct bb_ctx ctx = *auth->gateway->ctx;
    struct wish *wish = bb_alloc_zero(1, sizeof(*wish));

    if (auth->fetcher == NULL)
        auth->fetcher = gateway_auth_fetcher_new(auth->gateway->loop);
    wish->auth = auth;
    wish->issuer = bb_strdup(provider->issuer);
    wish->url = provider->keys_url == NULL ? NULL : bb_strdup(provider->keys_url);
    times->tried_us = bb_loop_now_us(auth->gateway->loop);
    times->is_fetching =
        gateway_auth_fetch(&ctx, auth->fetcher, wish->issuer, wish->url, on_fetched, wish) == BB_OK;
    if (times->is_fetching)
        return;
    times->retry_us = times->tried_us + RETRY_MAX_US;
    wish_free(wish);
}

static void fetch_due(struct auth *auth, struct provider_set *set)
{
    uint64_t now = bb_loop_now_us(auth->gateway->loop);

    for (size_t i = 0; i < set->config.count; i++) {
        const struct auth_provider *provider = &set->config.providers[i];
        const struct key_times *times = &set->times[i];
        bool is_due = provider->keys == NULL || now > times->fetched_us + REFRESH_US;

        if (!provider->is_inline && !times->is_fetching && is_due && now >= times->retry_us)
            fetch(auth, set, i);
    }
}

static void on_tick(void *arg)
{
    struct auth *auth = arg;

    fetch_due(auth, &auth->fixed);
    fetch_due(auth, &auth->deployed);
}

/* ---- the deployment's providers ---- */

/* Keys that are here stay, when the issuer does. */
static void keep_keys(struct provider_set *old, struct provider_set *set)
{
    for (size_t i = 0; i < set->config.count; i++) {
        struct auth_provider *provider = &set->config.providers[i];

        for (size_t k = 0; k < old->config.count && !provider->is_inline; k++) {
            struct auth_provider *before = &old->config.providers[k];

            if (before->keys == NULL || before->is_inline || provider->keys != NULL ||
                !is_same_text(before->issuer, provider->issuer) ||
                !is_same_text(before->keys_url, provider->keys_url))
                continue;
            provider->keys = before->keys;
            set->times[i].fetched_us = old->times[k].fetched_us;
            before->keys = NULL;
        }
    }
}

static void take_config(struct auth *auth, struct bb_slice json)
{
    struct bb_ctx ctx = *auth->gateway->ctx;
    struct provider_set set = { .config = { .count = 0 } };

    auth->has_deployed = true;
    forget_tokens(auth);
    if (json.size > 0 && !bb_slice_equal_str(json, "null") &&
        gateway_auth_config_parse(&ctx, json, &set.config) != BB_OK)
        bb_error(auth->gateway->ctx, "gateway.auth_config", "why=\"%s\"", ctx.error);
    keep_keys(&auth->deployed, &set);
    gateway_auth_config_fini(&auth->deployed.config);
    auth->deployed = set;
    fetch_due(auth, &auth->deployed);
}

static void deliver(struct sink *sink, struct session *session, const struct session_event *event)
{
    struct auth *auth = bb_container(sink, struct auth, sink);

    (void)session;
    for (size_t i = 0; i < event->change_count; i++) {
        struct live_result *result = event->changes[i].result;

        /* A suite whose functions know of no providers has none. */
        take_config(auth, result->is_failure ? BB_SLICE_EMPTY
                                             : gateway_result_json(result, BB_JSON_CLEAN));
    }
}

static bool is_blocked(const struct sink *sink)
{
    (void)sink;
    return false;
}

/* ---- who it is ---- */

static int check_keys(struct bb_ctx *ctx, struct auth *auth, struct provider_set *set, size_t index,
                      const struct bb_jwt *jwt)
{
    const struct auth_provider *provider = &set->config.providers[index];
    struct key_times *times = &set->times[index];
    int rc = BB_NOT_FOUND;

    if (provider->algorithm != NULL && strcmp(provider->algorithm, bb_jwt_algorithm(jwt)) != 0) {
        return bb_fail(ctx, BB_UNAUTHORIZED,
                       "The token is not valid: it is signed with %s, not %s.",
                       bb_jwt_algorithm(jwt), provider->algorithm);
    }
    if (provider->keys != NULL)
        rc = bb_jwt_verify(ctx, jwt, provider->keys);
    if (rc != BB_NOT_FOUND)
        return rc;
    /* The issuer may have new keys. */
    if (!provider->is_inline && !times->is_fetching &&
        (times->tried_us == 0 || bb_loop_now_us(auth->gateway->loop) > times->tried_us + AGAIN_US))
        fetch(auth, set, index);
    if (provider->keys == NULL || times->is_fetching) {
        return bb_fail(ctx, BB_UNAVAILABLE,
                       "The keys of %s are being fetched; send the request again.",
                       provider->issuer);
    }
    return bb_fail(ctx, BB_UNAUTHORIZED, "The token is not valid: its key is none of %s.",
                   provider->issuer);
}

/* The first provider of this issuer that the token is for. BB_NOT_FOUND: none. */
static int check_set(struct bb_ctx *ctx, struct auth *auth, struct provider_set *set,
                     const struct bb_jwt *jwt)
{
    int rc = BB_NOT_FOUND;

    for (size_t i = 0; i < set->config.count; i++) {
        const struct auth_provider *provider = &set->config.providers[i];

        if (!gateway_auth_is_issuer(provider, bb_jwt_issuer(jwt)))
            continue;
        if (provider->audience == NULL || bb_jwt_is_for(jwt, provider->audience))
            return check_keys(ctx, auth, set, i, jwt);
        rc = bb_fail(ctx, BB_UNAUTHORIZED,
                     "The token is not valid: it is not for this application (`aud` must be %s).",
                     provider->audience);
    }
    return rc;
}

static int check_token(struct bb_ctx *ctx, struct auth *auth, const struct bb_jwt *jwt)
{
    size_t count = auth->fixed.config.count + auth->deployed.config.count;
    int rc = check_set(ctx, auth, &auth->fixed, jwt);

    if (rc == BB_NOT_FOUND)
        rc = check_set(ctx, auth, &auth->deployed, jwt);
    if (rc == BB_NOT_FOUND && !auth->has_deployed) {
        return bb_fail(ctx, BB_UNAVAILABLE,
                       "The auth providers are not known yet; send the request again.");
    }
    if (rc == BB_NOT_FOUND && count == 0)
        return bb_fail(ctx, BB_UNAUTHORIZED, NO_PROVIDER);
    if (rc == BB_NOT_FOUND) {
        return bb_fail(ctx, BB_UNAUTHORIZED,
                       "The token is not valid: its issuer %.200s is none of the configured.",
                       bb_jwt_issuer(jwt));
    }
    if (rc == BB_OK)
        rc = bb_jwt_check_time(ctx, jwt, bb_wall_us(auth->gateway->ctx), auth->skew_s);
    return rc;
}

static bool is_known(struct auth *auth, const uint8_t hash[32], struct bb_arena *arena,
                     struct caller *caller)
{
    const struct known_token *place = place_of(auth, hash);

    if (place->identity.data == NULL || memcmp(place->hash, hash, sizeof(place->hash)) != 0 ||
        bb_wall_us(auth->gateway->ctx) >= place->expires_us)
        return false;
    caller->identity = bb_arena_dup(arena, place->identity);
    caller->expires_us = place->expires_us;
    return true;
}

int gateway_auth_token(struct bb_ctx *ctx, struct gateway *gateway, struct bb_arena *arena,
                       struct bb_slice token, struct caller *caller)
{
    struct auth *auth = gateway->auth;
    struct bb_jwt *jwt = NULL;
    struct bb_buf identity;
    uint8_t hash[32];
    int rc;

    *caller = (struct caller){ .is_admin = false };
    bb_sha256(token, hash);
    if (is_known(auth, hash, arena, caller))
        return BB_OK;
    if (auth->has_deployed && auth->fixed.config.count + auth->deployed.config.count == 0)
        return bb_fail(ctx, BB_UNAUTHORIZED, NO_PROVIDER);
    rc = bb_jwt_parse(ctx, token, &jwt);
    if (rc == BB_OK)
        rc = check_token(ctx, auth, jwt);
    if (rc == BB_OK) {
        bb_buf_init(&identity);
        bb_jwt_append_identity(jwt, &identity);
        caller->identity = bb_arena_dup(arena, bb_buf_slice(&identity));
        caller->expires_us = bb_jwt_expires_us(jwt) + (uint64_t)auth->skew_s * 1000000;
        bb_buf_fini(&identity);
        remember(auth, hash, caller);
    }
    bb_jwt_free(jwt);
    return rc;
}

int gateway_auth_caller(struct bb_ctx *ctx, struct gateway *gateway, struct bb_arena *arena,
                        struct bb_slice header, struct caller *caller)
{
    struct bb_slice token;

    if (gateway_ask_bearer(header, &token))
        return gateway_auth_token(ctx, gateway, arena, token, caller);
    return gateway_authorize(ctx, arena, bb_buf_slice(&gateway->admin_key), header, caller);
}

/* ---- open and close ---- */

static void watch_config(struct bb_ctx *ctx, struct auth *auth)
{
    struct sessions *sessions = gateway_sessions(auth->gateway);
    struct session_options options = { .is_admin = true, .owner = &auth->sink };
    struct bb_slice args;
    int rc = gateway_ask_args(ctx, BB_SLICE_EMPTY, &args);

    auth->sink = (struct sink){ .deliver = deliver, .is_blocked = is_blocked };
    auth->session = gateway_session_new(sessions, &options);
    if (rc == BB_OK)
        rc = gateway_session_add(ctx, auth->session, 1, CONFIG_PATH, args, NULL);
    bb_assert(rc == BB_OK); /* it is the first of all */
    (void)gateway_session_go(auth->session);
}

static int read_file(struct bb_ctx *ctx, struct auth *auth, const char *path)
{
    struct bb_buf text;
    int rc;

    bb_buf_init(&text);
    rc = bb_file_read_all(ctx, path, &text);
    if (rc == BB_OK)
        rc = gateway_auth_config_parse(ctx, bb_buf_slice(&text), &auth->fixed.config);
    bb_buf_fini(&text);
    return rc;
}

int gateway_auth_open(struct bb_ctx *ctx, struct gateway *gateway, const struct bb_conf *conf)
{
    const char *file = bb_conf_text(conf, "auth-config");
    struct auth *auth = bb_alloc_zero(1, sizeof(*auth));
    int rc = BB_OK;

    gateway->auth = auth;
    auth->gateway = gateway;
    auth->skew_s = (uint32_t)bb_conf_number(conf, "auth-skew");
    if (file != NULL && file[0] != '\0')
        rc = read_file(ctx, auth, file);
    if (rc != BB_OK)
        return rc;
    watch_config(ctx, auth);
    auth->tick = bb_timer_new(gateway->loop, on_tick, auth);
    bb_timer_start(auth->tick, 0, TICK_MS);
    return BB_OK;
}

void gateway_auth_close(struct gateway *gateway)
{
    struct auth *auth = gateway->auth;

    if (auth == NULL)
        return;
    gateway->auth = NULL;
    bb_timer_free(auth->tick);
    gateway_auth_fetcher_free(auth->fetcher);
    gateway_session_free(auth->session);
    gateway_auth_config_fini(&auth->fixed.config);
    gateway_auth_config_fini(&auth->deployed.config);
    forget_tokens(auth);
    bb_free(auth);
}

size_t gateway_auth_session_count(const struct gateway *gateway)
{
    return gateway->auth != NULL && gateway->auth->session != NULL ? 1 : 0;
}
