#include "sequencer.h"

const struct bb_option sequencer_options[] = {
    { "listen", BB_OPTION_TEXT, "tcp://127.0.0.1:3511", 0, 0, "URL",
      "Where workers reach this sequencer: tcp://HOST:PORT, ipc:///PATH or inproc://NAME." },
    { "advertise", BB_OPTION_TEXT, "", 0, 0, "URL",
      "How workers name this sequencer in their list, when that is not what it listens on." },
    { "storage", BB_OPTION_TEXT, "tcp://127.0.0.1:3501", 0, 0, "URLS",
      "All storage nodes, separated by commas; the one that leads is found." },
    { "window-ms", BB_OPTION_NUMBER, "5000", 100, 60000, "MS",
      "How far the conflict window reaches back; a transaction on an older snapshot runs again." },
    { "batch-bytes", BB_OPTION_SIZE, "1M", 4096, 16777216, "BYTES",
      "About how much goes to storage in one batch." },
    { NULL, BB_OPTION_TEXT, NULL, 0, 0, NULL, NULL },
};
