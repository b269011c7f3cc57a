/* render.c - `inferd render FILE`: a chat request on standard input, the prompt on standard output,
 * byte for byte. */
#include "server/cmd/cmd.h"

enum { MAX_REQUEST = 64 << 20 };

int cmd_render(const struct config *c)
{
    struct buf text = {0}, out = {0};
    struct arena arena;
    const struct json *vars;
    struct model *m = NULL;
    int code = EXIT_BAD;
    arena_init(&arena, 0);
    if (model_open_text(c->model, &m) != OK || cmd_read_stdin(MAX_REQUEST, &text) != OK ||
        json_parse(&arena, text.data ? text.data : "", text.len, &vars) != OK ||
        model_render(m, vars, &out) != OK)
        cmd_failed();
    else
        code = cmd_print(&out);
    if (m)
        model_close_text(m);
    arena_clear(&arena);
    buf_clear(&text);
    buf_clear(&out);
    return code;
}
