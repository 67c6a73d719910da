#ifndef GATEWAY_OPTIONS_H
#define GATEWAY_OPTIONS_H

#include "bb/conf.h"

extern const struct bb_option gateway_options[];

#endif
