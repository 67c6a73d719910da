#include "options.h"

const struct bb_option solo_options[] = {
    { "data", BB_OPTION_TEXT, ".bitbend", 0, 0, "DIR",
      "folder that keeps everything of this suite; made when missing" },
    { "memory", BB_OPTION_BOOL, "false", 0, 0, NULL,
      "keep data in a temporary folder that is removed at the end" },
    { "listen", BB_OPTION_TEXT, "127.0.0.1:3210", 0, 0, "HOST:PORT", "address of the HTTP API" },
    { "port-search", BB_OPTION_BOOL, "false", 0, 0, NULL,
      "when the port is taken, take the next free one of the 100 that follow" },
    { "static", BB_OPTION_TEXT, NULL, 0, 0, "DIR", "folder of files to serve at /" },
    { "slots", BB_OPTION_NUMBER, "0", 0, 256, "COUNT",
      "worker slots; 0: one per core and one spare" },
    { "show-errors", BB_OPTION_BOOL, "false", 0, 0, NULL,
      "show messages and stacks of thrown errors to clients (for development)" },
    { "node", BB_OPTION_TEXT, NULL, 0, 0, "FILE",
      "Node.js 24 that runs the slots; default: the pinned one of the checkout" },
    { "addon", BB_OPTION_TEXT, NULL, 0, 0, "FILE",
      "bb_slot.node; default: beside the folder of this program" },
    { "slot-js", BB_OPTION_TEXT, NULL, 0, 0, "FILE", "slot.cjs; default: the one of the checkout" },
    { "sandbox", BB_OPTION_TEXT, "auto", 0, 0, "MODE",
      "isolation of slots: auto (the best that this machine allows), require, off" },
    { NULL, BB_OPTION_TEXT, NULL, 0, 0, NULL, NULL },
};
