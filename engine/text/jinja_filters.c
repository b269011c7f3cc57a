/* jinja_filters.c - looking filters up, and those that treat single values. */
#include "engine/text/jinja_filters.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/text/jinja_methods.h"
#include "engine/text/jinja_ops.h"
#include "engine/text/jinja_repr.h"

#define FILTER(name) static struct jval name(struct jinja *j, struct jval v, const struct jargs *a)

static bool given(struct jval v)
{
    return v.type != JV_MISSING && v.type != JV_NONE;
}

FILTER(filter_default)
{
    struct jval other = a->v[0].type == JV_MISSING ? jv_text(j, "") : a->v[0];
    bool boolean = a->v[1].type != JV_MISSING && jv_truth(j, a->v[1]);
    return v.type == JV_UNDEFINED || (boolean && !jv_truth(j, v)) ? other : v;
}

FILTER(filter_abs)
{
    if (v.type == JV_UNDEFINED)
        jv_raise_undefined(j, v);
    (void)a;
    if (!jv_is_number(v))
        jinja_raise(j, "bad operand type for abs(): '%s'", jv_type_name(v));
    if (v.type == JV_FLOAT)
        return jv_float(fabs(v.f));
    return jv_as_int(v) < 0 ? jo_unary(j, JOP_SUB, v) : jv_int(jv_as_int(v));
}

/* int(float): towards zero. JV_MISSING for NaN and infinities. */
static struct jval truncate_float(struct jinja *j, double f)
{
    char digits[400];
    if (isnan(f) || isinf(f))
        return jv_missing();
    if (fabs(f) < 9e18)
        return jv_int((int64_t)f);
    return jv_int_text(j, digits, (size_t)snprintf(digits, sizeof digits, "%.0f", f));
}

FILTER(filter_int)
{
    struct jval other = a->v[0].type == JV_MISSING ? jv_int(0) : a->v[0], out = jv_missing();
    int base = 10;
    if (v.type == JV_UNDEFINED)
        jv_raise_undefined(j, v);
    if (a->v[1].type != JV_MISSING) {
        int64_t want = jv_is_integer(a->v[1]) ? jv_as_int(a->v[1]) : -1;
        if (want != 0 && (want < 2 || want > 36))
            return other;
        base = (int)want;
    }
    if (v.type == JV_STR) {
        out = jr_parse_int(j, v.s, base);
        struct jval f = out.type == JV_MISSING ? jr_parse_float(j, v.s) : out;
        if (f.type == JV_FLOAT)
            out = truncate_float(j, f.f);
    } else if (jv_is_integer(v)) {
        out = jv_int(jv_as_int(v));
    } else if (v.type == JV_BIGINT) {
        out = v;
    } else if (v.type == JV_FLOAT) {
        if (isinf(v.f))
            jinja_raise(j, "cannot convert float infinity to integer");
        out = truncate_float(j, v.f);
    }
    return out.type == JV_MISSING ? other : out;
}

FILTER(filter_float)
{
    struct jval out = jv_missing();
    if (v.type == JV_UNDEFINED)
        jv_raise_undefined(j, v);
    if (v.type == JV_STR || v.type == JV_BIGINT)
        out = jr_parse_float(j, v.s);
    else if (jv_is_number(v))
        out = jv_float(jv_as_float(v));
    if (out.type != JV_MISSING)
        return out;
    return a->v[0].type == JV_MISSING ? jv_float(0) : a->v[0];
}

/* Python's round(): half to even on the exact decimal value. */
static struct jval round_common(struct jinja *j, struct jval v, int64_t digits)
{
    char text[700];
    if (jv_is_integer(v)) {
        if (digits >= 0)
            return jv_int(jv_as_int(v));
        if (digits < -18)
            return jv_int(0);
        int64_t unit = 1, n = jv_as_int(v);
        for (int64_t i = digits; i < 0; i++)
            unit *= 10;
        int64_t rest = ((n % unit) + unit) % unit, low;
        if (__builtin_sub_overflow(n, rest, &low))
            jinja_raise(j, "integer out of range: more than 64 bits");
        bool up = rest > unit - rest || (rest == unit - rest && (low / unit) % 2 != 0);
        if (up && __builtin_add_overflow(low, unit, &low))
            jinja_raise(j, "integer out of range: more than 64 bits");
        return jv_int(low);
    }
    if (isnan(v.f) || isinf(v.f) || digits > 300)
        return v;
    if (digits >= 0) {
        snprintf(text, sizeof text, "%.*f", (int)digits, v.f);
        return jv_float(strtod(text, NULL));
    }
    if (digits < -308)
        return jv_float(copysign(0, v.f));
    long double unit = powl(10, (long double)-digits);
    return jv_float((double)(rintl((long double)v.f / unit) * unit));
}

FILTER(filter_round)
{
    int64_t digits = 0;
    if (v.type == JV_UNDEFINED)
        jv_raise_undefined(j, v);
    if (given(a->v[0])) {
        if (!jv_is_integer(a->v[0]))
            jinja_raise(j, "round() takes an integer as precision");
        digits = jv_as_int(a->v[0]);
    }
    bool common = a->v[1].type == JV_MISSING || jv_is_text(a->v[1], "common");
    bool up = jv_is_text(a->v[1], "ceil");
    if (!common && !up && !jv_is_text(a->v[1], "floor"))
        jinja_raise(j, "method must be common, ceil or floor");
    if (!jv_is_number(v))
        jinja_raise(j, "type %s doesn't define __round__ method", jv_type_name(v));
    if (common)
        return round_common(j, v, digits);
    double unit = pow(10, (double)digits), scaled = jv_as_float(v) * unit;
    if (isnan(scaled) || isinf(scaled))
        jinja_raise(j, "cannot convert float to integer");
    return jv_float((up ? ceil(scaled) : floor(scaled)) / unit);
}

FILTER(filter_attr)
{
    struct jval out = a->v[0].type == JV_STR ? jm_attr(j, v, a->v[0]) : jv_missing();
    return out.type == JV_MISSING ? jv_undefined_attr(j, v, a->v[0]) : out;
}

FILTER(filter_filesizeformat)
{
    static const char prefix[] = "kMGTPEZY";
    char text[64];
    bool binary = a->v[0].type != JV_MISSING && jv_truth(j, a->v[0]);
    if (!jv_is_number(v) && v.type != JV_STR)
        jinja_raise(j, "float() argument must be a string or a real number");
    struct jval parsed = v.type == JV_STR ? jr_parse_float(j, v.s) : v;
    if (parsed.type == JV_MISSING)
        jinja_raise(j, "could not convert string to float");
    double bytes = jv_as_float(parsed), base = binary ? 1024 : 1000, unit = base * base;
    if (bytes == 1)
        return jv_text(j, "1 Byte");
    if (bytes < base) {
        snprintf(text, sizeof text, "%lld Bytes", (long long)bytes);
        return jv_str(j, text, strlen(text));
    }
    int i = 0;
    for (; i < 7 && bytes >= unit; i++)
        unit *= base;
    snprintf(text, sizeof text, "%.1f %c%sB", base * bytes / unit, binary && !i ? 'K' : prefix[i],
             binary ? "i" : "");
    return jv_str(j, text, strlen(text));
}

FILTER(filter_random)
{
    (void)v;
    (void)a;
    jinja_raise(j, "the filter random is not supported: a prompt is the same each time");
}

/* clang-format off */
static const struct jfunc value_filters[] = {
    {"abs",            filter_abs,            "",                                         0},
    {"attr",           filter_attr,           "name",                                     1},
    {"d",              filter_default,        "default_value boolean",                    0},
    {"default",        filter_default,        "default_value boolean",                    0},
    {"filesizeformat", filter_filesizeformat, "binary",                                   0},
    {"float",          filter_float,          "default",                                  0},
    {"int",            filter_int,            "default base",                             0},
    {"round",          filter_round,          "precision method",                         0},
    {"tojson",         jf_tojson,             "ensure_ascii indent separators sort_keys", 0},
    {"pprint",         jf_pprint,             "",                                         0},
    {"random",         filter_random,         NULL,                                       0},
    {"striptags",      jf_striptags,          "",                                         0},
    {"urlize",         jf_urlize,             "trim_url_limit nofollow target rel extra_schemes", 0},
    {"wordwrap",       jf_wordwrap,           "width break_long_words wrapstring break_on_hyphens", 0},
    {NULL,             NULL,                  NULL,                                       0},
};
/* clang-format on */

const struct jfunc *jf_find(const struct jfunc *table, const char *name, size_t n)
{
    for (; table->name; table++)
        if (strlen(table->name) == n && !memcmp(table->name, name, n))
            return table;
    return NULL;
}

const struct jfunc *jf_filter(const char *name, size_t n)
{
    const struct jfunc *f = jf_find(value_filters, name, n);
    if (!f)
        f = jf_find(jf_text_filters, name, n);
    f = f ? f : jf_find(jf_sequence_filters, name, n);
    return f ? f : jf_find(jf_lazy_filters, name, n);
}
