/* The program bb-scheduler. */
#include "bb/scheduler_service.h"

int main(int argc, char **argv)
{
    return bb_service_main(&bb_scheduler_service, argc, argv);
}
