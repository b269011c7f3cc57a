/* plan.c - `inferd plan FILE`: the memory that `serve` with the same options would take. */
#include "server/cmd/cmd.h"
#include "server/cmd/loader.h"

int cmd_plan(const struct config *c)
{
    struct buf out = {0};
    struct engine_options o;
    struct random_model random;
    engine_options_of(c, &o, &random);
    int code = engine_plan(&o, &out) == OK ? EXIT_GOOD : cmd_failed();
    if (code == EXIT_GOOD)
        code = cmd_print(&out);
    buf_clear(&out);
    return code;
}
