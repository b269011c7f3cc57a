/* jinja_pprint.c - the filter pprint: Python's pprint.pformat, 80 columns wide.
 *
 * A value whose repr fits is its repr, with the keys of mappings sorted; else a mapping or list has
 * one item a line, and text is cut at blanks. */
#include <string.h>

#include "engine/text/jinja_eval.h"
#include "engine/text/jinja_filters.h"
#include "engine/text/jinja_repr.h"
#include "engine/text/jinja_str.h"
#include "kernels/base/utf8.h"

enum { WIDTH = 80 };

static void put(struct jinja *j, const char *s)
{
    jinja_write(j, s, strlen(s));
}

static void put_value(struct jinja *j, struct jval s)
{
    jinja_write(j, s.s->p, s.s->n);
}

/* Whether `a` goes before `b`; kinds that Python does not compare go by their names. */
static bool before(struct jinja *j, struct jval a, struct jval b)
{
    bool alike = a.type == b.type || (jv_is_number(a) && jv_is_number(b));
    bool ordered = a.type == JV_STR || jv_is_number(a);
    if (alike && ordered)
        return jv_compare(j, a, b, "<") < 0;
    return strcmp(jv_type_name(a), jv_type_name(b)) < 0;
}

/* The value with all mappings in order of their keys. */
static struct jval sorted(struct jinja *j, struct jval v)
{
    jinja_enter(j);
    if (v.type == JV_LIST || v.type == JV_TUPLE) {
        struct jval out = jv_list(j, (enum jtype)v.type, v.l->n);
        for (size_t i = 0; i < v.l->n; i++)
            jv_push(j, out, sorted(j, v.l->v[i]));
        v = out;
    } else if (v.type == JV_DICT) {
        struct jval out = jv_dict(j, v.d->n);
        const struct jentry **e = jinja_array(j, v.d->n, sizeof *e);
        for (size_t i = 0; i < v.d->n; i++) {
            size_t at = i;
            for (; at > 0 && before(j, v.d->e[i].key, e[at - 1]->key); at--)
                e[at] = e[at - 1];
            e[at] = &v.d->e[i];
            jinja_charge(j, 1 + (i - at) / 4);
        }
        for (size_t i = 0; i < v.d->n; i++)
            jv_put(j, out.d, e[i]->key, sorted(j, e[i]->value));
        v = out;
    }
    jinja_leave(j);
    return v;
}

static int64_t repr_length(struct jinja *j, struct jval v)
{
    return (int64_t)jr_repr(j, v).s->chars;
}

static void newline(struct jinja *j, int64_t indent)
{
    put(j, "\n");
    put_value(j, js_repeat(j, jv_text(j, " "), indent));
}

/* Appends to `chunks` the reprs of stretches of a line that fit, cut behind blanks. */
static void cut_line(struct jinja *j, struct jval line, int64_t width, int64_t last_width,
                     struct jval chunks)
{
    const struct jstr *s = line.s;
    size_t from = 0, at = 0; /* the stretch being filled, and its end so far */
    while (at < s->n) {
        size_t end = at;
        uint32_t cp;
        for (size_t k; end < s->n; end += k) {
            k = (size_t)utf8_decode(s->p + end, s->n - end, &cp);
            if (js_is(cp, JCLASS_SPACE))
                break;
        }
        for (size_t k; end < s->n; end += k) {
            k = (size_t)utf8_decode(s->p + end, s->n - end, &cp);
            if (!js_is(cp, JCLASS_SPACE))
                break;
        }
        int64_t room = end == s->n ? last_width : width;
        if (repr_length(j, js_sub(j, line, from, end)) > room && at > from) {
            jv_push(j, chunks, jr_repr(j, js_sub(j, line, from, at)));
            from = at;
        }
        at = end;
    }
    if (at > from)
        jv_push(j, chunks, jr_repr(j, js_sub(j, line, from, at)));
}

static void print_text(struct jinja *j, struct jval v, int64_t indent, int64_t allowance, int level)
{
    const struct jlist *lines = js_lines(j, v, true).l;
    struct jval chunks = jv_list(j, JV_LIST, lines->n);
    indent += level == 1;
    allowance += level == 1;
    int64_t width = WIDTH - indent;
    for (size_t i = 0; i < lines->n; i++) {
        bool last = i + 1 == lines->n;
        struct jval rep = jr_repr(j, lines->v[i]);
        if ((int64_t)rep.s->chars <= width - (last ? allowance : 0))
            jv_push(j, chunks, rep);
        else
            cut_line(j, lines->v[i], width, width - (last ? allowance : 0), chunks);
    }
    bool bracket = level == 1 && chunks.l->n != 1;
    if (bracket)
        put(j, "(");
    for (size_t i = 0; i < chunks.l->n; i++) {
        if (i > 0)
            newline(j, indent);
        put_value(j, chunks.l->v[i]);
    }
    if (bracket)
        put(j, ")");
}

static void print(struct jinja *j, struct jval v, int64_t indent, int64_t allowance, int level);

static void print_items(struct jinja *j, const struct jlist *l, int64_t indent, int64_t allowance,
                        int level)
{
    for (size_t i = 0; i < l->n; i++) {
        if (i > 0) {
            put(j, ",");
            newline(j, indent + 1);
        }
        print(j, l->v[i], indent + 1, i + 1 == l->n ? allowance : 1, level);
    }
}

static void print_entries(struct jinja *j, const struct jdict *d, int64_t indent, int64_t allowance,
                          int level)
{
    for (size_t i = 0; i < d->n; i++) {
        struct jval key = jr_repr(j, d->e[i].key);
        if (i > 0) {
            put(j, ",");
            newline(j, indent + 1);
        }
        put_value(j, key);
        put(j, ": ");
        print(j, d->e[i].value, indent + 1 + (int64_t)key.s->chars + 2,
              i + 1 == d->n ? allowance : 1, level);
    }
}

static void print(struct jinja *j, struct jval v, int64_t indent, int64_t allowance, int level)
{
    jinja_enter(j);
    struct jval rep = jr_repr(j, v);
    bool fits = (int64_t)rep.s->chars <= WIDTH - indent - allowance;
    if (!fits && v.type == JV_DICT && v.d->n > 0) {
        put(j, "{");
        print_entries(j, v.d, indent, allowance + 1, level + 1);
        put(j, "}");
    } else if (!fits && v.type == JV_LIST) {
        put(j, "[");
        print_items(j, v.l, indent, allowance + 1, level + 1);
        put(j, "]");
    } else if (!fits && v.type == JV_TUPLE) {
        const char *end = v.l->n == 1 ? ",)" : ")";
        put(j, "(");
        print_items(j, v.l, indent, allowance + (int64_t)strlen(end), level + 1);
        put(j, end);
    } else if (!fits && v.type == JV_STR && !v.markup && v.s->n > 0) {
        print_text(j, v, indent, allowance, level + 1);
    } else {
        put_value(j, rep);
    }
    jinja_leave(j);
}

struct jval jf_pprint(struct jinja *j, struct jval v, const struct jargs *a)
{
    (void)a;
    v = sorted(j, v);
    size_t mark = j->out->len;
    print(j, v, 0, 0, 0);
    return jx_capture(j, mark);
}
