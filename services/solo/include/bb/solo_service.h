/* The embedded suite: all C roles but the worker's slots in one process, over inproc. */
#ifndef BB_SOLO_SERVICE_H
#define BB_SOLO_SERVICE_H

#include "bb/rt.h"

extern const struct bb_service_def bb_solo_service;

#endif
