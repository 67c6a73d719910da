/* The sequencer as a service, for its own program and for bb-solo. See
 * services/sequencer/README.md. */
#ifndef BB_SEQUENCER_SERVICE_H
#define BB_SEQUENCER_SERVICE_H

#include "bb/rt.h"

extern const struct bb_service_def bb_sequencer_service;

#endif
