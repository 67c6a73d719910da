#include "auth_config.h"

#include <jansson.h>
#include <strings.h>

/* ---- texts ---- */

static char *without_slash(const char *text)
{
    char *copy = bb_strdup(text);
    size_t size = strlen(copy);

    if (size > 0 && copy[size - 1] == '/')
        copy[size - 1] = '\0';
    return copy;
}

/* Keys come by TLS, or from this machine. */
static bool is_safe_url(const char *url)
{
    static const char *const hosts[] = { "http://localhost", "http://127.0.0.1", "http://[::1]" };

    if (strncasecmp(url, "https://", 8) == 0)
        return url[8] != '\0';
    for (size_t i = 0; i < BB_COUNT_OF(hosts); i++) {
        size_t size = strlen(hosts[i]);

        if (strncasecmp(url, hosts[i], size) == 0 &&
            (url[size] == '\0' || url[size] == ':' || url[size] == '/'))
            return true;
    }
    return false;
}

static char *copy_field(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));

    return text == NULL || text[0] == '\0' ? NULL : bb_strdup(text);
}

/* ---- key sets that are given ---- */

static int hex_of(char digit)
{
    if (digit >= '0' && digit <= '9')
        return digit - '0';
    digit = (char)(digit | 0x20);
    return digit >= 'a' && digit <= 'f' ? digit - 'a' + 10 : -1;
}

static void append_unescaped(struct bb_buf *to, const char *text)
{
    for (; *text != '\0'; text++) {
        int high = text[0] == '%' ? hex_of(text[1]) : -1;
        int low = high >= 0 ? hex_of(text[2]) : -1;

        if (low < 0) {
            bb_buf_append_byte(to, (uint8_t)*text);
        } else {
            bb_buf_append_byte(to, (uint8_t)(high * 16 + low));
            text += 2;
        }
    }
}

/* "data:<type>[;base64],<content>" */
static int take_data_url(struct bb_ctx *ctx, const char *url, struct auth_provider *provider)
{
    const char *comma = strchr(url, ',');
    struct bb_buf content;
    struct bb_buf text;
    int rc = BB_OK;

    if (comma == NULL)
        return bb_fail(ctx, BB_BAD_REQUEST, "`jwks` is a data: URL without content");
    bb_buf_init(&content);
    bb_buf_init(&text);
    append_unescaped(&text, comma + 1);
    if (comma - url > 7 && strncasecmp(comma - 7, ";base64", 7) == 0) {
        while (text.size > 0 && text.size % 4 != 0)
            bb_buf_append_byte(&text, '=');
        rc = bb_base64_decode(ctx, bb_buf_slice(&text), &content);
    } else {
        bb_buf_append_slice(&content, bb_buf_slice(&text));
    }
    if (rc == BB_OK)
        rc = bb_jwt_keys_parse(ctx, bb_buf_slice(&content), &provider->keys);
    provider->is_inline = true;
    bb_buf_fini(&content);
    bb_buf_fini(&text);
    return rc;
}

static int take_key_set(struct bb_ctx *ctx, const json_t *jwks, struct auth_provider *provider)
{
    char *text = json_dumps(jwks, JSON_COMPACT);
    int rc;

    bb_assert(text != NULL);
    rc = bb_jwt_keys_parse(ctx, bb_slice_str(text), &provider->keys);
    provider->is_inline = true;
    free(text);
    return rc;
}

static int take_keys(struct bb_ctx *ctx, const json_t *object, struct auth_provider *provider)
{
    const json_t *jwks = json_object_get(object, "jwks");
    const char *url = json_string_value(jwks);

    if (json_is_object(jwks))
        return take_key_set(ctx, jwks, provider);
    if (url != NULL && strncasecmp(url, "data:", 5) == 0)
        return take_data_url(ctx, url, provider);
    if (url == NULL || !is_safe_url(url)) {
        return bb_fail(ctx, BB_BAD_REQUEST,
                       "`jwks` must be an https:// URL (http:// on this machine), a data: URL, or "
                       "a key set");
    }
    provider->keys_url = bb_strdup(url);
    return BB_OK;
}

/* ---- providers ---- */

static int take_custom(struct bb_ctx *ctx, const json_t *object, struct auth_provider *provider)
{
    const char *issuer = json_string_value(json_object_get(object, "issuer"));

    if (issuer == NULL || issuer[0] == '\0')
        return bb_fail(ctx, BB_BAD_REQUEST, "a customJwt provider needs `issuer`");
    provider->issuer = without_slash(issuer);
    provider->algorithm = copy_field(object, "algorithm");
    if (provider->algorithm != NULL && strcmp(provider->algorithm, "RS256") != 0 &&
        strcmp(provider->algorithm, "ES256") != 0 && strcmp(provider->algorithm, "EdDSA") != 0)
        return bb_fail(ctx, BB_BAD_REQUEST, "`algorithm` must be RS256, ES256 or EdDSA");
    return take_keys(ctx, object, provider);
}

static int take_openid(struct bb_ctx *ctx, const json_t *object, struct auth_provider *provider)
{
    const char *domain = json_string_value(json_object_get(object, "domain"));
    struct bb_buf url;
    int rc = BB_OK;

    if (domain == NULL || domain[0] == '\0')
        return bb_fail(ctx, BB_BAD_REQUEST, "an OpenID Connect provider needs `domain`");
    if (provider->audience == NULL)
        return bb_fail(ctx, BB_BAD_REQUEST, "an OpenID Connect provider needs `applicationID`");
    bb_buf_init(&url);
    if (strstr(domain, "://") == NULL)
        bb_buf_append_str(&url, "https://");
    bb_buf_append_str(&url, domain);
    bb_buf_append_byte(&url, '\0');
    provider->issuer = without_slash((const char *)url.data);
    if (!is_safe_url(provider->issuer)) {
        rc = bb_fail(ctx, BB_BAD_REQUEST,
                     "`domain` must be an https:// URL (http:// on this machine)");
    }
    bb_buf_fini(&url);
    return rc;
}

static int take_provider(struct bb_ctx *ctx, const json_t *object, struct auth_provider *provider)
{
    const char *type = json_string_value(json_object_get(object, "type"));

    if (!json_is_object(object))
        return bb_fail(ctx, BB_BAD_REQUEST, "it must be an object");
    provider->audience = copy_field(object, "applicationID");
    if (type != NULL && strcmp(type, "customJwt") == 0)
        return take_custom(ctx, object, provider);
    if (type != NULL)
        return bb_fail(ctx, BB_BAD_REQUEST, "`type` must be \"customJwt\", or absent");
    return take_openid(ctx, object, provider);
}

int gateway_auth_config_parse(struct bb_ctx *ctx, struct bb_slice json, struct auth_config *config)
{
    json_error_t error;
    json_t *root = json_loadb((const char *)json.data, json.size, JSON_REJECT_DUPLICATES, &error);
    const json_t *list = json_object_get(root, "providers");
    int rc = BB_OK;

    *config = (struct auth_config){ .count = 0 };
    if (!json_is_array(list) || json_array_size(list) > AUTH_PROVIDERS_MAX) {
        rc = bb_fail(ctx, BB_BAD_REQUEST,
                     "an auth config is {\"providers\": [..]} with at most %u of them%s%s",
                     AUTH_PROVIDERS_MAX, root == NULL ? ": " : "", root == NULL ? error.text : "");
    }
    while (rc == BB_OK && config->count < json_array_size(list)) {
        struct auth_provider *provider = &config->providers[config->count++];
        struct bb_ctx inner = *ctx;

        rc = take_provider(&inner, json_array_get(list, config->count - 1), provider);
        if (rc != BB_OK)
            (void)bb_fail(ctx, rc, "provider %zu: %s", config->count - 1, inner.error);
    }
    json_decref(root);
    if (rc != BB_OK)
        gateway_auth_config_fini(config);
    return rc;
}

void gateway_auth_config_fini(struct auth_config *config)
{
    for (size_t i = 0; i < config->count; i++) {
        struct auth_provider *provider = &config->providers[i];

        bb_free(provider->issuer);
        bb_free(provider->audience);
        bb_free(provider->algorithm);
        bb_free(provider->keys_url);
        bb_jwt_keys_free(provider->keys);
    }
    *config = (struct auth_config){ .count = 0 };
}

bool gateway_auth_is_issuer(const struct auth_provider *provider, const char *issuer)
{
    size_t size = strlen(issuer);

    if (size > 0 && issuer[size - 1] == '/')
        size--;
    return strlen(provider->issuer) == size && memcmp(provider->issuer, issuer, size) == 0;
}

/* ---- discovery ---- */

int gateway_auth_discovered(struct bb_ctx *ctx, const char *issuer, struct bb_slice json,
                            char **url)
{
    json_t *root = json_loadb((const char *)json.data, json.size, 0, NULL);
    const char *named = json_string_value(json_object_get(root, "issuer"));
    const char *keys = json_string_value(json_object_get(root, "jwks_uri"));
    char *copy = named == NULL ? NULL : without_slash(named);
    int rc = BB_OK;

    if (copy == NULL || strcmp(copy, issuer) != 0) {
        rc = bb_fail(ctx, BB_BAD_REQUEST, "discovery at %s answers for the issuer \"%.200s\"",
                     issuer, named == NULL ? "" : named);
    } else if (keys == NULL || !is_safe_url(keys)) {
        rc = bb_fail(ctx, BB_BAD_REQUEST, "discovery at %s names no `jwks_uri` with https://",
                     issuer);
    } else {
        *url = bb_strdup(keys);
    }
    bb_free(copy);
    json_decref(root);
    return rc;
}
