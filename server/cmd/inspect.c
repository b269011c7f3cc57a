/* inspect.c - `inferd inspect FILE`: what a model file holds, and whether inferd can run it. */
#include "server/cmd/cmd.h"

int cmd_inspect(const struct config *c)
{
    struct buf out = {0};
    int code = engine_inspect(c->model, &out) == OK ? EXIT_GOOD : cmd_failed();
    if (code == EXIT_GOOD)
        code = cmd_print(&out);
    buf_clear(&out);
    return code;
}
