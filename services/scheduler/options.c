/* Options of bb-scheduler. */
#include "options.h"

const struct bb_option scheduler_options[] = {
    { "workers", BB_OPTION_TEXT, "tcp://127.0.0.1:3521", 0, 0, "URLS",
      "The workers, separated by commas." },
    { "storage", BB_OPTION_TEXT, "tcp://127.0.0.1:3501", 0, 0, "URLS",
      "The storage nodes, separated by commas." },
    { "nats", BB_OPTION_TEXT, NULL, 0, 0, "URL",
      "The NATS server with JetStream whose work queue takes action jobs; none: they wait." },
    { "deployment", BB_OPTION_TEXT, "main", 0, 0, "NAME",
      "Part of the names in NATS: subject bb.NAME.jobs, stream BB_NAME_JOBS." },
    { "lease-ms", BB_OPTION_NUMBER, "10000", 0, 600000, "MS",
      "A standby takes over when the active one was not heard of for this long; 0: there is no other." },
    { "name", BB_OPTION_TEXT, NULL, 0, 0, "NAME",
      "This scheduler's name among those that share a lease: it goes on at once after a restart; none: random." },
    { "mutations", BB_OPTION_NUMBER, "64", 1, 1024, "COUNT", "Mutation jobs that run at once." },
    { "queued", BB_OPTION_NUMBER, "1000", 1, 4000, "COUNT",
      "Action jobs that wait in NATS for a runner; the others wait in the database." },
    { "requeue-ms", BB_OPTION_NUMBER, "60000", 100, 86400000, "MS",
      "An action that no runner has taken for this long is put into the queue again." },
    { "runner-ms", BB_OPTION_NUMBER, "60000", 100, 86400000, "MS",
      "A runner that has not renewed an action for this long has lost it." },
    { "keep-hours", BB_OPTION_NUMBER, "168", 0, 87600, "HOURS",
      "How long jobs are kept after they ended." },
    { NULL, BB_OPTION_TEXT, NULL, 0, 0, NULL, NULL },
};
