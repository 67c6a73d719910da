/* Options of bb-worker. */
#include "options.h"

const struct bb_option worker_options[] = {
    { "listen", BB_OPTION_TEXT, "tcp://127.0.0.1:3521", 0, 0, "URL",
      "Where gateways reach this worker." },
    { "storage", BB_OPTION_TEXT, "tcp://127.0.0.1:3501", 0, 0, "URLS",
      "The storage nodes, separated by commas." },
    { "sequencer", BB_OPTION_TEXT, "tcp://127.0.0.1:3511", 0, 0, "URLS",
      "The sequencer and its standbys, separated by commas." },
    { "slots", BB_OPTION_NUMBER, "0", 0, 256, "COUNT",
      "Processes that run functions; 0: one per core and one more." },
    { "spare-slots", BB_OPTION_NUMBER, "2", 0, 64, "COUNT",
      "Further ones that are started while calls of more than 100 ms hold the slots, for calls that are "
      "short, and end 30 s after the last of these; 0: none." },
    { "node", BB_OPTION_TEXT, "", 0, 0, "FILE",
      "The Node.js program of the slots; empty: the one that came with BitBend." },
    { "addon", BB_OPTION_TEXT, "", 0, 0, "FILE",
      "The slots' native add-on bb_slot.node; empty: the one that came with BitBend." },
    { "slot-js", BB_OPTION_TEXT, "", 0, 0, "FILE",
      "The slots' start script slot.cjs; empty: the one that came with BitBend." },
    { "heap-mb", BB_OPTION_NUMBER, "256", 32, 4096, "MB", "JavaScript heap of one slot." },
    { "sandbox", BB_OPTION_TEXT, "auto", 0, 0, "auto|off|require",
      "Run slots without rights: as far as the system allows, not at all, or fully or not." },
    { "slot-start", BB_OPTION_TEXT, "fork", 0, 0, "fork|exec",
      "Make slots as copies of a process that is ready (fork), or start Node.js for each (exec)." },
    { "show-errors", BB_OPTION_BOOL, "false", 0, 0, NULL,
      "Show messages and stacks of errors thrown by functions to every caller." },
    { "cache-bytes", BB_OPTION_SIZE, "512M", 32u << 20, 1ull << 40, "SIZE",
      "Memory for documents and ranges that were read or written lately; a small document takes 500 bytes." },
    { "results-bytes", BB_OPTION_SIZE, "32M", 0, 1ull << 40, "SIZE",
      "Memory for results of queries that came more than once, which answer them until something that "
      "they read is written; 0: each query is run." },
    { "queue-max", BB_OPTION_NUMBER, "1024", 16, 65536, "COUNT",
      "Calls that may be here at once; more are refused." },
    { "outcome-seconds", BB_OPTION_NUMBER, "604800", 1, 31536000, "SECONDS",
      "How long the outcome of a mutation with a client's key answers that key; the same for all "
      "workers." },
    { NULL, BB_OPTION_TEXT, NULL, 0, 0, NULL, NULL },
};
