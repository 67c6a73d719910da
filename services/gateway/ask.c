#include "ask.h"
#include "gateway.h"
#include "token.h"

#include <strings.h>

/* Text that names a function: printable, no blanks, no empty parts of a path. */
static bool is_path_text(struct bb_slice text)
{
    if (text.size == 0 || text.size > ASK_PATH_MAX)
        return false;
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] <= ' ' || text.data[i] == 0x7f)
            return false;
    }
    return bb_utf8_is_valid(text);
}

int gateway_ask_path(struct bb_ctx *ctx, struct bb_arena *arena, struct bb_slice text,
                     const char **path)
{
    struct bb_slice module = text;
    struct bb_slice function = bb_slice_str("default");
    size_t colon = text.size;

    if (!is_path_text(text)) {
        return bb_fail(
            ctx, BB_BAD_REQUEST,
            "`path` must name a function, like \"messages:list\" (at most %u bytes, no blanks)",
            ASK_PATH_MAX);
    }
    while (colon > 0 && text.data[colon - 1] != ':')
        colon--;
    if (colon > 0) {
        module.size = colon - 1;
        function = bb_slice(text.data + colon, text.size - colon);
    }
    if (module.size > 3 && memcmp(module.data + module.size - 3, ".js", 3) == 0)
        module.size -= 3;
    if (module.size == 0 || function.size == 0) {
        return bb_fail(ctx, BB_BAD_REQUEST, "`path` has no module or no function: \"%.*s\"",
                       BB_SLICE_ARG(text));
    }
    *path = bb_arena_printf(arena, "%.*s:%.*s", BB_SLICE_ARG(module), BB_SLICE_ARG(function));
    return *path == NULL ? bb_fail(ctx, BB_TOO_LARGE, "the request is too large") : BB_OK;
}

int gateway_ask_run_path(struct bb_ctx *ctx, struct bb_arena *arena, struct bb_slice text,
                         const char **path)
{
    size_t slash = text.size;
    const char *changed;

    if (text.size == 0)
        return gateway_ask_path(ctx, arena, text, path);
    if (memchr(text.data, ':', text.size) != NULL || memchr(text.data, '/', text.size) == NULL)
        return gateway_ask_path(ctx, arena, text, path);
    while (slash > 0 && text.data[slash - 1] != '/')
        slash--;
    changed = bb_arena_printf(arena, "%.*s:%.*s", (int)(slash - 1), (const char *)text.data,
                              (int)(text.size - slash), (const char *)text.data + slash);
    if (changed == NULL)
        return bb_fail(ctx, BB_TOO_LARGE, "the request is too large");
    return gateway_ask_path(ctx, arena, bb_slice_str(changed), path);
}

int gateway_ask_args(struct bb_ctx *ctx, struct bb_slice value, struct bb_slice *args)
{
    /* An object without fields. */
    static const uint8_t empty[] = { BB_TAG_OBJECT, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 };

    if (value.data == NULL) {
        *args = bb_slice(empty, sizeof(empty));
        return BB_OK;
    }
    if (bb_value_tag(value) == BB_TAG_ARRAY) {
        if (bb_value_count(value) == 0) {
            *args = bb_slice(empty, sizeof(empty));
            return BB_OK;
        }
        if (bb_value_count(value) > 1) {
            return bb_fail(ctx, BB_BAD_REQUEST, "`args` must hold one object, it holds %zu values",
                           bb_value_count(value));
        }
        value = bb_value_at(value, 0);
    }
    if (bb_value_tag(value) != BB_TAG_OBJECT) {
        return bb_fail(ctx, BB_BAD_REQUEST,
                       "`args` must be an object, or an array with one object");
    }
    if (value.size > GATEWAY_ARGS_MAX) {
        return bb_fail(ctx, BB_BODY_TOO_LARGE,
                       "`args` has %zu bytes, the limit is %u: send less at once", value.size,
                       GATEWAY_ARGS_MAX);
    }
    *args = value;
    return BB_OK;
}

int gateway_ask_format(struct bb_ctx *ctx, struct bb_slice text, enum bb_json_format *format)
{
    if (text.size == 0 || bb_slice_equal_str(text, "json")) {
        *format = BB_JSON_CLEAN;
    } else if (bb_slice_equal_str(text, "convex_encoded_json")) {
        *format = BB_JSON_ENCODED;
    } else {
        return bb_fail(ctx, BB_BAD_REQUEST, "`format` must be \"json\" or \"convex_encoded_json\"");
    }
    return BB_OK;
}

int gateway_ask_envelope(struct bb_ctx *ctx, struct bb_arena *arena, struct bb_slice envelope,
                         const char *path, struct ask *ask)
{
    struct bb_slice field;
    int rc = BB_OK;

    if (bb_value_tag(envelope) != BB_TAG_OBJECT)
        return bb_fail(ctx, BB_BAD_REQUEST, "the body must be a JSON object {path, args}");
    ask->path = path;
    if (path == NULL) {
        field = bb_value_field_str(envelope, "path");
        if (field.data == NULL || bb_value_tag(field) != BB_TAG_STRING)
            return bb_fail(ctx, BB_BAD_REQUEST, "the body has no text field `path`");
        rc = gateway_ask_path(ctx, arena, bb_value_bytes(field), &ask->path);
    }
    field = bb_value_field_str(envelope, "componentPath");
    if (rc == BB_OK && field.data != NULL && bb_value_tag(field) == BB_TAG_STRING &&
        bb_value_bytes(field).size > 0)
        rc = bb_fail(ctx, BB_BAD_REQUEST, "`componentPath`: there are no components here");
    field = bb_value_field_str(envelope, "format");
    if (rc == BB_OK && field.data != NULL && bb_value_tag(field) != BB_TAG_STRING &&
        bb_value_tag(field) != BB_TAG_NULL)
        rc = bb_fail(ctx, BB_BAD_REQUEST, "`format` must be a text");
    if (rc == BB_OK) {
        rc = gateway_ask_format(ctx,
                                field.data == NULL || bb_value_tag(field) == BB_TAG_NULL
                                    ? BB_SLICE_EMPTY
                                    : bb_value_bytes(field),
                                &ask->format);
    }
    if (rc == BB_OK)
        rc = gateway_ask_args(ctx, bb_value_field_str(envelope, "args"), &ask->args);
    return rc;
}

/* ---- who ---- */

static bool takes_scheme(struct bb_slice *header, const char *scheme)
{
    size_t size = strlen(scheme);

    if (header->size <= size || strncasecmp((const char *)header->data, scheme, size) != 0 ||
        header->data[size] != ' ')
        return false;
    *header = bb_slice(header->data + size + 1, header->size - size - 1);
    return true;
}

bool gateway_ask_bearer(struct bb_slice header, struct bb_slice *token)
{
    *token = header;
    return header.size > 0 && takes_scheme(token, "Bearer");
}

/* Both sides are hashed first, so that not even the length of the key can be measured. */
static bool is_key(struct bb_slice expected, struct bb_slice given)
{
    uint8_t a[32];
    uint8_t b[32];

    bb_sha256(expected, a);
    bb_sha256(given, b);
    return bb_equal_constant_time(bb_slice(a, sizeof(a)), bb_slice(b, sizeof(b)));
}

struct bb_slice gateway_ask_identity(struct bb_arena *arena, struct bb_slice value)
{
    struct bb_slice issuer = bb_value_field_str(value, "issuer");
    struct bb_slice subject = bb_value_field_str(value, "subject");
    bool is_complete = issuer.data == NULL || bb_value_tag(issuer) != BB_TAG_STRING ||
                       subject.data == NULL || bb_value_tag(subject) != BB_TAG_STRING ||
                       bb_value_field_str(value, "tokenIdentifier").data != NULL;
    struct bb_buf json;
    struct bb_buf name;
    struct bb_slice kept;

    bb_buf_init(&json);
    bb_buf_init(&name);
    bb_json_encode(value, BB_JSON_CLEAN, &json);
    if (!is_complete) {
        bb_buf_append_slice(&name, bb_value_bytes(issuer));
        bb_buf_append_byte(&name, '|');
        bb_buf_append_slice(&name, bb_value_bytes(subject));
        json.size--; /* the brace */
        bb_buf_append_str(&json, ",\"tokenIdentifier\":");
        bb_json_string(&json, bb_buf_slice(&name));
        bb_buf_append_byte(&json, '}');
    }
    kept = bb_arena_dup(arena, bb_buf_slice(&json));
    bb_buf_fini(&json);
    bb_buf_fini(&name);
    return kept;
}

/* "<key>:<base64 of a JSON identity>": the key, acting as a user. */
static int authorize_as(struct bb_ctx *ctx, struct bb_arena *arena, struct bb_slice key,
                        struct bb_slice given, struct caller *caller)
{
    size_t colon = given.size;
    struct bb_buf identity;
    struct bb_buf value;
    int rc;

    while (colon > 0 && given.data[colon - 1] != ':')
        colon--;
    if (colon == 0 || !is_key(key, bb_slice(given.data, colon - 1)))
        return bb_fail(ctx, BB_UNAUTHORIZED, "The admin key is wrong.");
    bb_buf_init(&identity);
    bb_buf_init(&value);
    rc = bb_base64_decode(ctx, bb_slice(given.data + colon, given.size - colon), &identity);
    if (rc == BB_OK)
        rc = bb_json_decode(ctx, bb_buf_slice(&identity), false, &value);
    if (rc != BB_OK || bb_value_tag(bb_buf_slice(&value)) != BB_TAG_OBJECT) {
        rc = bb_fail(ctx, BB_UNAUTHORIZED,
                     "The identity after the admin key is not base64 of a JSON object.");
    } else {
        caller->is_admin = true;
        caller->identity = gateway_ask_identity(arena, bb_buf_slice(&value));
    }
    bb_buf_fini(&identity);
    bb_buf_fini(&value);
    return rc;
}

int gateway_authorize(struct bb_ctx *ctx, struct bb_arena *arena, struct bb_slice admin_key,
                      struct bb_slice header, struct caller *caller)
{
    *caller = (struct caller){ .is_admin = false };
    if (header.data == NULL || header.size == 0)
        return BB_OK;
    if (takes_scheme(&header, "BitBend-Action"))
        return gateway_token_check(ctx, arena, admin_key, header, caller);
    if (!takes_scheme(&header, "BitBend") && !takes_scheme(&header, "Convex"))
        return bb_fail(ctx, BB_UNAUTHORIZED,
                       "Authorization must be `BitBend <admin key>` or `Bearer <token>`.");
    if (admin_key.size == 0) {
        return bb_fail(ctx, BB_UNAUTHORIZED,
                       "This gateway has no admin key; start it with --admin-key-file.");
    }
    if (is_key(admin_key, header)) {
        caller->is_admin = true;
        return BB_OK;
    }
    return authorize_as(ctx, arena, admin_key, header, caller);
}
