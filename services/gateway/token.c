#include "token.h"

#include "bb/env.h"

#define PREFIX "bbact1."

static bool is_signed(struct bb_slice admin_key, struct bb_slice text, struct bb_slice hex)
{
    uint8_t key[32];
    uint8_t mac[32];
    struct bb_buf expected;
    bool is_equal;

    bb_hmac_sha256(admin_key, bb_slice_str("bitbend action token"), key);
    bb_hmac_sha256(bb_slice(key, sizeof(key)), text, mac);
    bb_buf_init(&expected);
    bb_hex_append(&expected, bb_slice(mac, sizeof(mac)));
    is_equal = hex.size == expected.size && bb_equal_constant_time(bb_buf_slice(&expected), hex);
    bb_buf_fini(&expected);
    return is_equal;
}

/* base64url without padding, as JSON, as BBV. */
static int decode(struct bb_ctx *ctx, struct bb_slice text, struct bb_buf *value)
{
    struct bb_buf standard;
    struct bb_buf json;
    int rc;

    bb_buf_init(&standard);
    bb_buf_init(&json);
    for (size_t i = 0; i < text.size; i++) {
        uint8_t c = text.data[i];

        bb_buf_append_byte(&standard, c == '-' ? '+' : c == '_' ? '/' : c);
    }
    while (standard.size % 4 != 0)
        bb_buf_append_byte(&standard, '=');
    rc = bb_base64_decode(ctx, bb_buf_slice(&standard), &json);
    if (rc == BB_OK)
        rc = bb_json_decode(ctx, bb_buf_slice(&json), false, value);
    if (rc == BB_OK && bb_value_tag(bb_buf_slice(value)) != BB_TAG_OBJECT)
        rc = BB_BAD_JSON;
    bb_buf_fini(&standard);
    bb_buf_fini(&json);
    return rc;
}

static struct bb_slice field(struct bb_slice object, const char *name, enum bb_tag tag)
{
    struct bb_slice found = bb_value_field_str(object, name);

    return found.data != NULL && bb_value_tag(found) == tag ? found : BB_SLICE_EMPTY;
}

static int take(struct bb_ctx *ctx, struct bb_arena *arena, struct bb_slice value,
                struct caller *caller)
{
    struct bb_slice exp = field(value, "exp", BB_TAG_FLOAT64);
    struct bb_slice identity = field(value, "identity", BB_TAG_STRING);
    struct bb_slice job = field(value, "job", BB_TAG_STRING);
    struct bb_slice attempt = field(value, "attempt", BB_TAG_FLOAT64);

    if (exp.data == NULL || bb_value_float64(exp) * 1000 < (double)bb_wall_us(ctx)) {
        return bb_fail(ctx, BB_UNAUTHORIZED,
                       "The token of this action has expired: the action runs for too long.");
    }
    caller->is_action = true;
    if (identity.data != NULL)
        caller->identity = bb_arena_dup(arena, bb_value_bytes(identity));
    if (job.data != NULL && attempt.data != NULL) {
        caller->job = bb_arena_dup(arena, bb_value_bytes(job));
        caller->attempt = (int64_t)bb_value_float64(attempt);
    }
    return BB_OK;
}

int gateway_token_check(struct bb_ctx *ctx, struct bb_arena *arena, struct bb_slice admin_key,
                        struct bb_slice token, struct caller *caller)
{
    size_t dot = token.size;
    struct bb_buf value;
    int rc;

    while (dot > 0 && token.data[dot - 1] != '.')
        dot--;
    if (admin_key.size == 0 || dot <= strlen(PREFIX) ||
        !bb_slice_starts_with(token, bb_slice_str(PREFIX)) ||
        !is_signed(admin_key, bb_slice(token.data, dot - 1),
                   bb_slice(token.data + dot, token.size - dot)))
        return bb_fail(ctx, BB_UNAUTHORIZED, "This is no token of an action of this deployment.");
    bb_buf_init(&value);
    rc = decode(ctx, bb_slice(token.data + strlen(PREFIX), dot - 1 - strlen(PREFIX)), &value);
    rc = rc == BB_OK ? take(ctx, arena, bb_buf_slice(&value), caller)
                     : bb_fail(ctx, BB_UNAUTHORIZED, "The token of this action cannot be read.");
    bb_buf_fini(&value);
    return rc;
}
