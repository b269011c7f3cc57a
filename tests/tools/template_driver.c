/* template_driver.c - renders templates for template_fuzz.py: reads JSON lines {"template", "vars"}
 * on stdin and answers each with a line {"ok", "text"}. template_fuzz.py builds it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/text/template.h"
#include "kernels/base/arena.h"

static enum status answer(const struct json *line, struct buf *text)
{
    const struct json *source = json_get(line, "template");
    struct chat_template *t;
    TRY(template_parse(source->text.p, source->text.n, &t));
    struct template_limits limits = {.now = 1700000000, .max_steps = 3000000};
    enum status s = template_render(t, json_get(line, "vars"), &limits, text);
    template_free(t);
    return s;
}

int main(void)
{
    char *line = NULL;
    size_t cap = 0;
    ssize_t n;
    while ((n = getline(&line, &cap, stdin)) > 0) {
        struct arena a;
        struct buf text = {0}, out = {0};
        const struct json *v;
        arena_init(&a, 0);
        enum status s = json_parse(&a, line, (size_t)n - 1, &v);
        if (s == OK)
            s = answer(v, &text);
        const char *p = s == OK ? text.data : fail_text();
        buf_printf(&out, "{\"ok\": %s, \"text\": ", s == OK ? "true" : "false");
        json_write_string(&out, p ? p : "", p ? (s == OK ? text.len : strlen(p)) : 0);
        buf_puts(&out, "}\n");
        fwrite(out.data, 1, out.len, stdout);
        fflush(stdout);
        buf_clear(&text);
        buf_clear(&out);
        arena_clear(&a);
    }
    free(line);
    return 0;
}
