/* Options of bb-solo. */
#ifndef SOLO_OPTIONS_H
#define SOLO_OPTIONS_H

#include "bb/conf.h"

extern const struct bb_option solo_options[];

#endif
