/* main.c - runs the command and exits. The only file that exits. */
#include <unistd.h>

#include "server/cmd/cmd.h"

int main(int argc, char **argv)
{
    int code = cmd_run(argc, argv);
    if (code & EXIT_NOW) /* other threads still use everything: leave it all to the system */
        _exit(code & 255);
    return code;
}
