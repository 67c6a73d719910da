/* The gateway as a service: HTTP API, live queries over SSE, files. For main.c and bb-solo. */
#ifndef BB_GATEWAY_SERVICE_H
#define BB_GATEWAY_SERVICE_H

#include "bb/rt.h"

extern const struct bb_service_def bb_gateway_service;

#endif
