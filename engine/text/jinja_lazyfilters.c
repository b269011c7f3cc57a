/* jinja_lazyfilters.c - the filters that Jinja writes as generators. Nothing of them runs before
 * the first item is asked for, and then one item at a time: `l|select('nosuch')` that nobody reads
 * is no error, and `l|map('int')|first` looks at one item alone. Arguments are therefore kept until
 * then; what is left to do lies in a struct lazy. */
#include "engine/text/jinja_filters.h"

#include <string.h>

#include "engine/text/jinja_eval.h"
#include "engine/text/jinja_ops.h"
#include "engine/text/jinja_repr.h"
#include "engine/text/jinja_str.h"

#define FILTER(name) static struct jval name(struct jinja *j, struct jval v, const struct jargs *a)

struct lazy;
typedef bool lazy_next(struct jinja *j, struct lazy *z, struct jval *item);
struct lazy_kind {
    bool truth;                                       /* of a false input nothing more is asked */
    void (*prepare)(struct jinja *j, struct lazy *z); /* before the first item */
    lazy_next *next;
    bool want, by_attribute; /* of select and its like */
};
struct lazy {
    const struct lazy_kind *kind;
    bool begun;
    struct jiter in;
    struct jargs a;        /* as they were given */
    struct jargs rest;     /* those of `f` */
    const struct jfunc *f; /* a filter or test by name; NULL until an item wants it, or none */
    struct jgetter g;
    struct jval kept; /* keys that were seen, or the row at work */
};

/* --- attributes of items */

static bool given(struct jval v)
{
    return v.type != JV_MISSING && v.type != JV_NONE;
}

struct jgetter jf_getter(struct jinja *j, struct jval attribute, struct jval absent, bool lower)
{
    struct jgetter g = {.absent = absent, .lower = lower};
    if (!given(attribute))
        return g;
    if (attribute.type != JV_STR) {
        g.part[g.n++] = attribute;
        return g;
    }
    const struct jlist *l = js_split(j, attribute, jv_text(j, ".").s, JF_PARTS, false).l;
    if (l->n > JF_PARTS)
        jinja_raise(j, "an attribute of more than %d parts", JF_PARTS);
    for (size_t i = 0; i < l->n; i++) {
        const struct jstr *s = l->v[i].s;
        bool digits = s->n > 0;
        for (size_t k = 0; k < s->n && digits; k++)
            digits = s->p[k] >= '0' && s->p[k] <= '9';
        g.part[g.n++] = digits ? jv_int_text(j, s->p, s->n) : l->v[i];
    }
    return g;
}

struct jval jf_ignore_case(struct jinja *j, struct jval v, bool lower)
{
    return lower && v.type == JV_STR ? js_case(j, v, JCASE_LOWER) : v;
}

struct jval jf_get(struct jinja *j, const struct jgetter *g, struct jval item)
{
    for (int i = 0; i < g->n; i++) {
        item = jo_item(j, item, g->part[i]);
        if (item.type == JV_UNDEFINED && given(g->absent))
            item = g->absent;
    }
    return jf_ignore_case(j, item, g->lower);
}

/* --- the generator */

static bool advance(struct jinja *j, void *state, struct jval *item)
{
    struct lazy *z = state;
    if (!z->begun) {
        z->begun = true;
        if (z->kind->truth && !jv_truth(j, z->in.over))
            return false;
        z->kind->prepare(j, z);
    }
    return z->kind->next(j, z, item);
}

static struct jval lazy(struct jinja *j, const struct lazy_kind *kind, struct jval v,
                        const struct jargs *a, int n)
{
    struct lazy *z = jinja_alloc(j, sizeof *z);
    *z = (struct lazy){.kind = kind, .in = {.over = v}, .a = {.n = n, .n_kw = a->n_kw}};
    z->a.v = jinja_array(j, (size_t)n, sizeof *z->a.v);
    z->a.kw = jinja_array(j, (size_t)a->n_kw, sizeof *z->a.kw);
    if (n)
        memcpy(z->a.v, a->v, (size_t)n * sizeof *a->v);
    if (a->n_kw)
        memcpy(z->a.kw, a->kw, (size_t)a->n_kw * sizeof *a->kw);
    return jv_lazy(j, advance, z);
}

/* --- map, select, reject */

/* The arguments behind the first `skip`. */
static struct jargs behind(const struct jargs *a, int skip)
{
    return (struct jargs){.v = a->v + skip, .n = a->n - skip, .kw = a->kw, .n_kw = a->n_kw};
}

static bool keyword(const struct jargs *a, const char *name, struct jval *v)
{
    for (int i = 0; i < a->n_kw; i++)
        if (a->kw[i].name_n == strlen(name) && !memcmp(a->kw[i].name, name, strlen(name))) {
            *v = a->kw[i].v;
            return true;
        }
    return false;
}

static const struct jfunc *named(struct jinja *j, struct jval name, bool test)
{
    const struct jfunc *f = NULL;
    if (name.type == JV_STR)
        f = test ? jf_test(name.s->p, name.s->n) : jf_filter(name.s->p, name.s->n);
    if (!f) {
        struct jval text = jr_repr(j, name);
        jinja_raise(j, "No %s named %.*s.", test ? "test" : "filter",
                    text.s->n > 80 ? 80 : (int)text.s->n, text.s->p);
    }
    return f;
}

static void prepare_map(struct jinja *j, struct lazy *z)
{
    struct jval attribute = jv_none(), absent = jv_none();
    bool by_attribute = !z->a.n && keyword(&z->a, "attribute", &attribute);
    if (!by_attribute && !z->a.n)
        jinja_raise(j, "map requires a filter argument");
    if (!by_attribute) {
        z->rest = behind(&z->a, 1);
        return;
    }
    if (1 + keyword(&z->a, "default", &absent) < z->a.n_kw)
        jinja_raise(j, "Unexpected keyword argument for map");
    z->g = jf_getter(j, attribute, absent, false);
}

static bool next_map(struct jinja *j, struct lazy *z, struct jval *item)
{
    if (!jv_next(j, &z->in, item))
        return false;
    if (z->a.n && !z->f)
        z->f = named(j, z->a.v[0], false);
    *item = z->f ? jx_apply(j, z->f, *item, &z->rest) : jf_get(j, &z->g, *item);
    return true;
}

FILTER(filter_map)
{
    static const struct lazy_kind kind = {.truth = true, .prepare = prepare_map, .next = next_map};
    return lazy(j, &kind, v, a, a->n);
}

static void prepare_select(struct jinja *j, struct lazy *z)
{
    bool by_attribute = z->kind->by_attribute;
    if (by_attribute && !z->a.n)
        jinja_raise(j, "Missing parameter for attribute name");
    z->g = jf_getter(j, by_attribute ? z->a.v[0] : jv_none(), jv_none(), false);
    z->rest = behind(&z->a, by_attribute);
}

static bool next_select(struct jinja *j, struct lazy *z, struct jval *item)
{
    while (jv_next(j, &z->in, item)) {
        struct jargs rest = behind(&z->rest, z->rest.n > 0);
        if (z->rest.n && !z->f)
            z->f = named(j, z->rest.v[0], true);
        struct jval key = jf_get(j, &z->g, *item);
        if (jv_truth(j, z->f ? jx_apply(j, z->f, key, &rest) : key) == z->kind->want)
            return true;
    }
    return false;
}

static struct jval choose(struct jinja *j, struct jval v, const struct jargs *a, bool want,
                          bool by_attribute)
{
    static const struct lazy_kind kinds[2][2] = {
        {{true, prepare_select, next_select, false, false},
         {true, prepare_select, next_select, false, true}},
        {{true, prepare_select, next_select, true, false},
         {true, prepare_select, next_select, true, true}},
    };
    return lazy(j, &kinds[want][by_attribute], v, a, a->n);
}

FILTER(filter_select)
{
    return choose(j, v, a, true, false);
}

FILTER(filter_reject)
{
    return choose(j, v, a, false, false);
}

FILTER(filter_selectattr)
{
    return choose(j, v, a, true, true);
}

FILTER(filter_rejectattr)
{
    return choose(j, v, a, false, true);
}

/* --- unique, items */

static void prepare_unique(struct jinja *j, struct lazy *z)
{
    struct jval sensitive = z->a.v[0];
    bool lower = sensitive.type == JV_MISSING || !jv_truth(j, sensitive);
    z->g = jf_getter(j, z->a.v[1], jv_none(), lower);
    z->kept = jv_dict(j, 8);
}

static bool next_unique(struct jinja *j, struct lazy *z, struct jval *item)
{
    while (jv_next(j, &z->in, item)) {
        struct jval key = jf_get(j, &z->g, *item);
        if (jv_get(j, z->kept.d, key))
            continue;
        jv_put(j, z->kept.d, key, jv_none());
        return true;
    }
    return false;
}

FILTER(filter_unique)
{
    static const struct lazy_kind kind = {.prepare = prepare_unique, .next = next_unique};
    return lazy(j, &kind, v, a, 2);
}

static void prepare_items(struct jinja *j, struct lazy *z)
{
    struct jval *v = &z->in.over;
    if (v->type == JV_UNDEFINED)
        return;
    if (v->type != JV_DICT)
        jinja_raise(j, "Can only get item pairs from a mapping.");
    v->type = JV_VIEW;
    v->view = JVIEW_ITEMS;
}

static bool next_of_input(struct jinja *j, struct lazy *z, struct jval *item)
{
    return jv_next(j, &z->in, item);
}

FILTER(filter_items)
{
    static const struct lazy_kind kind = {.prepare = prepare_items, .next = next_of_input};
    return lazy(j, &kind, v, a, 0);
}

/* --- batch, slice */

static size_t want_count(struct jinja *j, struct jval v)
{
    if (!jv_is_integer(v) || jv_as_int(v) < 1 || jv_as_int(v) > 1000000)
        jinja_raise(j, "a number of 1 to 1000000 is needed");
    return (size_t)jv_as_int(v);
}

static void prepare_batch(struct jinja *j, struct lazy *z)
{
    want_count(j, z->a.v[0]);
    z->kept = jv_list(j, JV_LIST, 4);
}

/* A full row is handed out when an item comes that has no room in it, or none comes. */
static bool next_batch(struct jinja *j, struct lazy *z, struct jval *row)
{
    size_t n = want_count(j, z->a.v[0]);
    struct jval item;
    *row = z->kept;
    while (jv_next(j, &z->in, &item)) {
        bool full = row->l->n == n;
        if (full)
            z->kept = jv_list(j, JV_LIST, 4);
        jv_push(j, z->kept, item);
        if (full)
            return true;
    }
    if (!row->l->n)
        return false;
    z->kept = jv_list(j, JV_LIST, 0);
    while (row->l->n < n && given(z->a.v[1]))
        jv_push(j, *row, z->a.v[1]);
    return true;
}

FILTER(filter_batch)
{
    static const struct lazy_kind kind = {.prepare = prepare_batch, .next = next_batch};
    return lazy(j, &kind, v, a, 2);
}

/* All rows at once: their lengths depend on how many items there are. */
static void prepare_slice(struct jinja *j, struct lazy *z)
{
    size_t slices = want_count(j, z->a.v[0]), at = 0;
    const struct jlist *l = jv_items(j, z->in.over);
    struct jval out = jv_list(j, JV_LIST, slices);
    for (size_t i = 0; i < slices; i++) {
        bool longer = i < l->n % slices;
        struct jval row = jv_list(j, JV_LIST, 4);
        for (size_t k = l->n / slices + longer; k-- > 0;)
            jv_push(j, row, l->v[at++]);
        if (!longer && given(z->a.v[1]))
            jv_push(j, row, z->a.v[1]);
        jv_push(j, out, row);
    }
    z->in = (struct jiter){.over = out};
}

FILTER(filter_slice)
{
    static const struct lazy_kind kind = {.prepare = prepare_slice, .next = next_of_input};
    return lazy(j, &kind, v, a, 2);
}

/* clang-format off */
const struct jfunc jf_lazy_filters[] = {
    {"batch",      filter_batch,      "linecount fill_with",      1},
    {"items",      filter_items,      "",                         0},
    {"map",        filter_map,        NULL,                       0},
    {"reject",     filter_reject,     NULL,                       0},
    {"rejectattr", filter_rejectattr, NULL,                       0},
    {"select",     filter_select,     NULL,                       0},
    {"selectattr", filter_selectattr, NULL,                       0},
    {"slice",      filter_slice,      "slices fill_with",         1},
    {"unique",     filter_unique,     "case_sensitive attribute", 0},
    {NULL,         NULL,              NULL,                       0},
};
/* clang-format on */
