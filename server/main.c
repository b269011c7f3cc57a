/* main.c - the process: one command, one exit code. The only file that may exit. */
#include <stdlib.h>
#include <unistd.h>

#include "server/cmd/cmd.h"

int main(int argc, char **argv)
{
    int code = cmd_run(argc, argv);
    if (code >= EXIT_NOW)
        _exit(code - EXIT_NOW);
    return code;
}
