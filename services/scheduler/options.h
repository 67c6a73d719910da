/* Options of bb-scheduler. */
#ifndef SCHEDULER_OPTIONS_H
#define SCHEDULER_OPTIONS_H

#include "bb/conf.h"

extern const struct bb_option scheduler_options[];

#endif
