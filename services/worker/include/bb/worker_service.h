/* The worker's supervisor as a service, for its own program and for bb-solo. */
#ifndef BB_WORKER_SERVICE_H
#define BB_WORKER_SERVICE_H

#include "bb/rt.h"

extern const struct bb_service_def bb_worker_service;

#endif
