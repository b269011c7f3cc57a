/* jinja.c - failing, allocating and counting for one run of the interpreter. */
#include "engine/text/jinja.h"

#include <stdarg.h>
#include <stdio.h>

_Noreturn void jinja_raise(struct jinja *j, const char *fmt, ...)
{
    char text[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    fail(ERR_TEMPLATE, "line %d: %s", j->line, text);
    longjmp(j->fail, 1);
}

_Noreturn void jinja_raise_text(struct jinja *j, const char *s, size_t n)
{
    int shown = n > 4096 ? 4096 : (int)n;
    fail(ERR_TEMPLATE, "%.*s", shown, s);
    longjmp(j->fail, 1);
}

void *jinja_alloc(struct jinja *j, size_t bytes)
{
    void *p = arena_alloc(&j->arena, bytes ? bytes : 1);
    if (!p)
        jinja_raise(j, "the template needs more than %zu bytes of memory", j->arena.limit);
    return p;
}

void *jinja_array(struct jinja *j, size_t n, size_t item_bytes)
{
    size_t bytes;
    if (__builtin_mul_overflow(n, item_bytes, &bytes))
        jinja_raise(j, "the template asks for %zu items", n);
    return jinja_alloc(j, bytes);
}

void jinja_charge(struct jinja *j, size_t steps)
{
    if (steps > j->max_steps - j->steps)
        jinja_raise(j, "the template runs for more than %zu steps", j->max_steps);
    j->steps += steps;
}

void jinja_enter(struct jinja *j)
{
    if (++j->depth > j->max_depth)
        jinja_raise(j, "the template nests more than %d levels", j->max_depth);
    jinja_charge(j, 1);
}

void jinja_leave(struct jinja *j)
{
    j->depth--;
}

void jinja_write(struct jinja *j, const char *s, size_t n)
{
    if (n > j->max_output - (j->out->len - j->out_start))
        jinja_raise(j, "the template writes more than %zu bytes", j->max_output);
    jinja_charge(j, n / 64);
    buf_append(j->out, s, n);
}
