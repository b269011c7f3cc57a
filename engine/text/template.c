/* template.c - the public face of the template interpreter: parse once, render often.
 *
 * The only setjmp of the interpreter is here, in two functions that own nothing else while it is
 * armed (see jinja.h). Only variables that the template names are turned into values. */
#include "engine/text/template.h"

#include <string.h>

#include "engine/text/jinja_eval.h"
#include "engine/text/jinja_parse.h"
#include "kernels/base/clock.h"
#include "kernels/base/mem.h"
#include "kernels/base/utf8.h"

/* A long conversation (10,000 messages) takes about 3 million steps and 1,500 bytes of stack a
 * level; the defaults leave room above that and end within a few seconds and 1 MiB of stack. */
enum {
    PARSE_BYTES = 64 << 20,
    PARSE_STEPS = 50 * 1000 * 1000,
    PARSE_DEPTH = 400,
    RUN_BYTES = 512 << 20,
    RUN_STEPS = 50 * 1000 * 1000,
    RUN_OUTPUT = 64 << 20,
    RUN_DEPTH = 1000,
    TEXT_BYTES = 4 << 20
};

struct chat_template {
    struct arena arena; /* the tree */
    struct jnames names;
    struct jnode *body;
};

static bool parse(struct jinja *j, struct chat_template *t, const char *text, size_t n)
{
    if (setjmp(j->fail))
        return false;
    t->body = jp_parse(j, &t->names, text, n);
    return true;
}

enum status template_parse(const char *text, size_t n, struct chat_template **out)
{
    *out = NULL;
    if (n > TEXT_BYTES)
        return fail(ERR_TEMPLATE, "the template has %zu bytes, more than %d", n, TEXT_BYTES);
    if (utf8_valid_prefix(text, n) != n)
        return fail(ERR_TEMPLATE, "the template is not UTF-8 at byte %zu",
                    utf8_valid_prefix(text, n));
    struct jinja *j = xcalloc(1, sizeof *j);
    struct chat_template *t = xcalloc(1, sizeof *t);
    struct buf unused = {0};
    arena_init(&j->arena, PARSE_BYTES);
    j->max_steps = PARSE_STEPS;
    j->max_depth = PARSE_DEPTH;
    j->out = &unused;
    j->max_output = RUN_OUTPUT;
    t->names.ids = map_new(64);
    bool ok = parse(j, t, text, n);
    t->arena = j->arena;
    buf_clear(&unused);
    xfree(j);
    if (!ok) {
        template_free(t);
        return ERR_TEMPLATE;
    }
    *out = t;
    return OK;
}

void template_free(struct chat_template *t)
{
    if (!t)
        return;
    map_free(t->names.ids);
    arena_clear(&t->arena);
    xfree(t);
}

static void set_globals(struct jinja *j, const struct json *vars)
{
    const struct map *ids = j->names->ids;
    const struct jfunc *f;
    for (size_t i = 0; (f = jx_global(i)) != NULL; i++) {
        int id = map_get(ids, f->name, strlen(f->name), -1);
        if (id >= 0)
            j->globals[id] = (struct jval){.type = JV_FUNC, .func = f};
    }
    for (const struct json *v = vars ? vars->first : NULL; v; v = v->next) {
        int id = map_get(ids, v->key, strlen(v->key), -1);
        if (id >= 0)
            j->globals[id] = jv_from_json(j, v);
    }
}

static bool render(struct jinja *j, const struct chat_template *t, const struct json *vars)
{
    if (setjmp(j->fail))
        return false;
    size_t n = (size_t)t->names.n;
    j->globals = jinja_array(j, n, sizeof *j->globals);
    j->root = jinja_array(j, n, sizeof *j->root);
    memset(j->globals, 0, n * sizeof *j->globals); /* JV_MISSING */
    memset(j->root, 0, n * sizeof *j->root);
    set_globals(j, vars);
    jx_exec(j, t->body);
    return true;
}

enum status template_render(const struct chat_template *t, const struct json *vars,
                            const struct template_limits *limits, struct buf *out)
{
    static const struct template_limits none;
    const struct template_limits *l = limits ? limits : &none;
    size_t mark = out->len;
    struct jinja *j = xcalloc(1, sizeof *j);
    arena_init(&j->arena, RUN_BYTES);
    j->out = out;
    j->out_start = mark;
    j->max_output = l->max_output ? l->max_output : RUN_OUTPUT;
    j->max_steps = l->max_steps ? l->max_steps : RUN_STEPS;
    j->max_depth = l->max_depth ? l->max_depth : RUN_DEPTH;
    j->now = l->now ? l->now : (long long)clock_unix();
    j->names = &t->names;
    bool ok = render(j, t, vars);
    arena_clear(&j->arena);
    xfree(j);
    if (!ok)
        out->len = mark;
    if (out->data)
        out->data[out->len] = '\0';
    return ok ? OK : ERR_TEMPLATE;
}

/* What a conversation with two `%s` in it becomes, soon; empty: the template raises, or nothing. */
static void try_out(const struct chat_template *t, const char *messages, const char *first,
                    const char *second, struct buf *out)
{
    static const struct template_limits soon = {.max_steps = 1 << 20, .max_output = 1 << 20};
    struct arena a = {0};
    struct buf vars = {0};
    const struct json *v;
    buf_append(out, "", 0);
    buf_puts(&vars, "{\"messages\":[{\"role\":\"user\",\"content\":");
    buf_printf(&vars, messages, first, second);
    buf_puts(&vars, "],\"add_generation_prompt\":true,\"bos_token\":\"\",\"eos_token\":\"\"}");
    if (json_parse(&a, vars.data, vars.len, &v) != OK || template_render(t, v, &soon, out) != OK)
        buf_reset(out);
    buf_clear(&vars);
    arena_clear(&a);
}

/* Whether the argument of a tool call appears in what a conversation with one becomes. */
static bool shows_call(const struct chat_template *t, const char *content, const char *arguments)
{
    struct buf out = {0};
    try_out(t,
            "\"u\"},{\"role\":\"assistant\",\"content\":%s,\"tool_calls\":["
            "{\"id\":\"call00001\",\"type\":\"function\","
            "\"function\":{\"name\":\"f\",\"arguments\":%s}}]},{\"role\":\"tool\","
            "\"tool_call_id\":\"call00001\",\"name\":\"f\",\"content\":\"r\"}",
            content, arguments, &out);
    bool shows = memmem(out.data, out.len, "needle", 6) != NULL;
    buf_clear(&out);
    return shows;
}

bool template_wants_text_calls(const struct chat_template *t)
{
    return !shows_call(t, "\"\"", "{\"q\":\"needle\"}") &&
           shows_call(t, "null", "\"{\\\"q\\\":\\\"needle\\\"}\"");
}

bool template_takes_parts(const struct chat_template *t)
{
    struct buf out = {0};
    try_out(t, "[{\"type\":\"text\",\"text\":\"%s\"},{\"type\":\"text\",\"text\":\"%s\"}]}",
            "needle", "thread", &out);
    bool takes = memmem(out.data, out.len, "needle", 6) && memmem(out.data, out.len, "thread", 6) &&
                 !memmem(out.data, out.len, "'text'", 6) &&
                 !memmem(out.data, out.len, "\"text\"", 6);
    buf_clear(&out);
    return takes;
}
