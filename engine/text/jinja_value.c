/* jinja_value.c - making, comparing and measuring values. Nested values are walked by recursion
 * that jinja_enter counts, for a template can nest lists as deep as it has steps. */
#include "engine/text/jinja_value.h"

#include <string.h>

#include "engine/text/jinja_eval.h"
#include "engine/text/jinja_repr.h"
#include "engine/text/jinja_str.h"

enum { GROW_FROM = 64 };

/* --- making */

struct jval jv_none(void)
{
    return (struct jval){.type = JV_NONE};
}

struct jval jv_missing(void)
{
    return (struct jval){.type = JV_MISSING};
}

struct jval jv_bool(bool b)
{
    return (struct jval){.type = JV_BOOL, .b = b};
}

struct jval jv_int(int64_t i)
{
    return (struct jval){.type = JV_INT, .i = i};
}

struct jval jv_float(double f)
{
    return (struct jval){.type = JV_FLOAT, .f = f};
}

static struct jval str_of(struct jinja *j, const char *p, size_t n, size_t chars)
{
    struct jstr *s = jinja_alloc(j, sizeof *s);
    *s = (struct jstr){.p = p, .n = n, .chars = chars};
    return (struct jval){.type = JV_STR, .s = s};
}

struct jval jv_borrow(struct jinja *j, const char *p, size_t n)
{
    jinja_charge(j, n / 64);
    return str_of(j, p, n, js_count(p, n));
}

struct jval jv_str(struct jinja *j, const char *p, size_t n)
{
    char *copy = jinja_alloc(j, n);
    if (n)
        memcpy(copy, p, n);
    return jv_borrow(j, copy, n);
}

struct jval jv_text(struct jinja *j, const char *s)
{
    return jv_borrow(j, s, strlen(s));
}

struct jval jv_char(struct jinja *j, const char *p, size_t n)
{
    return str_of(j, p, n, 1);
}

/* The tail of `used` bytes (or items) that `a` ends at, when `more` fit behind it. */
static bool tail_fits(const struct jtail *tail, size_t a_n, size_t more)
{
    return tail && tail->used == a_n && more <= tail->cap - tail->used;
}

struct jval jv_join(struct jinja *j, struct jval a, struct jval b)
{
    size_t n = a.s->n + b.s->n;
    struct jval v = str_of(j, NULL, n, a.s->chars + b.s->chars);
    v.markup = a.markup;
    if (tail_fits(a.s->tail, a.s->n, b.s->n)) {
        v.s->tail = a.s->tail;
        v.s->p = a.s->p;
        jinja_charge(j, b.s->n / 64);
    } else {
        size_t cap = n < GROW_FROM ? n : 2 * n;
        char *p = jinja_alloc(j, cap);
        jinja_charge(j, n / 64);
        if (a.s->n)
            memcpy(p, a.s->p, a.s->n);
        v.s->p = p;
        if (cap > n) {
            v.s->tail = jinja_alloc(j, sizeof *v.s->tail);
            v.s->tail->cap = cap;
        }
    }
    if (b.s->n)
        memcpy((char *)v.s->p + a.s->n, b.s->p, b.s->n);
    if (v.s->tail)
        v.s->tail->used = n;
    return v;
}

static struct jval undefined_of(struct jinja *j, struct jundef u)
{
    struct jundef *copy = jinja_alloc(j, sizeof *copy);
    *copy = u;
    return (struct jval){.type = JV_UNDEFINED, .undef = copy};
}

struct jval jv_undefined_name(struct jinja *j, const char *name, size_t n)
{
    return undefined_of(j, (struct jundef){.name = jv_borrow(j, name, n)});
}

struct jval jv_undefined_attr(struct jinja *j, struct jval obj, struct jval name)
{
    return undefined_of(j, (struct jundef){.obj = obj, .name = name});
}

struct jval jv_undefined_hint(struct jinja *j, const char *hint)
{
    return undefined_of(j, (struct jundef){.hint = hint});
}

struct jval jv_list(struct jinja *j, enum jtype type, size_t room)
{
    struct jlist *l = jinja_alloc(j, sizeof *l);
    struct jtail *tail = jinja_alloc(j, sizeof *tail);
    *tail = (struct jtail){.cap = room};
    *l = (struct jlist){.v = jinja_array(j, room, sizeof *l->v), .tail = tail};
    return (struct jval){.type = (uint8_t)type, .l = l};
}

static void list_append(struct jinja *j, struct jlist *l, const struct jval *v, size_t n)
{
    jinja_charge(j, n);
    if (!tail_fits(l->tail, l->n, n)) {
        size_t cap = 2 * (l->n + n);
        struct jval *moved = jinja_array(j, cap, sizeof *moved);
        if (l->n)
            memcpy(moved, l->v, l->n * sizeof *moved);
        l->v = moved;
        l->tail = jinja_alloc(j, sizeof *l->tail);
        l->tail->cap = cap;
    }
    if (n)
        memcpy(l->v + l->n, v, n * sizeof *v);
    l->n += n;
    l->tail->used = l->n;
}

void jv_push(struct jinja *j, struct jval list, struct jval v)
{
    list_append(j, list.l, &v, 1);
}

struct jval jv_list_join(struct jinja *j, struct jval a, struct jval b)
{
    struct jlist *l = jinja_alloc(j, sizeof *l);
    *l = *a.l;
    list_append(j, l, b.l->v, b.l->n);
    return (struct jval){.type = a.type, .l = l};
}

struct jval jv_pair(struct jinja *j, struct jval a, struct jval b)
{
    struct jval t = jv_list(j, JV_TUPLE, 2);
    jv_push(j, t, a);
    jv_push(j, t, b);
    return t;
}

struct jval jv_gen(struct jinja *j, struct jval list)
{
    struct jgen *g = jinja_alloc(j, sizeof *g);
    *g = (struct jgen){.items = list.l};
    return (struct jval){.type = JV_GEN, .gen = g};
}

struct jval jv_lazy(struct jinja *j, bool (*next)(struct jinja *, void *, struct jval *),
                    void *state)
{
    struct jval v = jv_gen(j, jv_list(j, JV_LIST, 0));
    v.gen->next = next;
    v.gen->state = state;
    return v;
}

struct jval jv_int_text(struct jinja *j, const char *digits, size_t n)
{
    size_t i = n && (digits[0] == '-' || digits[0] == '+');
    bool minus = i && digits[0] == '-';
    while (i + 1 < n && digits[i] == '0')
        i++;
    int64_t v = 0;
    bool big = false;
    for (size_t k = i; k < n && !big; k++)
        big = __builtin_mul_overflow(v, 10, &v) ||
              __builtin_add_overflow(v, (minus ? -1 : 1) * (digits[k] - '0'), &v);
    if (!big)
        return jv_int(v);
    char *p = jinja_alloc(j, n + 1);
    size_t m = 0;
    if (minus)
        p[m++] = '-';
    memcpy(p + m, digits + i, n - i);
    struct jval b = str_of(j, p, m + n - i, m + n - i);
    b.type = JV_BIGINT;
    return b;
}

struct jval jv_from_json(struct jinja *j, const struct json *v)
{
    struct jval out = jv_none();
    jinja_enter(j);
    switch (v->type) {
    case JSON_NULL:
        break;
    case JSON_BOOL:
        out = jv_bool(v->boolean);
        break;
    case JSON_NUMBER:
        if (memchr(v->text.p, '.', v->text.n) || memchr(v->text.p, 'e', v->text.n) ||
            memchr(v->text.p, 'E', v->text.n))
            out = jv_float(v->number);
        else
            out = jv_int_text(j, v->text.p, v->text.n);
        break;
    case JSON_STRING:
        out = jv_borrow(j, v->text.p, v->text.n);
        break;
    case JSON_ARRAY:
        out = jv_list(j, JV_LIST, (size_t)v->count);
        for (const struct json *c = v->first; c; c = c->next)
            jv_push(j, out, jv_from_json(j, c));
        break;
    case JSON_OBJECT:
        out = jv_dict(j, (size_t)v->count);
        for (const struct json *c = v->first; c; c = c->next)
            jv_put(j, out.d, jv_text(j, c->key), jv_from_json(j, c));
        break;
    }
    jinja_leave(j);
    return out;
}

/* --- comparing */

bool jv_is_integer(struct jval v)
{
    return v.type == JV_BOOL || v.type == JV_INT;
}

bool jv_is_number(struct jval v)
{
    return jv_is_integer(v) || v.type == JV_FLOAT;
}

int64_t jv_as_int(struct jval v)
{
    return v.type == JV_BOOL ? v.b : v.i;
}

double jv_as_float(struct jval v)
{
    return v.type == JV_FLOAT ? v.f : (double)jv_as_int(v);
}

static int number_compare(struct jval a, struct jval b)
{
    if (jv_is_integer(a) && jv_is_integer(b)) {
        int64_t x = jv_as_int(a), y = jv_as_int(b);
        return (x > y) - (x < y);
    }
    long double x = a.type == JV_FLOAT ? (long double)a.f : (long double)jv_as_int(a);
    long double y = b.type == JV_FLOAT ? (long double)b.f : (long double)jv_as_int(b);
    return x < y ? -1 : x > y ? 1 : x == y ? 0 : JV_UNORDERED;
}

static bool list_equal(struct jinja *j, const struct jlist *a, const struct jlist *b)
{
    if (a->n != b->n)
        return false;
    for (size_t i = 0; i < a->n; i++)
        if (!jv_equal(j, a->v[i], b->v[i]))
            return false;
    return true;
}

static bool dict_equal(struct jinja *j, const struct jdict *a, const struct jdict *b)
{
    if (a->n != b->n)
        return false;
    for (size_t i = 0; i < a->n; i++) {
        const struct jval *v = jv_get(j, b, a->e[i].key);
        if (!v || !jv_equal(j, a->e[i].value, *v))
            return false;
    }
    return true;
}

static bool range_equal(const struct jrange *a, const struct jrange *b)
{
    return a->n == b->n && (!a->n || a->start == b->start) && (a->n < 2 || a->step == b->step);
}

bool jv_equal(struct jinja *j, struct jval a, struct jval b)
{
    if (jv_is_number(a) && jv_is_number(b))
        return number_compare(a, b) == 0;
    if (a.type != b.type)
        return false;
    bool equal;
    jinja_enter(j);
    switch (a.type) {
    case JV_UNDEFINED:
    case JV_NONE:
        equal = true;
        break;
    case JV_STR:
    case JV_BIGINT:
        equal = a.s->n == b.s->n && !memcmp(a.s->p, b.s->p, a.s->n);
        jinja_charge(j, equal ? a.s->n / 64 : 0);
        break;
    case JV_LIST:
    case JV_TUPLE:
        equal = list_equal(j, a.l, b.l);
        break;
    case JV_DICT:
        equal = dict_equal(j, a.d, b.d);
        break;
    case JV_RANGE:
        equal = range_equal(a.range, b.range);
        break;
    case JV_METHOD:
        equal = a.method->func == b.method->func && a.method->self.s == b.method->self.s;
        break;
    default: /* the others are equal to themselves only */
        equal = a.s == b.s && a.view == b.view;
    }
    jinja_leave(j);
    return equal;
}

static int text_compare(struct jinja *j, const struct jstr *a, const struct jstr *b)
{
    size_t n = a->n < b->n ? a->n : b->n;
    jinja_charge(j, n / 64);
    int c = n ? memcmp(a->p, b->p, n) : 0; /* UTF-8 sorts as its code points do */
    return c ? (c > 0) - (c < 0) : (a->n > b->n) - (a->n < b->n); /* never JV_UNORDERED */
}

int jv_compare(struct jinja *j, struct jval a, struct jval b, const char *op)
{
    if (a.type == JV_UNDEFINED)
        jv_raise_undefined(j, a);
    if (b.type == JV_UNDEFINED)
        jv_raise_undefined(j, b);
    if (jv_is_number(a) && jv_is_number(b))
        return number_compare(a, b);
    if (a.type == JV_STR && b.type == JV_STR)
        return text_compare(j, a.s, b.s);
    if (a.type != b.type || (a.type != JV_LIST && a.type != JV_TUPLE))
        jinja_raise(j, "'%s' not supported between instances of '%s' and '%s'", op, jv_type_name(a),
                    jv_type_name(b));
    size_t n = a.l->n < b.l->n ? a.l->n : b.l->n;
    int c = 0;
    jinja_enter(j);
    for (size_t i = 0; i < n && !c; i++)
        if (!jv_equal(j, a.l->v[i], b.l->v[i]))
            c = jv_compare(j, a.l->v[i], b.l->v[i], op);
    jinja_leave(j);
    return c ? c : (a.l->n > b.l->n) - (a.l->n < b.l->n);
}

/* --- measuring */

bool jv_truth(struct jinja *j, struct jval v)
{
    switch (v.type) {
    case JV_MISSING:
    case JV_UNDEFINED:
    case JV_NONE:
        return false;
    case JV_BOOL:
        return v.b;
    case JV_INT:
        return v.i != 0;
    case JV_FLOAT:
        return v.f != 0;
    default:
        return !jv_has_length(v) || jv_length(j, v) != 0;
    }
}

bool jv_has_length(struct jval v)
{
    return v.type == JV_UNDEFINED || v.type == JV_STR || v.type == JV_LIST || v.type == JV_TUPLE ||
           v.type == JV_DICT || v.type == JV_VIEW || v.type == JV_RANGE || v.type == JV_LOOP;
}

int64_t jv_length(struct jinja *j, struct jval v)
{
    switch (v.type) {
    case JV_UNDEFINED:
        return 0;
    case JV_STR:
        return (int64_t)v.s->chars;
    case JV_LIST:
    case JV_TUPLE:
        return (int64_t)v.l->n;
    case JV_DICT:
    case JV_VIEW:
        return (int64_t)v.d->n;
    case JV_RANGE:
        return v.range->n;
    case JV_LOOP:
        jx_loop_has(j, v.loop, SIZE_MAX - 1); /* reads it to its end */
        return (int64_t)v.loop->items->n;
    default:
        jinja_raise(j, "object of type '%s' has no len()", jv_type_name(v));
    }
}

bool jv_is_iterable(struct jval v)
{
    return (jv_has_length(v) && v.type != JV_LOOP) || v.type == JV_GEN || v.type == JV_LOOP;
}

static struct jlist *dict_items(struct jinja *j, const struct jdict *d, enum jview view)
{
    struct jval out = jv_list(j, JV_LIST, d->n);
    for (size_t i = 0; i < d->n; i++) {
        const struct jentry *e = &d->e[i];
        jv_push(j, out,
                view == JVIEW_KEYS     ? e->key
                : view == JVIEW_VALUES ? e->value
                                       : jv_pair(j, e->key, e->value));
    }
    return out.l;
}

static struct jlist *str_items(struct jinja *j, const struct jstr *s)
{
    struct jval out = jv_list(j, JV_LIST, s->chars);
    for (size_t i = 0; i < s->n;) {
        size_t n = js_char_bytes(s->p, s->n, i);
        jv_push(j, out, jv_char(j, s->p + i, n));
        i += n;
    }
    return out.l;
}

/* Depth: a generator may read a generator, and so on. */
static bool gen_next(struct jinja *j, struct jgen *g, struct jval *item)
{
    if (!g->next) {
        if (g->pos == g->items->n)
            return false;
        *item = g->items->v[g->pos++];
        return true;
    }
    jinja_enter(j);
    if (!g->next(j, g->state, item))
        g->next = NULL;
    jinja_leave(j);
    return g->next != NULL;
}

bool jv_next(struct jinja *j, struct jiter *it, struct jval *item)
{
    if (it->over.type == JV_GEN)
        return gen_next(j, it->over.gen, item);
    if (!it->items)
        it->items = jv_items(j, it->over);
    if (it->at == it->items->n)
        return false;
    *item = it->items->v[it->at++];
    return true;
}

/* All that a generator has left. */
static struct jlist *gen_items(struct jinja *j, struct jgen *g)
{
    struct jval out = jv_list(j, JV_LIST, 0), item;
    while (g->next && gen_next(j, g, &item))
        jv_push(j, out, item);
    if (!out.l->n) {
        out.l->v = g->items->v + g->pos;
        out.l->n = g->items->n - g->pos;
        g->pos = g->items->n;
    }
    return out.l;
}

struct jlist *jv_items(struct jinja *j, struct jval v)
{
    struct jval out;
    switch (v.type) {
    case JV_LIST:
    case JV_TUPLE:
        return v.l;
    case JV_STR:
        return str_items(j, v.s);
    case JV_DICT:
        return dict_items(j, v.d, JVIEW_KEYS);
    case JV_VIEW:
        return dict_items(j, v.d, v.view);
    case JV_RANGE:
        out = jv_list(j, JV_LIST, (size_t)v.range->n);
        for (int64_t i = 0; i < v.range->n; i++)
            jv_push(j, out, jv_int(v.range->start + i * v.range->step));
        return out.l;
    case JV_GEN:
        return gen_items(j, v.gen);
    case JV_UNDEFINED:
        return jv_list(j, JV_LIST, 0).l;
    default:
        jinja_raise(j, "'%s' object is not iterable", jv_type_name(v));
    }
}

const char *jv_type_name(struct jval v)
{
    static const char *const view[] = {"dict_keys", "dict_values", "dict_items"};
    static const char *const name[] = {
        [JV_MISSING] = "missing",
        [JV_UNDEFINED] = "Undefined",
        [JV_NONE] = "NoneType",
        [JV_BOOL] = "bool",
        [JV_INT] = "int",
        [JV_BIGINT] = "int",
        [JV_FLOAT] = "float",
        [JV_STR] = "str",
        [JV_LIST] = "list",
        [JV_TUPLE] = "tuple",
        [JV_DICT] = "dict",
        [JV_RANGE] = "range",
        [JV_VIEW] = "dict_items",
        [JV_GEN] = "generator",
        [JV_NAMESPACE] = "Namespace",
        [JV_MACRO] = "Macro",
        [JV_METHOD] = "method",
        [JV_FUNC] = "function",
        [JV_LOOP] = "LoopContext",
        [JV_CYCLER] = "Cycler",
        [JV_JOINER] = "Joiner",
    };
    if (v.type == JV_STR && v.markup)
        return "Markup";
    return v.type == JV_VIEW ? view[v.view] : name[v.type];
}

/* How Jinja names an object in "'dict object' has no attribute 'x'". */
static const char *object_name(struct jinja *j, struct jval v)
{
    if (v.type == JV_NONE)
        return "None";
    const char *module =
        v.type == JV_NAMESPACE || v.type == JV_CYCLER || v.type == JV_JOINER ? "jinja2.utils."
        : v.type == JV_MACRO || v.type == JV_LOOP || v.type == JV_UNDEFINED  ? "jinja2.runtime."
        : v.type == JV_STR && v.markup                                       ? "markupsafe."
                                                                             : "";
    char *s = arena_printf(&j->arena, "%s%s object", module, jv_type_name(v));
    return s ? s : "object";
}

const char *jv_undefined_message(struct jinja *j, struct jval v)
{
    const struct jundef *u = v.undef;
    if (u->hint)
        return u->hint;
    struct jval name = jr_repr(j, u->name);
    const char *s;
    if (u->obj.type == JV_MISSING)
        s = arena_printf(&j->arena, "%.*s is undefined", (int)name.s->n, name.s->p);
    else if (u->name.type != JV_STR)
        s = arena_printf(&j->arena, "%s has no element %.*s", object_name(j, u->obj),
                         (int)name.s->n, name.s->p);
    else
        s = arena_printf(&j->arena, "'%s' has no attribute %.*s", object_name(j, u->obj),
                         (int)name.s->n, name.s->p);
    return s ? s : "undefined value";
}

_Noreturn void jv_raise_undefined(struct jinja *j, struct jval v)
{
    jinja_raise(j, "%s", jv_undefined_message(j, v));
}

bool jv_is_text(struct jval v, const char *s)
{
    return v.type == JV_STR && v.s->n == strlen(s) && !memcmp(v.s->p, s, v.s->n);
}
