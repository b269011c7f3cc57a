/* jinja_methods.c - attributes and methods of everything but strings. */
#include "engine/text/jinja_methods.h"

#include <string.h>

#include "engine/text/jinja_eval.h"
#include "engine/text/jinja_repr.h"

#define METHOD(name) static struct jval name(struct jinja *j, struct jval v, const struct jargs *a)

/* --- dicts */

METHOD(dict_get)
{
    const struct jval *hit = jv_get(j, v.d, a->v[0]);
    return hit ? *hit : a->v[1].type == JV_MISSING ? jv_none() : a->v[1];
}

static struct jval view(struct jval v, enum jview kind)
{
    v.type = JV_VIEW;
    v.view = (uint8_t)kind;
    return v;
}

METHOD(dict_items)
{
    (void)j;
    (void)a;
    return view(v, JVIEW_ITEMS);
}

METHOD(dict_keys)
{
    (void)j;
    (void)a;
    return view(v, JVIEW_KEYS);
}

METHOD(dict_values)
{
    (void)j;
    (void)a;
    return view(v, JVIEW_VALUES);
}

/* Values do not change, so that a copy is the thing itself. */
METHOD(copy)
{
    (void)j;
    (void)a;
    return v;
}

/* --- sequences */

METHOD(list_index)
{
    const struct jlist *l = jv_items(j, v);
    int64_t from = 0, to = (int64_t)l->n, *bound[2] = {&from, &to};
    for (int i = 0; i < 2; i++) {
        if (a->v[i + 1].type == JV_MISSING)
            continue;
        if (!jv_is_integer(a->v[i + 1]))
            jinja_raise(j, "slice indices must be integers or have an __index__ method");
        int64_t at = jv_as_int(a->v[i + 1]);
        at = at < 0 ? at + (int64_t)l->n : at;
        *bound[i] = at < 0 ? 0 : at;
    }
    for (int64_t i = from; i < to && i < (int64_t)l->n; i++)
        if (jv_equal(j, l->v[i], a->v[0]))
            return jv_int(i);
    struct jval text = jr_repr(j, a->v[0]);
    jinja_raise(j, "%.*s is not in list", text.s->n > 80 ? 80 : (int)text.s->n, text.s->p);
}

METHOD(list_count)
{
    const struct jlist *l = jv_items(j, v);
    int64_t n = 0;
    for (size_t i = 0; i < l->n; i++)
        n += jv_equal(j, l->v[i], a->v[0]);
    return jv_int(n);
}

/* --- loops, cyclers */

METHOD(loop_cycle)
{
    if (!a->n)
        jinja_raise(j, "no items for cycling given");
    return a->v[v.loop->at % (size_t)a->n];
}

METHOD(loop_changed)
{
    struct jval now = jv_list(j, JV_TUPLE, (size_t)a->n);
    for (int i = 0; i < a->n; i++)
        jv_push(j, now, a->v[i]);
    if (v.loop->changed.type != JV_MISSING && jv_equal(j, v.loop->changed, now))
        return jv_bool(false);
    v.loop->changed = now;
    return jv_bool(true);
}

METHOD(cycler_next)
{
    (void)j;
    (void)a;
    struct jval item = v.cycler->items->v[v.cycler->pos];
    v.cycler->pos = (v.cycler->pos + 1) % v.cycler->items->n;
    return item;
}

METHOD(cycler_reset)
{
    (void)j;
    (void)a;
    v.cycler->pos = 0;
    return jv_none();
}

METHOD(float_is_integer)
{
    (void)j;
    (void)a;
    return jv_bool(v.f - (double)(long long)v.f == 0 || v.f > 9e18 || v.f < -9e18);
}

/* clang-format off */
static const struct row { uint8_t type; struct jfunc func; } rows[] = {
    {JV_DICT,   {"get",     dict_get,     "key default",     1}},
    {JV_DICT,   {"items",   dict_items,   "",                0}},
    {JV_DICT,   {"keys",    dict_keys,    "",                0}},
    {JV_DICT,   {"values",  dict_values,  "",                0}},
    {JV_DICT,   {"copy",    copy,         "",                0}},
    {JV_LIST,   {"index",   list_index,   "value start end", 1}},
    {JV_LIST,   {"count",   list_count,   "value",           1}},
    {JV_LIST,   {"copy",    copy,         "",                0}},
    {JV_TUPLE,  {"index",   list_index,   "value start end", 1}},
    {JV_TUPLE,  {"count",   list_count,   "value",           1}},
    {JV_RANGE,  {"index",   list_index,   "value start end", 1}},
    {JV_RANGE,  {"count",   list_count,   "value",           1}},
    {JV_LOOP,   {"cycle",   loop_cycle,   NULL,              0}},
    {JV_LOOP,   {"changed", loop_changed, NULL,              0}},
    {JV_CYCLER, {"next",    cycler_next,  "",                0}},
    {JV_CYCLER, {"reset",   cycler_reset, "",                0}},
    {JV_FLOAT,  {"is_integer", float_is_integer, "",         0}},
};
/* Methods that change their object; the sandbox hands out an undefined value in their place. */
static const struct { uint8_t type; const char *names; } unsafe[] = {
    {JV_DICT, " clear pop popitem setdefault update "},
    {JV_LIST, " append clear pop reverse insert sort extend remove "},
};
/* clang-format on */

static struct jval bound(struct jinja *j, struct jval self, const struct jfunc *f)
{
    struct jmethod *m = jinja_alloc(j, sizeof *m);
    *m = (struct jmethod){.self = self, .func = f};
    return (struct jval){.type = JV_METHOD, .method = m};
}

static bool is_unsafe(struct jval of, const struct jstr *name)
{
    char word[32];
    if (name->n > 4 && !memcmp(name->p, "__", 2) && !memcmp(name->p + name->n - 2, "__", 2))
        return of.type != JV_DICT && of.type != JV_NAMESPACE;
    if (!name->n || name->n + 3 > sizeof word)
        return false;
    word[0] = word[name->n + 1] = ' ';
    memcpy(word + 1, name->p, name->n);
    word[name->n + 2] = '\0';
    for (size_t i = 0; i < sizeof unsafe / sizeof *unsafe; i++)
        if (unsafe[i].type == of.type && strstr(unsafe[i].names, word))
            return true;
    return false;
}

static bool is(const struct jstr *name, const char *s)
{
    return name->n == strlen(s) && !memcmp(name->p, s, name->n);
}

static struct jval loop_attr(struct jinja *j, struct jloop *l, const struct jstr *name)
{
    int64_t at = (int64_t)l->at;
    if (is(name, "index"))
        return jv_int(at + 1);
    if (is(name, "index0"))
        return jv_int(at);
    if (is(name, "first"))
        return jv_bool(at == 0);
    if (is(name, "last"))
        return jv_bool(!jx_loop_has(j, l, l->at + 1));
    if (is(name, "previtem"))
        return at ? l->items->v[at - 1] : jv_undefined_hint(j, "there is no previous item");
    if (is(name, "nextitem"))
        return jx_loop_has(j, l, l->at + 1) ? l->items->v[at + 1]
                                            : jv_undefined_hint(j, "there is no next item");
    if (is(name, "depth") || is(name, "depth0"))
        return jv_int(l->depth + is(name, "depth"));
    if (!is(name, "length") && !is(name, "revindex") && !is(name, "revindex0"))
        return jv_missing();
    jx_loop_has(j, l, SIZE_MAX - 1); /* reads a filtered loop to its end */
    int64_t n = (int64_t)l->items->n;
    return jv_int(is(name, "length") ? n : is(name, "revindex") ? n - at : n - at - 1);
}

static struct jval macro_attr(struct jinja *j, const struct jmacro *m, const struct jstr *name)
{
    const struct jnode *n = m->node;
    if (is(name, "name"))
        return n->name.n ? jv_borrow(j, n->name.p, n->name.n) : jv_none();
    if (is(name, "catch_kwargs"))
        return jv_bool(n->uses & JUSE_KWARGS);
    if (is(name, "catch_varargs"))
        return jv_bool(n->uses & JUSE_VARARGS);
    if (is(name, "caller"))
        return jv_bool(n->uses & JUSE_CALLER);
    if (!is(name, "arguments"))
        return jv_missing();
    struct jval out = jv_list(j, JV_TUPLE, 4);
    for (const struct jnode *p = n->list2; p; p = p->next)
        jv_push(j, out, jv_borrow(j, p->name.p, p->name.n));
    return out;
}

/* Attributes that are values, not methods. */
static struct jval data_attr(struct jinja *j, struct jval of, const struct jstr *name)
{
    const struct jval *hit;
    switch (of.type) {
    case JV_NAMESPACE:
        hit = jv_get_text(j, of.d, name->p, name->n);
        return hit ? *hit : jv_missing();
    case JV_LOOP:
        return loop_attr(j, of.loop, name);
    case JV_MACRO:
        return macro_attr(j, of.macro, name);
    case JV_CYCLER:
        return is(name, "current") ? of.cycler->items->v[of.cycler->pos] : jv_missing();
    case JV_TUPLE:
        if (of.grouping && (is(name, "grouper") || is(name, "list")))
            return of.l->v[is(name, "list")];
        return jv_missing();
    case JV_RANGE:
        if (is(name, "start") || is(name, "step"))
            return jv_int(is(name, "start") ? of.range->start : of.range->step);
        return jv_missing();
    default:
        return jv_missing();
    }
}

struct jval jm_attr(struct jinja *j, struct jval of, struct jval name)
{
    const struct jstr *s = name.s;
    struct jval v = data_attr(j, of, s);
    if (v.type != JV_MISSING)
        return v;
    const struct jfunc *f = of.type == JV_STR ? jm_str_method(s) : NULL;
    for (size_t i = 0; i < sizeof rows / sizeof *rows && !f; i++)
        if (rows[i].type == of.type && is(s, rows[i].func.name))
            f = &rows[i].func;
    if (f)
        return bound(j, of, f);
    if (!is_unsafe(of, s))
        return jv_missing();
    const char *hint = arena_printf(&j->arena,
                                    "access to attribute '%.*s' of '%s' object is "
                                    "unsafe.",
                                    (int)s->n, s->p, jv_type_name(of));
    return jv_undefined_hint(j, hint ? hint : "access to an attribute is unsafe");
}
