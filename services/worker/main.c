/* The program bb-worker. */
#include "bb/worker_service.h"

int main(int argc, char **argv)
{
    return bb_service_main(&bb_worker_service, argc, argv);
}
