/* jinja_seqfilters.c - filters over sequences. Where Jinja returns a generator the result is made
 * at once, but still reads like one: once, without length or subscripts. */
#include "engine/text/jinja_filters.h"

#include <string.h>

#include "engine/text/jinja_eval.h"
#include "engine/text/jinja_ops.h"
#include "engine/text/jinja_repr.h"
#include "engine/text/jinja_str.h"

#define FILTER(name) static struct jval name(struct jinja *j, struct jval v, const struct jargs *a)

static bool given(struct jval v)
{
    return v.type != JV_MISSING && v.type != JV_NONE;
}

static bool truth(struct jinja *j, struct jval v)
{
    return v.type != JV_MISSING && jv_truth(j, v);
}

static struct jval list_value(struct jlist *l)
{
    return (struct jval){.type = JV_LIST, .l = l};
}

/* --- attributes of items */

enum { MAX_PARTS = 16 };

struct getter { /* follows "a.b.0", then lowers text */
    struct jval part[MAX_PARTS];
    int n;
    struct jval absent; /* in place of undefined; none: keep */
    bool lower;
};

static struct getter getter_new(struct jinja *j, struct jval attribute, struct jval absent,
                                bool lower)
{
    struct getter g = {.absent = absent, .lower = lower};
    if (!given(attribute))
        return g;
    if (attribute.type != JV_STR) {
        g.part[g.n++] = attribute;
        return g;
    }
    const struct jlist *l = js_split(j, attribute, jv_text(j, ".").s, MAX_PARTS, false).l;
    if (l->n > MAX_PARTS)
        jinja_raise(j, "an attribute of more than %d parts", MAX_PARTS);
    for (size_t i = 0; i < l->n; i++) {
        const struct jstr *s = l->v[i].s;
        bool digits = s->n > 0;
        for (size_t k = 0; k < s->n && digits; k++)
            digits = s->p[k] >= '0' && s->p[k] <= '9';
        g.part[g.n++] = digits ? jv_int_text(j, s->p, s->n) : l->v[i];
    }
    return g;
}

static struct jval ignore_case(struct jinja *j, struct jval v, bool lower)
{
    return lower && v.type == JV_STR ? js_case(j, v, JCASE_LOWER) : v;
}

static struct jval get(struct jinja *j, const struct getter *g, struct jval item)
{
    for (int i = 0; i < g->n; i++) {
        item = jo_item(j, item, g->part[i]);
        if (item.type == JV_UNDEFINED && given(g->absent))
            item = g->absent;
    }
    return ignore_case(j, item, g->lower);
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
    struct getter *g = jinja_array(j, names.l->n, sizeof *g);
    for (size_t k = 0; k < names.l->n; k++)
        g[k] = getter_new(j, names.l->v[k], jv_none(), lower);
    for (size_t i = 0; i < l->n; i++) {
        struct jval key = jv_list(j, JV_LIST, names.l->n);
        for (size_t k = 0; k < names.l->n; k++)
            jv_push(j, key, get(j, &g[k], l->v[i]));
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
        jv_push(j, keys, ignore_case(j, l->v[i].l->v[value], !truth(j, a->v[0])));
    return sorted(j, l, keys, truth(j, a->v[2]));
}

FILTER(filter_groupby)
{
    const struct jlist *l = jv_items(j, v);
    struct jval absent = a->v[1].type == JV_MISSING ? jv_none() : a->v[1];
    struct getter sort_key = getter_new(j, a->v[0], absent, !truth(j, a->v[2]));
    struct getter plain = getter_new(j, a->v[0], absent, false);
    struct jval keys = jv_list(j, JV_LIST, l->n), out = jv_list(j, JV_LIST, 4);
    for (size_t i = 0; i < l->n; i++)
        jv_push(j, keys, get(j, &sort_key, l->v[i]));
    l = sorted(j, l, keys, false).l;
    for (size_t i = 0; i < l->n;) {
        struct jval items = jv_list(j, JV_LIST, 4), first = l->v[i], key = keys.l->v[i];
        for (; i < l->n && jv_equal(j, keys.l->v[i], key); i++)
            jv_push(j, items, l->v[i]);
        if (!items.l->n) /* a key that is not equal to itself: NaN */
            jv_push(j, items, l->v[i++]);
        struct jval group = jv_pair(j, get(j, &plain, first), items);
        group.grouping = true;
        jv_push(j, out, group);
    }
    return out;
}

static struct jval extreme(struct jinja *j, struct jval v, const struct jargs *a, bool max)
{
    const struct jlist *l = jv_items(j, v);
    struct getter g = getter_new(j, a->v[1], jv_none(), !truth(j, a->v[0]));
    if (!l->n)
        return jv_undefined_hint(j, "No aggregated item, sequence was empty.");
    struct jval best = l->v[0], best_key = get(j, &g, best);
    for (size_t i = 1; i < l->n; i++) {
        struct jval key = get(j, &g, l->v[i]);
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

FILTER(filter_unique)
{
    const struct jlist *l = jv_items(j, v);
    struct getter g = getter_new(j, a->v[1], jv_none(), !truth(j, a->v[0]));
    struct jval seen = jv_dict(j, 8), out = jv_list(j, JV_LIST, 4);
    for (size_t i = 0; i < l->n; i++) {
        struct jval key = get(j, &g, l->v[i]);
        if (jv_get(j, seen.d, key))
            continue;
        jv_put(j, seen.d, key, jv_none());
        jv_push(j, out, l->v[i]);
    }
    return jv_gen(j, out);
}

/* --- cutting and joining */

FILTER(filter_first)
{
    (void)a;
    const struct jlist *l = jv_items(j, v);
    if (v.type == JV_GEN && l->n)
        v.gen->pos -= l->n - 1;
    return l->n ? l->v[0] : jv_undefined_hint(j, "No first item, sequence was empty.");
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

FILTER(filter_items)
{
    (void)a;
    if (v.type == JV_UNDEFINED)
        return jv_gen(j, jv_list(j, JV_LIST, 0));
    if (v.type != JV_DICT)
        jinja_raise(j, "Can only get item pairs from a mapping.");
    v.type = JV_VIEW;
    v.view = JVIEW_ITEMS;
    return jv_gen(j, list_value(jv_items(j, v)));
}

FILTER(filter_join)
{
    const struct jlist *l = jv_items(j, v);
    struct getter g = getter_new(j, a->v[1], jv_none(), false);
    struct jval sep = a->v[0].type == JV_MISSING ? jv_text(j, "") : jr_str(j, a->v[0]);
    size_t mark = j->out->len;
    for (size_t i = 0; i < l->n; i++) {
        struct jval text = jr_str(j, get(j, &g, l->v[i]));
        if (i)
            jinja_write(j, sep.s->p, sep.s->n);
        jinja_write(j, text.s->p, text.s->n);
    }
    return jx_capture(j, mark);
}

FILTER(filter_sum)
{
    const struct jlist *l = jv_items(j, v);
    struct getter g = getter_new(j, a->v[0], jv_none(), false);
    struct jval sum = a->v[1].type == JV_MISSING ? jv_int(0) : a->v[1];
    if (sum.type == JV_STR)
        jinja_raise(j, "sum() can't sum strings [use ''.join(seq) instead]");
    for (size_t i = 0; i < l->n; i++)
        sum = jo_binary(j, JOP_ADD, sum, get(j, &g, l->v[i]));
    return sum;
}

static int64_t want_count(struct jinja *j, struct jval v)
{
    if (!jv_is_integer(v) || jv_as_int(v) < 1 || jv_as_int(v) > 1000000)
        jinja_raise(j, "a number of 1 to 1000000 is needed");
    return jv_as_int(v);
}

FILTER(filter_batch)
{
    size_t n = (size_t)want_count(j, a->v[0]);
    const struct jlist *l = jv_items(j, v);
    struct jval out = jv_list(j, JV_LIST, 4), row = jv_list(j, JV_LIST, 4);
    for (size_t i = 0; i < l->n; i++) {
        if (row.l->n == n) {
            jv_push(j, out, row);
            row = jv_list(j, JV_LIST, 4);
        }
        jv_push(j, row, l->v[i]);
    }
    while (row.l->n && row.l->n < n && given(a->v[1]))
        jv_push(j, row, a->v[1]);
    if (row.l->n)
        jv_push(j, out, row);
    return jv_gen(j, out);
}

FILTER(filter_slice)
{
    size_t slices = (size_t)want_count(j, a->v[0]), at = 0;
    const struct jlist *l = jv_items(j, v);
    struct jval out = jv_list(j, JV_LIST, slices);
    for (size_t i = 0; i < slices; i++) {
        bool longer = i < l->n % slices;
        struct jval row = jv_list(j, JV_LIST, 4);
        for (size_t k = l->n / slices + longer; k-- > 0;)
            jv_push(j, row, l->v[at++]);
        if (!longer && given(a->v[1]))
            jv_push(j, row, a->v[1]);
        jv_push(j, out, row);
    }
    return jv_gen(j, out);
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

static struct jval map_attribute(struct jinja *j, const struct jlist *l, const struct jargs *a)
{
    struct jval attribute = jv_none(), absent = jv_none(), out = jv_list(j, JV_LIST, l->n);
    int known = keyword(a, "attribute", &attribute) + keyword(a, "default", &absent);
    if (known < a->n_kw)
        jinja_raise(j, "Unexpected keyword argument for map");
    struct getter g = getter_new(j, attribute, absent, false);
    for (size_t i = 0; i < l->n; i++)
        jv_push(j, out, get(j, &g, l->v[i]));
    return jv_gen(j, out);
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

FILTER(filter_map)
{
    struct jval attribute;
    if (!jv_truth(j, v))
        return jv_gen(j, jv_list(j, JV_LIST, 0));
    if (!a->n && keyword(a, "attribute", &attribute))
        return map_attribute(j, jv_items(j, v), a);
    if (!a->n)
        jinja_raise(j, "map requires a filter argument");
    const struct jlist *l = jv_items(j, v);
    const struct jfunc *f = l->n ? named(j, a->v[0], false) : NULL;
    struct jargs rest = behind(a, 1);
    struct jval out = jv_list(j, JV_LIST, l->n);
    jinja_enter(j);
    for (size_t i = 0; i < l->n; i++)
        jv_push(j, out, jx_apply(j, f, l->v[i], &rest));
    jinja_leave(j);
    return jv_gen(j, out);
}

static struct jval select_items(struct jinja *j, struct jval v, const struct jargs *a, bool want,
                                bool by_attribute)
{
    struct jval out = jv_list(j, JV_LIST, 4);
    if (!jv_truth(j, v))
        return jv_gen(j, out);
    if (by_attribute && !a->n)
        jinja_raise(j, "Missing parameter for attribute name");
    struct getter g = getter_new(j, by_attribute ? a->v[0] : jv_none(), jv_none(), false);
    struct jargs rest = behind(a, by_attribute);
    const struct jlist *l = jv_items(j, v);
    const struct jfunc *test = rest.n && l->n ? named(j, rest.v[0], true) : NULL;
    struct jargs test_args = behind(&rest, rest.n > 0);
    for (size_t i = 0; i < l->n; i++) {
        struct jval key = get(j, &g, l->v[i]);
        bool is = jv_truth(j, test ? jx_apply(j, test, key, &test_args) : key);
        if (is == want)
            jv_push(j, out, l->v[i]);
    }
    return jv_gen(j, out);
}

FILTER(filter_select)
{
    return select_items(j, v, a, true, false);
}

FILTER(filter_reject)
{
    return select_items(j, v, a, false, false);
}

FILTER(filter_selectattr)
{
    return select_items(j, v, a, true, true);
}

FILTER(filter_rejectattr)
{
    return select_items(j, v, a, false, true);
}

/* clang-format off */
const struct jfunc jf_sequence_filters[] = {
    {"batch",      filter_batch,      "linecount fill_with",                1},
    {"count",      filter_length,     "",                                   0},
    {"dictsort",   filter_dictsort,   "case_sensitive by reverse",          0},
    {"first",      filter_first,      "",                                   0},
    {"groupby",    filter_groupby,    "attribute default case_sensitive",   1},
    {"items",      filter_items,      "",                                   0},
    {"join",       filter_join,       "d attribute",                        0},
    {"last",       filter_last,       "",                                   0},
    {"length",     filter_length,     "",                                   0},
    {"list",       filter_list,       "",                                   0},
    {"map",        filter_map,        NULL,                                 0},
    {"max",        filter_max,        "case_sensitive attribute",           0},
    {"min",        filter_min,        "case_sensitive attribute",           0},
    {"reject",     filter_reject,     NULL,                                 0},
    {"rejectattr", filter_rejectattr, NULL,                                 0},
    {"reverse",    filter_reverse,    "",                                   0},
    {"select",     filter_select,     NULL,                                 0},
    {"selectattr", filter_selectattr, NULL,                                 0},
    {"slice",      filter_slice,      "slices fill_with",                   1},
    {"sort",       filter_sort,       "reverse case_sensitive attribute",   0},
    {"sum",        filter_sum,        "attribute start",                    0},
    {"unique",     filter_unique,     "case_sensitive attribute",           0},
    {NULL,         NULL,              NULL,                                 0},
};
/* clang-format on */
