#include "auth_fetch.h"

#include <curl/curl.h>
#include <stdatomic.h>

#include "auth_config.h"

#define QUEUE_MAX  (2u * AUTH_PROVIDERS_MAX)
#define TIMEOUT_MS 8000L
#define CONNECT_MS 4000L
#define BODY_MAX   (1u << 20)
#define REDIRECTS  3L
#define ERROR_MAX  512u
#define DISCOVERY  "/.well-known/openid-configuration"
#define PROTOCOLS  "http,https"

struct auth_fetcher {
    struct bb_loop *loop;
    struct bb_pool *pool;
    atomic_bool is_stopping;
};

struct fetch {
    struct bb_job job;
    struct auth_fetcher *fetcher;
    char *issuer, *url;
    struct bb_buf body;
    int status;
    char error[ERROR_MAX];
    void (*done)(void *arg, int status, const char *error, struct bb_slice json);
    void *arg;
};

/* ---- on the pool's thread ---- */

static size_t on_body(char *data, size_t size, size_t count, void *arg)
{
    struct bb_buf *body = arg;

    if (body->size + size * count > BODY_MAX)
        return 0;
    bb_buf_append(body, data, size * count);
    return size * count;
}

static int on_progress(void *arg, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
    struct auth_fetcher *fetcher = arg;

    (void)a;
    (void)b;
    (void)c;
    (void)d;
    return atomic_load(&fetcher->is_stopping) ? 1 : 0;
}

static void set_options(CURL *curl, struct fetch *fetch, const char *url)
{
    (void)curl_easy_setopt(curl, CURLOPT_URL, url);
    (void)curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, PROTOCOLS);
    (void)curl_easy_setopt(curl, CURLOPT_REDIR_PROTOCOLS_STR, "https");
    (void)curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 1L);
    (void)curl_easy_setopt(curl, CURLOPT_MAXREDIRS, REDIRECTS);
    (void)curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    (void)curl_easy_setopt(curl, CURLOPT_FAILONERROR, 1L);
    (void)curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, TIMEOUT_MS);
    (void)curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_MS);
    (void)curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
    (void)curl_easy_setopt(curl, CURLOPT_WRITEDATA, &fetch->body);
    (void)curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
    (void)curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, on_progress);
    (void)curl_easy_setopt(curl, CURLOPT_XFERINFODATA, fetch->fetcher);
}

static int get(struct bb_ctx *ctx, struct fetch *fetch, const char *url)
{
    CURL *curl = curl_easy_init();
    CURLcode code;

    bb_assert(curl != NULL);
    bb_buf_clear(&fetch->body);
    set_options(curl, fetch, url);
    code = curl_easy_perform(curl);
    curl_easy_cleanup(curl);
    if (code == CURLE_OK)
        return BB_OK;
    return bb_fail(ctx, BB_UNAVAILABLE, "%s: %s", url, curl_easy_strerror(code));
}

static int discover(struct bb_ctx *ctx, struct fetch *fetch)
{
    struct bb_buf url;
    int rc;

    bb_buf_init(&url);
    bb_buf_printf(&url, "%s%s", fetch->issuer, DISCOVERY);
    bb_buf_append_byte(&url, '\0');
    rc = get(ctx, fetch, (const char *)url.data);
    if (rc == BB_OK)
        rc = gateway_auth_discovered(ctx, fetch->issuer, bb_buf_slice(&fetch->body), &fetch->url);
    bb_buf_fini(&url);
    return rc;
}

static void work(struct bb_job *job, size_t thread_index)
{
    struct fetch *fetch = bb_container(job, struct fetch, job);
    struct bb_ctx ctx = { .status = BB_OK };

    (void)thread_index;
    if (atomic_load(&fetch->fetcher->is_stopping))
        return;
    if (fetch->url == NULL)
        fetch->status = discover(&ctx, fetch);
    if (fetch->status == BB_OK)
        fetch->status = get(&ctx, fetch, fetch->url);
    if (fetch->status != BB_OK)
        (void)snprintf(fetch->error, sizeof(fetch->error), "%s", ctx.error);
}

/* ---- on the owner's ---- */

static void on_done(struct bb_job *job)
{
    struct fetch *fetch = bb_container(job, struct fetch, job);

    if (atomic_load(&fetch->fetcher->is_stopping))
        fetch->status = BB_CANCELLED;
    fetch->done(fetch->arg, fetch->status, fetch->error, bb_buf_slice(&fetch->body));
    bb_free(fetch->issuer);
    bb_free(fetch->url);
    bb_buf_fini(&fetch->body);
    bb_free(fetch);
}

int gateway_auth_fetch(struct bb_ctx *ctx, struct auth_fetcher *fetcher, const char *issuer,
                       const char *url,
                       void (*done)(void *arg, int status, const char *error, struct bb_slice json),
                       void *arg)
{
    struct fetch *fetch = bb_alloc_zero(1, sizeof(*fetch));
    int rc;

    fetch->job = (struct bb_job){ .work = work, .done = on_done, .loop = fetcher->loop };
    fetch->fetcher = fetcher;
    fetch->issuer = bb_strdup(issuer);
    fetch->url = url == NULL ? NULL : bb_strdup(url);
    fetch->done = done;
    fetch->arg = arg;
    rc = bb_pool_submit(ctx, fetcher->pool, &fetch->job);
    if (rc != BB_OK) {
        bb_free(fetch->issuer);
        bb_free(fetch->url);
        bb_free(fetch);
    }
    return rc;
}

struct auth_fetcher *gateway_auth_fetcher_new(struct bb_loop *loop)
{
    struct auth_fetcher *fetcher = bb_alloc_zero(1, sizeof(*fetcher));

    (void)curl_global_init(CURL_GLOBAL_DEFAULT);
    fetcher->loop = loop;
    fetcher->pool = bb_pool_new("auth", 1, QUEUE_MAX);
    atomic_init(&fetcher->is_stopping, false);
    return fetcher;
}

void gateway_auth_fetcher_free(struct auth_fetcher *fetcher)
{
    if (fetcher == NULL)
        return;
    atomic_store(&fetcher->is_stopping, true);
    bb_pool_free(fetcher->pool);
    bb_loop_drain(fetcher->loop); /* ends of jobs may be on their way */
    bb_free(fetcher);
}
