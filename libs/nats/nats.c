#include "bb/nats.h"

#include <string.h>

#define DUPLICATES_NS 120000000000ll

char *bb_nats_shown(const char *urls)
{
    char *shown = bb_strdup(urls);
    char *to = shown;

    while (*urls != '\0') {
        size_t size = strcspn(urls, ",");
        const char *slashes = strstr(urls, "://");
        size_t head = slashes != NULL && slashes < urls + size ? (size_t)(slashes - urls) + 3 : 0;
        const char *at = memchr(urls + head, '@', size - head);
        size_t skip = at == NULL ? 0 : (size_t)(at + 1 - (urls + head));

        memcpy(to, urls, head);
        memcpy(to + head, urls + head + skip, size - head - skip);
        to += size - skip;
        urls += size;
        if (*urls == ',')
            *to++ = *urls++;
    }
    *to = '\0';
    return shown;
}

int bb_nats_check(struct bb_ctx *ctx, const char *urls)
{
    if (strncmp(urls, "nats://", 7) == 0 || strncmp(urls, "tls://", 6) == 0)
        return BB_OK;
    char *shown = bb_nats_shown(urls);
    int rc = bb_fail(ctx, BB_BAD_REQUEST, "option nats: %s is no nats:// or tls:// url", shown);
    bb_free(shown);
    return rc;
}

static natsStatus connect_to(const char *urls, natsOptions *options, natsConnection **connection)
{
    natsStatus status = natsOptions_SetURL(options, urls);

    if (status == NATS_OK)
        status = natsOptions_SetTimeout(options, BB_NATS_TIMEOUT_MS);
    if (status == NATS_OK)
        status = natsOptions_SetAllowReconnect(options, false);
    if (status == NATS_OK)
        status = natsConnection_Connect(connection, options);
    return status;
}

natsStatus bb_nats_open(const char *urls, struct bb_nats_stream *stream)
{
    natsOptions *options = NULL;
    natsStatus status = natsOptions_Create(&options);

    *stream = (struct bb_nats_stream){ 0 };
    if (status == NATS_OK)
        status = connect_to(urls, options, &stream->connection);
    natsOptions_Destroy(options);
    if (status == NATS_OK)
        status = natsConnection_JetStream(&stream->js, stream->connection, NULL);
    return status;
}

void bb_nats_close(struct bb_nats_stream *stream)
{
    jsCtx_Destroy(stream->js);
    natsConnection_Destroy(stream->connection);
    *stream = (struct bb_nats_stream){ 0 };
}

static natsStatus make(jsCtx *js, const char *name, const char *subject,
                       jsRetentionPolicy retention)
{
    const char *subjects[] = { subject };
    jsStreamConfig config;
    jsErrCode code = 0;

    (void)jsStreamConfig_Init(&config);
    config.Name = name;
    config.Subjects = subjects;
    config.SubjectsLen = 1;
    config.Retention = retention;
    config.Duplicates = DUPLICATES_NS;
    return js_AddStream(NULL, js, &config, NULL, &code);
}

natsStatus bb_nats_find(struct bb_nats_stream *stream, const char *name, const char *subject,
                        jsRetentionPolicy retention, uint64_t *last_seq)
{
    jsStreamInfo *info = NULL;
    jsErrCode code = 0;
    natsStatus status = js_GetStreamInfo(&info, stream->js, name, NULL, &code);

    *last_seq = 0;
    if (status == NATS_NOT_FOUND)
        return make(stream->js, name, subject, retention);
    if (status == NATS_OK)
        *last_seq = info->State.LastSeq;
    jsStreamInfo_Destroy(info);
    return status;
}
