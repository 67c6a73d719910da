#include "bb/status.h"

#include <string.h>

enum place {
    OUT,
    IN
};

struct row {
    int status;
    int http;
    const char *name;
    enum place place;
    bool retry_helps;
};

#define BB_ROW(constant, wire, http_status, text, where, fault, retry) \
    { .status = (constant),                                            \
      .http = (http_status),                                           \
      .name = (text),                                                  \
      .place = (where),                                                \
      .retry_helps = (retry) },
static const struct row rows[] = { BB_STATUS_TABLE(BB_ROW) };
#undef BB_ROW

static const struct row *find(int status)
{
    const struct row *internal = &rows[0];

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (rows[i].status == status)
            return &rows[i];
        if (rows[i].status == BB_INTERNAL)
            internal = &rows[i];
    }
    return internal;
}

const char *bb_status_name(int status)
{
    return find(status)->name;
}

int bb_status_http(int status)
{
    return find(status)->http;
}

bool bb_status_in_function(int status)
{
    return find(status)->place == IN;
}

bool bb_status_retry_helps(int status)
{
    return find(status)->retry_helps;
}

int bb_status_by_name(const char *name)
{
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (strcmp(rows[i].name, name) == 0)
            return rows[i].status;
    }
    return -1;
}
