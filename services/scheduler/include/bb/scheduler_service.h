/* The scheduler as a service, for its own program and for bb-solo. See
 * services/scheduler/README.md. */
#ifndef BB_SCHEDULER_SERVICE_H
#define BB_SCHEDULER_SERVICE_H

#include "bb/rt.h"

extern const struct bb_service_def bb_scheduler_service;

#endif
