/* Options of bb-gateway. */
#include "options.h"

const struct bb_option gateway_options[] = {
    { "listen", BB_OPTION_TEXT, "127.0.0.1:3210", 0, 0, "HOST:PORT",
      "Where browsers and programs reach the HTTP API." },
    { "workers", BB_OPTION_TEXT, "tcp://127.0.0.1:3521", 0, 0, "URLS",
      "The workers, separated by commas." },
    { "storage", BB_OPTION_TEXT, "tcp://127.0.0.1:3501", 0, 0, "URLS",
      "The storage nodes, separated by commas." },
    { "admin-key", BB_OPTION_TEXT, NULL, 0, 0, "KEY",
      "The key that opens the admin API; better in a file, see admin-key-file." },
    { "admin-key-file", BB_OPTION_TEXT, NULL, 0, 0, "FILE",
      "A file whose first line is the admin key; without a key the admin API stays shut." },
    { "static", BB_OPTION_TEXT, NULL, 0, 0, "DIR", "A folder of files that are served at /." },
    { "show-errors", BB_OPTION_BOOL, "false", 0, 0, NULL,
      "Show messages and stacks of errors thrown by functions to every caller." },
    { "connections-max", BB_OPTION_NUMBER, "10000", 1, 1000000, "COUNT",
      "HTTP connections that may be open at once; more get 503." },
    { "calls-max", BB_OPTION_NUMBER, "4096", 1, 1000000, "COUNT",
      "Function calls that may be under way at once; more get 503." },
    { "body-max", BB_OPTION_SIZE, "20M", 1024, 1u << 30, "SIZE",
      "The largest body of a request; larger ones get 413." },
    { "live-bytes", BB_OPTION_SIZE, "64M", 1u << 20, 1ull << 40, "SIZE",
      "Memory for results and read ranges of live queries; beyond it new subscriptions get 503." },
    { "feed-bytes", BB_OPTION_SIZE, "8M", 64u << 10, 1ull << 40, "SIZE",
      "Memory for the newest transactions, which consumers of the feed share; others read storage." },
    { NULL, BB_OPTION_TEXT, NULL, 0, 0, NULL, NULL },
};
