/* Options of bb-storage. */
#ifndef STORAGE_OPTIONS_H
#define STORAGE_OPTIONS_H

#include "bb/conf.h"

extern const struct bb_option storage_options[];

#endif
