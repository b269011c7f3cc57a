/* jinja_seqfilters.c - filters over sequences that read all of them at once; jinja_lazyfilters.c
 * has those that Jinja makes generators of. */
#include "engine/text/jinja_filters.h"

#include <string.h>

#include "engine/text/jinja_eval.h"
#include "engine/text/jinja_ops.h"
#include "engine/text/jinja_repr.h"
#include "engine/text/jinja_str.h"

#define FILTER(name) static struct jval name(struct jinja *j, struct jval v, const struct jargs *a)

static bool truth(struct jinja *j, struct jval v)
{
    return v.type != JV_MISSING && jv_truth(j, v);
}

/* --- order */

/* Stable merge sort of values by their keys; both arrays are rearranged. */
struct sorter {
    struct jinja *j;
    struct jval *key, *value, *key2, *value2;
    bool reverse;
};

static void merge(struct sorter *s, size_t from, size_t mid, size_t to)
{
    size_t a = from, b = mid;
    for (size_t k = from; k < to; k++) {
        bool right = a == mid;
        if (a < mid && b < to) {
            struct jval x = s->reverse ? s->key[a] : s->key[b];
            struct jval y = s->reverse ? s->key[b] : s->key[a];
            int c = jv_compare(s->j, x, y, "<");
            right = c < 0;
        }
        size_t take = right ? b++ : a++;
        s->key2[k] = s->key[take];
        s->value2[k] = s->value[take];
    }
    memcpy(s->key + from, s->key2 + from, (to - from) * sizeof *s->key);
    memcpy(s->value + from, s->value2 + from, (to - from) * sizeof *s->value);
    jinja_charge(s->j, to - from);
}

static void sort_range(struct sorter *s, size_t from, size_t to)
{
    if (to - from < 2)
        return;
    size_t mid = from + (to - from) / 2; /* depth: log2 of the length */
    sort_range(s, from, mid);
    sort_range(s, mid, to);
    merge(s, from, mid, to);
}

static struct jval sorted(struct jinja *j, const struct jlist *values, struct jval keys,
                          bool reverse)
{
    size_t n = values->n;
    struct jval out = jv_list(j, JV_LIST, n);
    for (size_t i = 0; i < n; i++)
        jv_push(j, out, values->v[i]);
    struct sorter s = {.j = j, .key = keys.l->v, .value = out.l->v, .reverse = reverse};
    s.key2 = jinja_array(j, n, sizeof *s.key2);
    s.value2 = jinja_array(j, n, sizeof *s.value2);
    sort_range(&s, 0, n);
    return out;
}

FILTER(filter_sort)
{
    const struct jlist *l = jv_items(j, v);
    struct jval attribute = a->v[2], keys = jv_list(j, JV_LIST, l->n);
    bool lower = !truth(j, a->v[1]);
    struct jval names = jv_list(j, JV_LIST, 1);
    if (attribute.type == JV_STR)
        names = js_split(j, attribute, jv_text(j, ",").s, -1, false);
    else
        jv_push(j, names, attribute);
    struct jgetter *g = jinja_array(j, names.l->n, sizeof *g);
    for (size_t k = 0; k < names.l->n; k++)
        g[k] = jf_getter(j, names.l->v[k], jv_none(), lower);
    for (size_t i = 0; i < l->n; i++) {
        struct jval key = jv_list(j, JV_LIST, names.l->n);
        for (size_t k = 0; k < names.l->n; k++)
            jv_push(j, key, jf_get(j, &g[k], l->v[i]));
        jv_push(j, keys, key);
    }
    return sorted(j, l, keys, truth(j, a->v[0]));
}

FILTER(filter_dictsort)
{
    struct jval by = a->v[1];
    bool value = jv_is_text(by, "value");
    if (by.type != JV_MISSING && !value && !jv_is_text(by, "key"))
        jinja_raise(j, "You can only sort by either \"key\" or \"value\"");
    if (v.type == JV_UNDEFINED)
        jv_raise_undefined(j, v);
    if (v.type != JV_DICT)
        jinja_raise(j, "'%s' object has no attribute 'items'", jv_type_name(v));
    struct jval keys = jv_list(j, JV_LIST, v.d->n), view = v;
    view.type = JV_VIEW;
    view.view = JVIEW_ITEMS;
    const struct jlist *l = jv_items(j, view);
    for (size_t i = 0; i < l->n; i++)
        jv_push(j, keys, jf_ignore_case(j, l->v[i].l->v[value], !truth(j, a->v[0])));
    return sorted(j, l, keys, truth(j, a->v[2]));
}

FILTER(filter_groupby)
{
    const struct jlist *l = jv_items(j, v);
    struct jval absent = a->v[1].type == JV_MISSING ? jv_none() : a->v[1];
    struct jgetter sort_key = jf_getter(j, a->v[0], absent, !truth(j, a->v[2]));
    struct jgetter plain = jf_getter(j, a->v[0], absent, false);
    struct jval keys = jv_list(j, JV_LIST, l->n), out = jv_list(j, JV_LIST, 4);
    for (size_t i = 0; i < l->n; i++)
        jv_push(j, keys, jf_get(j, &sort_key, l->v[i]));
    l = sorted(j, l, keys, false).l;
    for (size_t i = 0; i < l->n;) {
        struct jval items = jv_list(j, JV_LIST, 4), first = l->v[i], key = keys.l->v[i];
        for (; i < l->n && jv_equal(j, keys.l->v[i], key); i++)
            jv_push(j, items, l->v[i]);
        if (!items.l->n) /* a key that is not equal to itself: NaN */
            jv_push(j, items, l->v[i++]);
        struct jval group = jv_pair(j, jf_get(j, &plain, first), items);
        group.grouping = true;
        jv_push(j, out, group);
    }
    return out;
}

static struct jval extreme(struct jinja *j, struct jval v, const struct jargs *a, bool max)
{
    const struct jlist *l = jv_items(j, v);
    struct jgetter g = jf_getter(j, a->v[1], jv_none(), !truth(j, a->v[0]));
    if (!l->n)
        return jv_undefined_hint(j, "No aggregated item, sequence was empty.");
    struct jval best = l->v[0], best_key = jf_get(j, &g, best);
    for (size_t i = 1; i < l->n; i++) {
        struct jval key = jf_get(j, &g, l->v[i]);
        int c = jv_compare(j, key, best_key, max ? ">" : "<");
        if (c == JV_UNORDERED || (max ? c <= 0 : c >= 0))
            continue;
        best = l->v[i];
        best_key = key;
    }
    return best;
}

FILTER(filter_min)
{
    return extreme(j, v, a, false);
}

FILTER(filter_max)
{
    return extreme(j, v, a, true);
}

/* --- cutting and joining */

FILTER(filter_first)
{
    (void)a;
    struct jiter it = {.over = v};
    struct jval item;
    return jv_next(j, &it, &item) ? item
                                  : jv_undefined_hint(j, "No first item, sequence was empty.");
}

FILTER(filter_last)
{
    (void)a;
    if (v.type == JV_GEN)
        jinja_raise(j, "'generator' object is not reversible");
    const struct jlist *l = jv_items(j, v);
    if (!l->n)
        return jv_undefined_hint(j, "No last item, sequence was empty.");
    struct jval last = l->v[l->n - 1];
    last.markup = last.markup || (v.type == JV_STR && v.markup); /* Python takes it by its index */
    return last;
}

FILTER(filter_length)
{
    (void)a;
    return jv_int(jv_length(j, v));
}

FILTER(filter_list)
{
    (void)a;
    const struct jlist *l = jv_items(j, v);
    struct jval out = jv_list(j, JV_LIST, l->n);
    for (size_t i = 0; i < l->n; i++)
        jv_push(j, out, l->v[i]);
    return out;
}

FILTER(filter_reverse)
{
    (void)a;
    if (v.type == JV_STR)
        return js_slice(j, v, (int64_t)v.s->chars - 1, -1, (int64_t)v.s->chars);
    if (!jv_is_iterable(v))
        jinja_raise(j, "argument must be iterable");
    const struct jlist *l = jv_items(j, v);
    struct jval out = jv_list(j, JV_LIST, l->n);
    for (size_t i = l->n; i-- > 0;)
        jv_push(j, out, l->v[i]);
    return v.type == JV_GEN ? out : jv_gen(j, out);
}

FILTER(filter_join)
{
    const struct jlist *l = jv_items(j, v);
    struct jgetter g = jf_getter(j, a->v[1], jv_none(), false);
    struct jval sep = a->v[0].type == JV_MISSING ? jv_text(j, "") : jr_str(j, a->v[0]);
    size_t mark = j->out->len;
    for (size_t i = 0; i < l->n; i++) {
        struct jval text = jr_str(j, jf_get(j, &g, l->v[i]));
        if (i)
            jinja_write(j, sep.s->p, sep.s->n);
        jinja_write(j, text.s->p, text.s->n);
    }
    return jx_capture(j, mark);
}

FILTER(filter_sum)
{
    const struct jlist *l = jv_items(j, v);
    struct jgetter g = jf_getter(j, a->v[0], jv_none(), false);
    struct jval sum = a->v[1].type == JV_MISSING ? jv_int(0) : a->v[1];
    if (sum.type == JV_STR)
        jinja_raise(j, "sum() can't sum strings [use ''.join(seq) instead]");
    for (size_t i = 0; i < l->n; i++)
        sum = jo_binary(j, JOP_ADD, sum, jf_get(j, &g, l->v[i]));
    return sum;
}

/* clang-format off */
const struct jfunc jf_sequence_filters[] = {
    {"count",      filter_length,     "",                                   0},
    {"dictsort",   filter_dictsort,   "case_sensitive by reverse",          0},
    {"first",      filter_first,      "",                                   0},
    {"groupby",    filter_groupby,    "attribute default case_sensitive",   1},
    {"join",       filter_join,       "d attribute",                        0},
    {"last",       filter_last,       "",                                   0},
    {"length",     filter_length,     "",                                   0},
    {"list",       filter_list,       "",                                   0},
    {"max",        filter_max,        "case_sensitive attribute",           0},
    {"min",        filter_min,        "case_sensitive attribute",           0},
    {"reverse",    filter_reverse,    "",                                   0},
    {"sort",       filter_sort,       "reverse case_sensitive attribute",   0},
    {"sum",        filter_sum,        "attribute start",                    0},
    {NULL,         NULL,              NULL,                                 0},
};
/* clang-format on */
