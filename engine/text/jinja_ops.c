/* jinja_ops.c - operators, subscripts and attributes.
 *
 * Integers are 64 bits wide; where Python's would grow beyond, the template fails and says so.
 * A missing key, index or attribute is an undefined value, not an error, as in Jinja. */
#include "engine/text/jinja_ops.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#include "engine/text/jinja_format.h"
#include "engine/text/jinja_methods.h"
#include "engine/text/jinja_str.h"

static const char *const op_text[] = {
    [JOP_ADD] = "+",       [JOP_SUB] = "-", [JOP_MUL] = "*",           [JOP_DIV] = "/",
    [JOP_FLOORDIV] = "//", [JOP_MOD] = "%", [JOP_POW] = "** or pow()", [JOP_EQ] = "==",
    [JOP_NE] = "!=",       [JOP_LT] = "<",  [JOP_LE] = "<=",           [JOP_GT] = ">",
    [JOP_GE] = ">=",       [JOP_IN] = "in", [JOP_NOT_IN] = "not in",
};

static _Noreturn void overflow(struct jinja *j)
{
    jinja_raise(j, "integer out of range: more than 64 bits");
}

static _Noreturn void unsupported(struct jinja *j, enum jop op, struct jval a, struct jval b)
{
    if (a.type == JV_BIGINT || b.type == JV_BIGINT)
        overflow(j);
    const char *x = jv_type_name(a), *y = jv_type_name(b);
    if (op == JOP_ADD && (a.type == JV_STR || a.type == JV_LIST || a.type == JV_TUPLE))
        jinja_raise(j, "can only concatenate %s (not \"%s\") to %s", x, y, x);
    jinja_raise(j, "unsupported operand type(s) for %s: '%s' and '%s'", op_text[op], x, y);
}

/* --- arithmetic */

static int64_t floor_div(int64_t a, int64_t b, int64_t *rest)
{
    int64_t q = b == -1 ? -a : a / b;
    int64_t r = b == -1 ? 0 : a % b;
    if (r && (r < 0) != (b < 0)) {
        q--;
        r += b;
    }
    *rest = r;
    return q;
}

static struct jval int_power(struct jinja *j, int64_t base, int64_t exp)
{
    int64_t result = 1;
    for (; exp; exp >>= 1) {
        if ((exp & 1) && __builtin_mul_overflow(result, base, &result))
            overflow(j);
        if (exp > 1 && __builtin_mul_overflow(base, base, &base))
            overflow(j);
    }
    return jv_int(result);
}

static struct jval float_power(struct jinja *j, double a, double b)
{
    if (a == 0 && b < 0)
        jinja_raise(j, "0.0 cannot be raised to a negative power");
    double f = pow(a, b);
    if (isnan(f) && !isnan(a) && !isnan(b))
        jinja_raise(j, "a complex number is not supported");
    if (isinf(f) && !isinf(a) && !isinf(b))
        jinja_raise(j, "(34, 'Numerical result out of range')");
    return jv_float(f);
}

static struct jval int_binary(struct jinja *j, enum jop op, int64_t a, int64_t b)
{
    int64_t r = 0, rest;
    bool bad = false;
    if ((op == JOP_DIV || op == JOP_FLOORDIV || op == JOP_MOD) && !b)
        jinja_raise(j, op == JOP_DIV ? "division by zero" : "integer division or modulo by zero");
    switch (op) {
    case JOP_ADD:
        bad = __builtin_add_overflow(a, b, &r);
        break;
    case JOP_SUB:
        bad = __builtin_sub_overflow(a, b, &r);
        break;
    case JOP_MUL:
        bad = __builtin_mul_overflow(a, b, &r);
        break;
    case JOP_DIV: /* one rounding of the exact quotient */
        return jv_float((double)((long double)a / (long double)b));
    case JOP_FLOORDIV:
        bad = a == INT64_MIN && b == -1;
        r = bad ? 0 : floor_div(a, b, &rest);
        break;
    case JOP_MOD:
        if (b != -1)
            floor_div(a, b, &r);
        break;
    default:
        return b < 0 ? float_power(j, (double)a, (double)b) : int_power(j, a, b);
    }
    if (bad)
        overflow(j);
    return jv_int(r);
}

static struct jval float_binary(struct jinja *j, enum jop op, double a, double b)
{
    if ((op == JOP_DIV || op == JOP_FLOORDIV || op == JOP_MOD) && b == 0)
        jinja_raise(j, op == JOP_DIV        ? "float division by zero"
                       : op == JOP_FLOORDIV ? "float floor division by zero"
                                            : "float modulo");
    if (op == JOP_ADD)
        return jv_float(a + b);
    if (op == JOP_SUB)
        return jv_float(a - b);
    if (op == JOP_MUL)
        return jv_float(a * b);
    if (op == JOP_DIV)
        return jv_float(a / b);
    if (op == JOP_POW)
        return float_power(j, a, b);
    double mod = fmod(a, b); /* as CPython's float_divmod */
    double div = (a - mod) / b;
    if (mod != 0 && (b < 0) != (mod < 0)) {
        mod += b;
        div -= 1;
    } else if (mod == 0) {
        mod = copysign(0, b);
    }
    if (op == JOP_MOD)
        return jv_float(mod);
    double whole = div != 0 ? floor(div) : copysign(0, a / b);
    return jv_float(div != 0 && div - whole > 0.5 ? whole + 1 : whole);
}

static struct jval repeat(struct jinja *j, struct jval v, int64_t times)
{
    if (v.type == JV_STR)
        return js_repeat(j, v, times);
    struct jval out = jv_list(j, v.type, 0);
    if (!v.l->n)
        return out;
    for (int64_t i = 0; i < times; i++)
        for (size_t k = 0; k < v.l->n; k++)
            jv_push(j, out, v.l->v[k]);
    return out;
}

static struct jval add_text(struct jinja *j, struct jval a, struct jval b)
{
    bool markup = a.markup || b.markup;
    if (markup) {
        a = js_escape(j, a);
        b = js_escape(j, b);
    }
    return jv_join(j, a, b);
}

static bool repeats(struct jval v)
{
    return v.type == JV_STR || v.type == JV_LIST || v.type == JV_TUPLE;
}

struct jval jo_binary(struct jinja *j, enum jop op, struct jval a, struct jval b)
{
    if (op == JOP_MOD && a.type == JV_STR)
        return jfmt_percent(j, a, b);
    if (a.type == JV_UNDEFINED)
        jv_raise_undefined(j, a);
    if (b.type == JV_UNDEFINED)
        jv_raise_undefined(j, b);
    if (jv_is_integer(a) && jv_is_integer(b))
        return int_binary(j, op, jv_as_int(a), jv_as_int(b));
    if (jv_is_number(a) && jv_is_number(b))
        return float_binary(j, op, jv_as_float(a), jv_as_float(b));
    if (op == JOP_ADD && a.type == b.type && a.type == JV_STR)
        return add_text(j, a, b);
    if (op == JOP_ADD && a.type == b.type && repeats(a))
        return jv_list_join(j, a, b);
    if (op == JOP_MUL && repeats(a) && jv_is_integer(b))
        return repeat(j, a, jv_as_int(b));
    if (op == JOP_MUL && repeats(b) && jv_is_integer(a))
        return repeat(j, b, jv_as_int(a));
    unsupported(j, op, a, b);
}

struct jval jo_unary(struct jinja *j, enum jop op, struct jval a)
{
    if (a.type == JV_UNDEFINED)
        jv_raise_undefined(j, a);
    if (a.type == JV_BIGINT)
        overflow(j);
    if (!jv_is_number(a))
        jinja_raise(j, "bad operand type for unary %s: '%s'", op_text[op], jv_type_name(a));
    if (a.type == JV_FLOAT)
        return jv_float(op == JOP_SUB ? -a.f : a.f);
    return op == JOP_SUB ? int_binary(j, JOP_SUB, 0, jv_as_int(a)) : jv_int(jv_as_int(a));
}

/* --- comparison */

static bool view_contains(struct jinja *j, struct jval item, struct jval in)
{
    if (in.view == JVIEW_KEYS)
        return jv_get(j, in.d, item) != NULL;
    if (in.view == JVIEW_ITEMS) {
        if (item.type != JV_TUPLE || item.l->n != 2)
            return false;
        const struct jval *v = jv_get(j, in.d, item.l->v[0]);
        return v && jv_equal(j, *v, item.l->v[1]);
    }
    for (size_t i = 0; i < in.d->n; i++)
        if (jv_equal(j, in.d->e[i].value, item))
            return true;
    return false;
}

bool jo_contains(struct jinja *j, struct jval item, struct jval in)
{
    if (in.type == JV_STR) {
        if (item.type != JV_STR)
            jinja_raise(j, "'in <string>' requires string as left operand, not %s",
                        jv_type_name(item));
        return js_find(j, in.s, item.s, 0, in.s->n, false) >= 0;
    }
    if (in.type == JV_DICT)
        return jv_get(j, in.d, item) != NULL;
    if (in.type == JV_VIEW)
        return view_contains(j, item, in);
    if (!jv_is_iterable(in))
        jinja_raise(j, "argument of type '%s' is not iterable", jv_type_name(in));
    struct jiter it = {.over = in}; /* the search reads a generator that far and no further */
    struct jval have;
    while (jv_next(j, &it, &have))
        if (jv_equal(j, have, item))
            return true;
    return false;
}

bool jo_compare(struct jinja *j, enum jop op, struct jval a, struct jval b)
{
    jinja_charge(j, 1);
    if (op == JOP_EQ || op == JOP_NE)
        return jv_equal(j, a, b) == (op == JOP_EQ);
    if (op == JOP_IN || op == JOP_NOT_IN)
        return jo_contains(j, a, b) == (op == JOP_IN);
    int c = jv_compare(j, a, b, op_text[op]);
    if (c == JV_UNORDERED)
        return false;
    return op == JOP_LT ? c < 0 : op == JOP_LE ? c <= 0 : op == JOP_GT ? c > 0 : c >= 0;
}

/* --- subscripts */

/* The index as a position in 0..n-1, or -1. */
static int64_t position(int64_t i, int64_t n)
{
    i = i < 0 ? i + n : i;
    return i >= 0 && i < n ? i : -1;
}

static bool hashable(struct jval v)
{
    if (v.type != JV_TUPLE)
        return v.type != JV_LIST && v.type != JV_DICT;
    for (size_t i = 0; i < v.l->n; i++) /* nested tuples are rare keys: two levels are enough */
        if (v.l->v[i].type == JV_LIST || v.l->v[i].type == JV_DICT || v.l->v[i].type == JV_TUPLE)
            return false;
    return true;
}

/* obj[index]; JV_MISSING where Python raises LookupError or TypeError. */
static struct jval subscript(struct jinja *j, struct jval of, struct jval index)
{
    if (of.type == JV_DICT) {
        const struct jval *v = hashable(index) ? jv_get(j, of.d, index) : NULL;
        return v ? *v : jv_missing();
    }
    if (!jv_is_integer(index))
        return jv_missing();
    int64_t at;
    switch (of.type) {
    case JV_LIST:
    case JV_TUPLE:
        at = position(jv_as_int(index), (int64_t)of.l->n);
        return at < 0 ? jv_missing() : of.l->v[at];
    case JV_STR:
        at = position(jv_as_int(index), (int64_t)of.s->chars);
        return at < 0 ? jv_missing() : js_slice(j, of, at, 1, 1);
    case JV_RANGE:
        at = position(jv_as_int(index), of.range->n);
        return at < 0 ? jv_missing() : jv_int(of.range->start + at * of.range->step);
    default:
        return jv_missing();
    }
}

struct jval jo_item(struct jinja *j, struct jval of, struct jval index)
{
    if (of.type == JV_UNDEFINED)
        jv_raise_undefined(j, of);
    struct jval v = subscript(j, of, index);
    if (v.type == JV_MISSING && index.type == JV_STR)
        v = jm_attr(j, of, index);
    return v.type == JV_MISSING ? jv_undefined_attr(j, of, index) : v;
}

struct jval jo_attr(struct jinja *j, struct jval of, struct jval name)
{
    if (of.type == JV_UNDEFINED)
        jv_raise_undefined(j, of);
    struct jval v = jm_attr(j, of, name);
    if (v.type == JV_MISSING && of.type == JV_DICT)
        v = subscript(j, of, name);
    return v.type == JV_MISSING ? jv_undefined_attr(j, of, name) : v;
}

/* --- slices */

static int64_t slice_bound(struct jinja *j, struct jval v, int64_t absent)
{
    if (v.type == JV_NONE)
        return absent;
    if (!jv_is_integer(v))
        jinja_raise(j, "slice indices must be integers or None or have an __index__ method");
    return jv_as_int(v);
}

static int64_t clamp(int64_t i, int64_t n, int64_t low, int64_t high)
{
    i = i < 0 ? i + n : i;
    return i < low ? low : i > high ? high : i;
}

struct jval jo_slice(struct jinja *j, struct jval of, const struct jval bound[3])
{
    bool sliceable =
        of.type == JV_STR || of.type == JV_LIST || of.type == JV_TUPLE || of.type == JV_RANGE;
    if (of.type == JV_UNDEFINED)
        jv_raise_undefined(j, of);
    if (of.type == JV_DICT)
        jinja_raise(j, "unhashable type: 'slice'");
    if (!sliceable)
        jinja_raise(j, "'%s' object is not subscriptable", jv_type_name(of));
    int64_t len = jv_length(j, of), step = slice_bound(j, bound[2], 1);
    if (!step)
        jinja_raise(j, "slice step cannot be zero");
    step = step < -INT64_MAX ? -INT64_MAX : step;
    int64_t low = step < 0 ? -1 : 0, high = step < 0 ? len - 1 : len;
    int64_t start = step < 0 ? high : low, stop = step < 0 ? low : high, n = 0;
    if (bound[0].type != JV_NONE)
        start = clamp(slice_bound(j, bound[0], 0), len, low, high);
    if (bound[1].type != JV_NONE)
        stop = clamp(slice_bound(j, bound[1], 0), len, low, high);
    if (step > 0 && stop > start)
        n = (stop - start - 1) / step + 1;
    if (step < 0 && stop < start)
        n = (start - stop - 1) / -step + 1;
    if (of.type == JV_STR)
        return js_slice(j, of, start, step, n);
    if (of.type == JV_RANGE) {
        struct jrange *r = jinja_alloc(j, sizeof *r);
        *r = (struct jrange){.start = of.range->start + start * of.range->step,
                             .step = n > 1 ? of.range->step * step : of.range->step,
                             .n = n};
        return (struct jval){.type = JV_RANGE, .range = r};
    }
    struct jval out = jv_list(j, of.type, (size_t)n);
    for (int64_t i = 0; i < n; i++)
        jv_push(j, out, of.l->v[start + i * step]);
    return out;
}
