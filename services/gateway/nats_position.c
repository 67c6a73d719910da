#include "nats_position.h"

#include <inttypes.h>
#include <stdio.h>

#define KEY "end"

static natsStatus open_bucket(kvStore **bucket, jsCtx *js, const char *stream)
{
    kvConfig config;
    char name[256];
    natsStatus status;

    if (snprintf(name, sizeof(name), "%s-position", stream) >= (int)sizeof(name))
        return NATS_INVALID_ARG;
    status = js_KeyValue(bucket, js, name);
    if (status != NATS_NOT_FOUND)
        return status;
    (void)kvConfig_Init(&config);
    config.Bucket = name;
    return js_CreateKeyValue(bucket, js, &config);
}

natsStatus gateway_nats_position_load(jsCtx *js, const char *stream, struct nats_position *position)
{
    kvStore *bucket = NULL;
    kvEntry *entry = NULL;
    natsStatus status = open_bucket(&bucket, js, stream);

    if (status == NATS_OK)
        status = kvStore_Get(&entry, bucket, KEY);
    if (status == NATS_OK && sscanf(kvEntry_ValueString(entry), "%" SCNu64 " %" SCNu64,
                                    &position->seq, &position->tx) != 2)
        status = NATS_NOT_FOUND;
    kvEntry_Destroy(entry);
    kvStore_Destroy(bucket);
    return status;
}

natsStatus gateway_nats_position_save(jsCtx *js, const char *stream,
                                      const struct nats_position *position)
{
    kvStore *bucket = NULL;
    char text[64];
    natsStatus status = open_bucket(&bucket, js, stream);

    (void)snprintf(text, sizeof(text), "%" PRIu64 " %" PRIu64, position->seq, position->tx);
    if (status == NATS_OK)
        status = kvStore_PutString(NULL, bucket, KEY, text);
    kvStore_Destroy(bucket);
    return status;
}
