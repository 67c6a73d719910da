/*
 * The storage node as a service: the replicated log, the data and the durable feed.
 */
#ifndef BB_STORAGE_SERVICE_H
#define BB_STORAGE_SERVICE_H

#include "bb/rt.h"

extern const struct bb_service_def bb_storage_service;

#endif
