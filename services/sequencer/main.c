#include "bb/sequencer_service.h"

int main(int argc, char **argv)
{
    return bb_service_main(&bb_sequencer_service, argc, argv);
}
