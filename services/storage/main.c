#include "bb/storage_service.h"

int main(int argc, char **argv)
{
    return bb_service_main(&bb_storage_service, argc, argv);
}
