/* tokenize.c - `inferd tokenize FILE`: text on standard input, token ids on one line. */
#include "server/cmd/cmd.h"

enum { MAX_TEXT = 1 << 30 };

int cmd_tokenize(const struct config *c)
{
    struct buf text = {0}, out = {0};
    struct arena arena;
    struct model *m = NULL;
    struct token_list ids;
    int code = EXIT_BAD;
    arena_init(&arena, 0);
    if (model_open_text(c->model, &m) != OK || cmd_read_stdin(MAX_TEXT, &text) != OK ||
        model_tokenize(m, &arena, (struct bytes){text.data, text.len}, c->special,
                       c->bos ? AROUND_TEXT : AROUND_NOTHING, &ids) != OK) {
        cmd_failed();
    } else {
        for (int i = 0; i < ids.n; i++)
            buf_printf(&out, i ? " %d" : "%d", ids.id[i]);
        buf_putc(&out, '\n');
        code = cmd_print(&out);
    }
    if (m)
        model_close_text(m);
    arena_clear(&arena);
    buf_clear(&text);
    buf_clear(&out);
    return code;
}
