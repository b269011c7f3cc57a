/* version.c - `inferd version`. */
#include <stdio.h>

#include "server/cmd/cmd.h"
#include "server/version.h"

int cmd_version(const struct config *c)
{
    printf(c->json ? "{\"name\":\"inferd\",\"version\":\"%s\"}\n" : "inferd %s\n", INFERD_VERSION);
    return EXIT_GOOD;
}
