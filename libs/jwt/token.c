/* A token: its three parts, whom it is for, when it is valid, and whether its signature is one. */
#include <jansson.h>

#include "jwt_internal.h"

struct bb_jwt {
    struct bb_buf signed_text; /* the first two parts, as they came */
    struct bb_buf signature;
    json_t *header, *claims;
    enum jwt_algorithm algorithm;
};

#define REFUSE(ctx, ...) bb_fail(ctx, BB_UNAUTHORIZED, "The token is not valid: " __VA_ARGS__)

/* ---- parsing ---- */

static json_t *parse_part(struct bb_ctx *ctx, struct bb_slice part)
{
    struct bb_buf bytes;
    json_t *json = NULL;

    bb_buf_init(&bytes);
    if (jwt_base64url_decode(ctx, part, &bytes) == BB_OK)
        json = json_loadb((const char *)bytes.data, bytes.size, JSON_REJECT_DUPLICATES, NULL);
    bb_buf_fini(&bytes);
    if (json != NULL && !json_is_object(json)) {
        json_decref(json);
        json = NULL;
    }
    return json;
}

static bool split(struct bb_slice token, struct bb_slice parts[3])
{
    size_t count = 0;
    size_t start = 0;

    for (size_t i = 0; i <= token.size; i++) {
        if (i < token.size && token.data[i] != '.')
            continue;
        if (count == 3)
            return false;
        parts[count++] = bb_slice(token.data + start, i - start);
        start = i + 1;
    }
    return count == 3;
}

static const char *text_of(const json_t *object, const char *name)
{
    return json_string_value(json_object_get(object, name));
}

static int check_parts(struct bb_ctx *ctx, struct bb_jwt *jwt)
{
    const char *algorithm = text_of(jwt->header, "alg");

    if (jwt->header == NULL || jwt->claims == NULL)
        return REFUSE(ctx, "it is not three parts of base64url with JSON objects.");
    if (algorithm == NULL || !jwt_algorithm_parse(algorithm, &jwt->algorithm))
        return REFUSE(ctx, "its algorithm is none of RS256, ES256 and EdDSA.");
    if (json_object_get(jwt->header, "crit") != NULL)
        return REFUSE(ctx, "it has extensions (`crit`) that are not known here.");
    if (text_of(jwt->claims, "iss") == NULL)
        return REFUSE(ctx, "it names no issuer (`iss`).");
    if (text_of(jwt->claims, "sub") == NULL || text_of(jwt->claims, "sub")[0] == '\0')
        return REFUSE(ctx, "it names no subject (`sub`).");
    return BB_OK;
}

int bb_jwt_parse(struct bb_ctx *ctx, struct bb_slice token, struct bb_jwt **parsed)
{
    struct bb_slice parts[3];
    struct bb_jwt *jwt;
    int rc;

    if (token.size > BB_JWT_SIZE_MAX)
        return REFUSE(ctx, "it has %zu bytes, the limit is %u.", token.size, BB_JWT_SIZE_MAX);
    if (!split(token, parts))
        return REFUSE(ctx, "it is not three parts of base64url with JSON objects.");
    jwt = bb_alloc_zero(1, sizeof(*jwt));
    jwt->header = parse_part(ctx, parts[0]);
    jwt->claims = parse_part(ctx, parts[1]);
    bb_buf_append(&jwt->signed_text, token.data, parts[0].size + 1 + parts[1].size);
    rc = check_parts(ctx, jwt);
    if (rc == BB_OK && jwt_base64url_decode(ctx, parts[2], &jwt->signature) != BB_OK)
        rc = REFUSE(ctx, "its signature is not base64url.");
    if (rc != BB_OK) {
        bb_jwt_free(jwt);
        return rc;
    }
    *parsed = jwt;
    return BB_OK;
}

void bb_jwt_free(struct bb_jwt *jwt)
{
    if (jwt == NULL)
        return;
    bb_buf_fini(&jwt->signed_text);
    bb_buf_fini(&jwt->signature);
    json_decref(jwt->header);
    json_decref(jwt->claims);
    bb_free(jwt);
}

/* ---- what it says ---- */

const char *bb_jwt_issuer(const struct bb_jwt *jwt)
{
    return text_of(jwt->claims, "iss");
}

const char *bb_jwt_algorithm(const struct bb_jwt *jwt)
{
    return text_of(jwt->header, "alg");
}

bool bb_jwt_is_for(const struct bb_jwt *jwt, const char *audience)
{
    const json_t *claim = json_object_get(jwt->claims, "aud");
    const char *one = json_string_value(claim);
    size_t index;
    json_t *item;

    if (one != NULL)
        return strcmp(one, audience) == 0;
    json_array_foreach(claim, index, item)
    {
        const char *text = json_string_value(item);

        if (text != NULL && strcmp(text, audience) == 0)
            return true;
    }
    return false;
}

/* ---- is it genuine ---- */

int bb_jwt_verify(struct bb_ctx *ctx, const struct bb_jwt *jwt, const struct bb_jwt_keys *keys)
{
    const char *id = text_of(jwt->header, "kid");
    bool has_candidate = false;

    for (size_t i = 0; i < keys->count; i++) {
        const struct jwt_key *key = &keys->keys[i];

        if (key->algorithm != jwt->algorithm ||
            (id != NULL && key->id != NULL && strcmp(id, key->id) != 0))
            continue;
        /* A key that is named but has no name of its own may be the one, or not. */
        has_candidate = has_candidate || id == NULL || key->id != NULL;
        if (jwt_signature_fits(key, bb_buf_slice(&jwt->signed_text), bb_buf_slice(&jwt->signature)))
            return BB_OK;
    }
    if (!has_candidate)
        return bb_fail(ctx, BB_NOT_FOUND, "The issuer has no key \"%.64s\" for %s.",
                       id == NULL ? "" : id, bb_jwt_algorithm(jwt));
    return REFUSE(ctx, "its signature is not that of the issuer.");
}

/* ---- time ---- */

/* Seconds; may have a fraction. False: it is not there. */
static bool take_time(const json_t *claims, const char *name, double *seconds)
{
    const json_t *claim = json_object_get(claims, name);

    *seconds = json_number_value(claim);
    return json_is_number(claim);
}

int bb_jwt_check_time(struct bb_ctx *ctx, const struct bb_jwt *jwt, uint64_t wall_us,
                      uint32_t skew_s)
{
    double now = (double)wall_us / 1e6;
    double skew = (double)skew_s;
    double at;

    if (!take_time(jwt->claims, "exp", &at) || at < 0 || at > 1e11)
        return REFUSE(ctx, "it does not say when it expires (`exp`).");
    if (at + skew <= now) {
        return bb_fail(ctx, BB_UNAUTHORIZED,
                       "The token has expired %.0f seconds ago: get a new one.", now - at);
    }
    if (take_time(jwt->claims, "nbf", &at) && at - skew > now)
        return REFUSE(ctx, "it becomes valid in %.0f seconds (`nbf`).", at - now);
    if (take_time(jwt->claims, "iat", &at) && at - skew > now)
        return REFUSE(ctx, "it was made in the future, by %.0f seconds (`iat`).", at - now);
    return BB_OK;
}

uint64_t bb_jwt_expires_us(const struct bb_jwt *jwt)
{
    double at;

    return take_time(jwt->claims, "exp", &at) && at > 0 && at < 1e11 ? (uint64_t)(at * 1e6) : 0;
}

/* ---- what functions see ---- */

/* The name of a claim in JavaScript; NULL: it is of the token and not of the user. */
static const char *name_of(const char *claim)
{
    static const char *const names[][2] = {
        { "iss", NULL },
        { "sub", NULL },
        { "aud", NULL },
        { "exp", NULL },
        { "iat", NULL },
        { "nbf", NULL },
        { "jti", NULL },
        { "sid", NULL },
        { "nonce", NULL },
        { "at_hash", NULL },
        { "c_hash", NULL },
        { "auth_time", NULL },
        { "tokenIdentifier", NULL },
        { "issuer", NULL },
        { "subject", NULL },
        { "given_name", "givenName" },
        { "family_name", "familyName" },
        { "preferred_username", "preferredUsername" },
        { "profile", "profileUrl" },
        { "picture", "pictureUrl" },
        { "website", "websiteUrl" },
        { "email_verified", "emailVerified" },
        { "birthdate", "birthday" },
        { "zoneinfo", "timezone" },
        { "locale", "language" },
        { "phone_number", "phoneNumber" },
        { "phone_number_verified", "phoneNumberVerified" },
        { "updated_at", "updatedAt" },
    };

    for (size_t i = 0; i < BB_COUNT_OF(names); i++) {
        if (strcmp(claim, names[i][0]) == 0)
            return names[i][1];
    }
    return claim;
}

void bb_jwt_append_identity(const struct bb_jwt *jwt, struct bb_buf *json)
{
    const char *issuer = bb_jwt_issuer(jwt);
    const char *subject = text_of(jwt->claims, "sub");
    json_t *identity = json_object();
    const char *claim;
    json_t *value;
    char *text;

    json_object_foreach(jwt->claims, claim, value)
    {
        const char *name = name_of(claim);

        if (name != NULL)
            (void)json_object_set(identity, name, value);
    }
    (void)json_object_set_new(identity, "tokenIdentifier", json_sprintf("%s|%s", issuer, subject));
    (void)json_object_set_new(identity, "issuer", json_string(issuer));
    (void)json_object_set_new(identity, "subject", json_string(subject));
    text = json_dumps(identity, JSON_COMPACT | JSON_SORT_KEYS);
    bb_assert(text != NULL);
    bb_buf_append_str(json, text);
    free(text);
    json_decref(identity);
}
