#include "options.h"

const struct bb_option storage_options[] = {
    { "listen", BB_OPTION_TEXT, "tcp://127.0.0.1:3501", 0, 0, "URL",
      "Where sequencers, workers and gateways reach this node." },
    { "data", BB_OPTION_TEXT, "bitbend-data", 0, 0, "DIR",
      "The folder of the data; made when missing." },
    { "memory", BB_OPTION_BOOL, "false", 0, 0, NULL,
      "Keep nothing: the data lies in a temporary folder that is removed at the end." },
    { "readers", BB_OPTION_NUMBER, "2", 1, 64, "COUNT", "Threads that answer reads." },
    { "flush-ms", BB_OPTION_NUMBER, "500", 1, 60000, "MS",
      "Committed changes go from memory into the data file after this long." },
    { "retention-days", BB_OPTION_NUMBER, "7", 0, 36500, "DAYS",
      "The feed keeps transactions this long; 0: no limit by age." },
    { "retention-bytes", BB_OPTION_SIZE, "10G", 0, 0, "SIZE",
      "The feed keeps at most this much; 0: no limit by size." },
    { "raft-id", BB_OPTION_NUMBER, "1", 1, UINT32_MAX, "ID",
      "This node's number among the storage nodes; never used again after its disk was lost." },
    { "raft-listen", BB_OPTION_TEXT, "", 0, 0, "HOST:PORT",
      "Where other storage nodes reach this one's log, on a private network; empty: it is the only one." },
    { NULL, BB_OPTION_TEXT, NULL, 0, 0, NULL, NULL },
};
