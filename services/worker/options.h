/* The worker's option table. */
#ifndef WORKER_OPTIONS_H
#define WORKER_OPTIONS_H

#include "bb/conf.h"

extern const struct bb_option worker_options[];

#endif
