/* The program bb-gateway. */
#include "bb/gateway_service.h"

int main(int argc, char **argv)
{
    return bb_service_main(&bb_gateway_service, argc, argv);
}
