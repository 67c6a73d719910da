#include "bb/solo_service.h"

int main(int argc, char **argv)
{
    return bb_service_main(&bb_solo_service, argc, argv);
}
