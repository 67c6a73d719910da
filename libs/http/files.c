#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server.h"

#define FILE_SIZE_MAX (32u << 20)

struct bb_http_files {
    struct bb_loop *loop;
    char *folder; /* absolute, without links */
};

/* One file on its way: filled on a pool thread, answered on the owner thread. */
struct file_job {
    uv_work_t work;
    struct bb_http_request *request;
    char *folder; /* a copy: the files may be closed before the pool thread is done */
    char path[PATH_MAX];
    struct bb_buf content;
    const char *content_type;
    char etag[64];
    bool is_found;
};

static const char *content_type_of(const char *path)
{
    static const struct {
        const char *ending, *type;
    } types[] = { { ".html", "text/html; charset=utf-8" },
                  { ".js", "text/javascript; charset=utf-8" },
                  { ".mjs", "text/javascript; charset=utf-8" },
                  { ".css", "text/css; charset=utf-8" },
                  { ".json", "application/json" },
                  { ".map", "application/json" },
                  { ".svg", "image/svg+xml" },
                  { ".png", "image/png" },
                  { ".jpg", "image/jpeg" },
                  { ".jpeg", "image/jpeg" },
                  { ".gif", "image/gif" },
                  { ".webp", "image/webp" },
                  { ".ico", "image/x-icon" },
                  { ".txt", "text/plain; charset=utf-8" },
                  { ".wasm", "application/wasm" },
                  { ".woff2", "font/woff2" } };
    size_t size = strlen(path);

    for (size_t i = 0; i < BB_COUNT_OF(types); i++) {
        size_t ending = strlen(types[i].ending);

        if (size > ending && strcmp(path + size - ending, types[i].ending) == 0)
            return types[i].type;
    }
    return "application/octet-stream";
}

/* "/a/b.html" as "a/b.html": no empty part, none that starts with a dot, no backslash, no zero. */
static bool safe_path(struct bb_slice path, char to[PATH_MAX])
{
    size_t size = 0;

    if (path.size == 0 || path.data[0] != '/' || path.size >= PATH_MAX - 16)
        return false;
    for (size_t i = 1; i < path.size; i++) {
        char c = (char)path.data[i];
        bool starts = path.data[i - 1] == '/';

        if (c == '\0' || c == '\\' || (starts && (c == '.' || c == '/')))
            return false;
        to[size++] = c;
    }
    to[size] = '\0';
    if (size == 0 || to[size - 1] == '/')
        memcpy(to + size, "index.html", sizeof("index.html"));
    return true;
}

static bool is_inside(const char *folder, const char *path)
{
    size_t size = strlen(folder);

    return strncmp(folder, path, size) == 0 && path[size] == '/';
}

static bool read_whole(int fd, size_t size, struct bb_buf *to)
{
    uint8_t *at = bb_buf_reserve(to, size + 1);

    while (to->size < size) {
        ssize_t got = read(fd, at + to->size, size - to->size);

        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return false;
        to->size += (size_t)got;
    }
    return true;
}

/* Pool thread. A link that leads out of the folder does not exist. */
static void file_work(uv_work_t *work)
{
    struct file_job *job = work->data;
    char full[PATH_MAX * 2];
    char real[PATH_MAX];
    struct stat status;
    int fd;

    (void)snprintf(full, sizeof(full), "%s/%s", job->folder, job->path);
    if (realpath(full, real) == NULL || !is_inside(job->folder, real))
        return;
    fd = open(real, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return;
    if (fstat(fd, &status) == 0 && S_ISREG(status.st_mode) && status.st_size <= FILE_SIZE_MAX &&
        read_whole(fd, (size_t)status.st_size, &job->content)) {
        (void)snprintf(job->etag, sizeof(job->etag), "\"%016" PRIx64 "\"",
                       bb_hash64(bb_buf_slice(&job->content), 0));
        job->content_type = content_type_of(real);
        job->is_found = true;
    }
    (void)close(fd);
}

static void file_done(uv_work_t *work, int status)
{
    struct file_job *job = work->data;
    struct bb_slice known = bb_http_header(job->request, "if-none-match");
    char headers[256];

    if (status != 0 || !job->is_found) {
        bb_http_respond_error(job->request, 404, "NotFound", "There is nothing at this path.");
    } else {
        (void)snprintf(headers, sizeof(headers), "ETag: %s\r\nCache-Control: no-cache\r\n%s",
                       job->etag, "X-Content-Type-Options: nosniff\r\n");
        if (bb_slice_equal_str(known, job->etag)) {
            bb_http_respond(job->request, 304, NULL, bb_slice_str(headers), BB_SLICE_EMPTY);
        } else {
            bb_http_respond(job->request, 200, job->content_type, bb_slice_str(headers),
                            bb_buf_slice(&job->content));
        }
    }
    bb_buf_fini(&job->content);
    bb_free(job->folder);
    bb_free(job);
}

int bb_http_files_open(struct bb_ctx *ctx, struct bb_loop *loop, const char *folder,
                       struct bb_http_files **files_out)
{
    struct bb_http_files *files;
    char real[PATH_MAX];
    struct stat status;

    if (realpath(folder, real) == NULL || stat(real, &status) != 0 || !S_ISDIR(status.st_mode)) {
        return bb_fail(ctx, BB_NOT_FOUND, "the folder %s, which should be served, does not exist",
                       folder);
    }
    files = bb_alloc_zero(1, sizeof(*files));
    files->loop = loop;
    files->folder = bb_strdup(real);
    *files_out = files;
    return BB_OK;
}

void bb_http_files_close(struct bb_http_files *files)
{
    if (files == NULL)
        return;
    bb_free(files->folder);
    bb_free(files);
}

void bb_http_files_serve(struct bb_http_files *files, struct bb_http_request *request)
{
    struct bb_ctx ctx = *bb_loop_ctx(files->loop);
    struct bb_slice path;
    struct file_job *job;

    if (bb_http_method(request) != BB_HTTP_GET && bb_http_method(request) != BB_HTTP_HEAD) {
        bb_http_respond_error(request, 405, "MethodNotAllowed", "Only GET and HEAD work here.");
        return;
    }
    if (bb_http_unescape(&ctx, bb_http_arena(request), bb_http_path(request), false, &path) !=
        BB_OK) {
        bb_http_respond_error(request, 400, "BadRequest", ctx.error);
        return;
    }
    job = bb_alloc_zero(1, sizeof(*job));
    job->work.data = job;
    job->request = request;
    job->folder = bb_strdup(files->folder);
    bb_buf_init(&job->content);
    if (!safe_path(path, job->path) ||
        uv_queue_work(bb_loop_uv(files->loop), &job->work, file_work, file_done) != 0) {
        bb_http_respond_error(request, 404, "NotFound", "There is nothing at this path.");
        bb_free(job->folder);
        bb_free(job);
    }
}
