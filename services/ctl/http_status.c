#include <curl/curl.h>
#include <jansson.h>
#include <stdio.h>

#include "bb/env.h"

#include "ctl.h"

#define TIMEOUT_MS 5000L

struct target {
    char url[512], key[512];
};

/* URL and key: given, or from the embedded suite's dev.json. */
static int find_target(struct bb_ctx *ctx, const struct bb_conf *conf, struct target *target)
{
    char path[4096];
    struct bb_buf text = { 0 };
    json_t *json = NULL;
    const char *url = bb_conf_text(conf, "url");
    const char *key = bb_conf_text(conf, "admin-key");
    int rc = BB_OK;

    if (url == NULL || key == NULL) {
        (void)snprintf(path, sizeof path, "%s/dev.json", bb_conf_text(conf, "data"));
        rc = bb_file_read_all(ctx, path, &text);
        if (rc == BB_OK)
            json = json_loadb((const char *)text.data, text.size, 0, NULL);
        if (json == NULL) {
            rc = bb_fail(
                ctx, BB_NOT_FOUND,
                "no suite is running here (%s cannot be read): start one, or name --url and --admin-key",
                path);
            goto out;
        }
        if (url == NULL)
            url = json_string_value(json_object_get(json, "url"));
        if (key == NULL)
            key = json_string_value(json_object_get(json, "adminKey"));
    }
    (void)snprintf(target->url, sizeof target->url, "%s/api/admin/status", url == NULL ? "" : url);
    (void)snprintf(target->key, sizeof target->key, "Authorization: BitBend %s",
                   key == NULL ? "" : key);
out:
    json_decref(json);
    bb_buf_fini(&text);
    return rc;
}

static size_t on_body(char *data, size_t size, size_t count, void *arg)
{
    bb_buf_append(arg, data, size * count);
    return size * count;
}

static int fetch(struct bb_ctx *ctx, const struct target *target, struct bb_buf *body)
{
    CURL *curl = curl_easy_init();
    struct curl_slist *headers = curl_slist_append(NULL, target->key);
    long status = 0;
    int rc = BB_OK;

    bb_assert(curl != NULL && headers != NULL);
    (void)curl_easy_setopt(curl, CURLOPT_URL, target->url);
    (void)curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    (void)curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, TIMEOUT_MS);
    (void)curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
    (void)curl_easy_setopt(curl, CURLOPT_WRITEDATA, body);
    CURLcode code = curl_easy_perform(curl);
    (void)curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    if (code != CURLE_OK) {
        rc = bb_fail(ctx, BB_PEER_GONE, "%s: %s; is the suite running?", target->url,
                     curl_easy_strerror(code));
    } else if (status != 200) {
        rc = bb_fail(ctx, BB_UNAVAILABLE, "%s answered %ld: %.*s", target->url, status,
                     (int)(body->size < 200 ? body->size : 200), (char *)body->data);
    }
    curl_slist_free_all(headers);
    curl_easy_cleanup(curl);
    return rc;
}

/* {a: {b: 1}} as lines "a.b  1". */
static void print_flat(const char *prefix, json_t *json)
{
    char name[512];
    void *at = json_object_iter(json);

    for (; at != NULL; at = json_object_iter_next(json, at)) {
        json_t *value = json_object_iter_value(at);
        (void)snprintf(name, sizeof name, "%s%s%s", prefix, prefix[0] == '\0' ? "" : ".",
                       json_object_iter_key(at));
        if (json_is_object(value)) {
            print_flat(name, value);
        } else if (json_is_array(value)) {
            for (size_t i = 0; i < json_array_size(value); i++) {
                char element[560];
                (void)snprintf(element, sizeof element, "%s[%zu]", name, i);
                print_flat(element, json_array_get(value, i));
            }
        } else {
            char *text = json_dumps(value, JSON_ENCODE_ANY);
            (void)printf("%-36s %s\n", name, text == NULL ? "?" : text);
            bb_free(text);
        }
    }
}

int ctl_status_http(struct bb_ctx *ctx, const struct bb_conf *conf)
{
    struct target target = { 0 };
    struct bb_buf body = { 0 };
    json_t *json = NULL;

    int rc = find_target(ctx, conf, &target);
    if (rc == BB_OK)
        rc = fetch(ctx, &target, &body);
    if (rc == BB_OK) {
        json = json_loadb((const char *)body.data, body.size, 0, NULL);
        if (json == NULL)
            rc = bb_fail(ctx, BB_CORRUPT, "%s gave no JSON", target.url);
    }
    if (rc != BB_OK) {
        (void)fprintf(stderr, "bb-ctl: %s\n", ctx->error);
    } else if (bb_conf_bool(conf, "json")) {
        (void)printf("%.*s\n", (int)body.size, (char *)body.data);
    } else {
        print_flat("", json);
    }
    json_decref(json);
    bb_buf_fini(&body);
    return rc == BB_OK ? 0 : 1;
}
