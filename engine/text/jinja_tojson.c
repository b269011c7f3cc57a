/* jinja_tojson.c - the tojson filter: json.dumps as Transformers calls it, that is without escaping
 * HTML and with ensure_ascii off, and with its options indent, separators and sort_keys. */
#include "engine/text/jinja_filters.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "engine/text/jinja_eval.h"
#include "engine/text/jinja_repr.h"
#include "kernels/base/utf8.h"

enum { MAX_INDENT = 100 };

struct dump {
    struct jinja *j;
    bool ascii, sort;
    struct jval indent;    /* a string, or JV_NONE: all on one line */
    struct jval item, key; /* separators */
    int level;
};

static void put(struct dump *d, const char *s)
{
    jinja_write(d->j, s, strlen(s));
}

static void put_unit(struct dump *d, uint32_t unit)
{
    char e[8];
    snprintf(e, sizeof e, "\\u%04x", unit);
    put(d, e);
}

static const char *short_escape(unsigned char c)
{
    switch (c) {
    case '"':
        return "\\\"";
    case '\\':
        return "\\\\";
    case '\n':
        return "\\n";
    case '\r':
        return "\\r";
    case '\t':
        return "\\t";
    case '\b':
        return "\\b";
    case '\f':
        return "\\f";
    default:
        return NULL;
    }
}

static void put_text(struct dump *d, const struct jstr *s)
{
    size_t from = 0;
    put(d, "\"");
    for (size_t i = 0; i < s->n;) {
        unsigned char c = (unsigned char)s->p[i];
        uint32_t cp = c;
        size_t n = 1;
        if (c >= ' ' && c != '"' && c != '\\' && (c < 0x80 || !d->ascii)) {
            i++;
            continue;
        }
        jinja_write(d->j, s->p + from, i - from);
        if (c >= 0x80)
            n = (size_t)utf8_decode(s->p + i, s->n - i, &cp);
        if (short_escape(c)) {
            put(d, short_escape(c));
        } else if (cp < 0x10000) {
            put_unit(d, cp);
        } else {
            put_unit(d, 0xd800 + ((cp - 0x10000) >> 10));
            put_unit(d, 0xdc00 + ((cp - 0x10000) & 0x3ff));
        }
        i += n;
        from = i;
    }
    jinja_write(d->j, s->p + from, s->n - from);
    put(d, "\"");
    jinja_charge(d->j, s->n / 16);
}

static void put_float(struct dump *d, double f)
{
    char s[JR_FLOAT_MAX];
    jr_float(f, s);
    put(d, isnan(f) ? "NaN" : isinf(f) ? (f < 0 ? "-Infinity" : "Infinity") : s);
}

static void put_scalar(struct dump *d, struct jval v)
{
    char s[32];
    switch (v.type) {
    case JV_NONE:
        put(d, "null");
        break;
    case JV_BOOL:
        put(d, v.b ? "true" : "false");
        break;
    case JV_INT:
        snprintf(s, sizeof s, "%lld", (long long)v.i);
        put(d, s);
        break;
    case JV_FLOAT:
        put_float(d, v.f);
        break;
    case JV_BIGINT:
        jinja_write(d->j, v.s->p, v.s->n);
        break;
    default:
        jinja_raise(d->j, "Object of type %s is not JSON serializable", jv_type_name(v));
    }
}

static void put_line(struct dump *d)
{
    if (d->indent.type == JV_NONE)
        return;
    put(d, "\n");
    for (int i = 0; i < d->level; i++)
        jinja_write(d->j, d->indent.s->p, d->indent.s->n);
}

static void put_key(struct dump *d, struct jval key)
{
    if (key.type == JV_STR) {
        put_text(d, key.s);
        return;
    }
    if (!jv_is_number(key) && key.type != JV_NONE && key.type != JV_BIGINT)
        jinja_raise(d->j, "keys must be str, int, float, bool or None, not %s", jv_type_name(key));
    put(d, "\"");
    put_scalar(d, key);
    put(d, "\"");
}

static void put_value(struct dump *d, struct jval v);

/* Between items: separator and line; before the first only the line. */
static void put_gap(struct dump *d, size_t i)
{
    if (i)
        jinja_write(d->j, d->item.s->p, d->item.s->n);
    put_line(d);
}

static void put_items(struct dump *d, const struct jlist *l)
{
    put(d, "[");
    d->level++;
    for (size_t i = 0; i < l->n; i++) {
        put_gap(d, i);
        put_value(d, l->v[i]);
    }
    d->level--;
    if (l->n)
        put_line(d);
    put(d, "]");
}

/* The dict's pairs by key, as sorted(d.items()) orders them. */
static struct jdict *sorted_dict(struct jinja *j, struct jval dict)
{
    struct jval yes = jv_bool(true);
    struct jargs a = {.v = &yes, .n = 1};
    const struct jlist *l = jx_apply(j, jf_filter("dictsort", 8), dict, &a).l;
    struct jval out = jv_dict(j, l->n);
    for (size_t i = 0; i < l->n; i++)
        jv_put(j, out.d, l->v[i].l->v[0], l->v[i].l->v[1]);
    return out.d;
}

static void put_members(struct dump *d, struct jval v)
{
    const struct jdict *dict = d->sort ? sorted_dict(d->j, v) : v.d;
    put(d, "{");
    d->level++;
    for (size_t i = 0; i < dict->n; i++) {
        put_gap(d, i);
        put_key(d, dict->e[i].key);
        jinja_write(d->j, d->key.s->p, d->key.s->n);
        put_value(d, dict->e[i].value);
    }
    d->level--;
    if (dict->n)
        put_line(d);
    put(d, "}");
}

static void put_value(struct dump *d, struct jval v)
{
    jinja_enter(d->j);
    if (v.type == JV_STR)
        put_text(d, v.s);
    else if (v.type == JV_LIST || v.type == JV_TUPLE)
        put_items(d, v.l);
    else if (v.type == JV_DICT)
        put_members(d, v);
    else
        put_scalar(d, v);
    jinja_leave(d->j);
}

static void read_options(struct dump *d, const struct jargs *a)
{
    struct jinja *j = d->j;
    d->ascii = a->v[0].type != JV_MISSING && jv_truth(j, a->v[0]);
    d->sort = a->v[3].type != JV_MISSING && jv_truth(j, a->v[3]);
    if (jv_is_integer(a->v[1])) {
        int64_t n = jv_as_int(a->v[1]);
        if (n > MAX_INDENT)
            jinja_raise(j, "tojson indents by at most %d", MAX_INDENT);
        char blanks[MAX_INDENT];
        memset(blanks, ' ', sizeof blanks);
        d->indent = jv_str(j, blanks, n < 0 ? 0 : (size_t)n);
    } else if (a->v[1].type == JV_STR) {
        d->indent = a->v[1];
    } else if (a->v[1].type != JV_MISSING && a->v[1].type != JV_NONE) {
        jinja_raise(j, "tojson indents by a number or a string, not %s", jv_type_name(a->v[1]));
    }
    d->item = jv_text(j, d->indent.type == JV_NONE ? ", " : ",");
    d->key = jv_text(j, ": ");
    if (a->v[2].type == JV_MISSING || a->v[2].type == JV_NONE)
        return;
    const struct jlist *l = jv_items(j, a->v[2]);
    if (l->n != 2 || l->v[0].type != JV_STR || l->v[1].type != JV_STR)
        jinja_raise(j, "tojson takes two strings as separators");
    d->item = l->v[0];
    d->key = l->v[1];
}

struct jval jf_tojson(struct jinja *j, struct jval v, const struct jargs *a)
{
    struct dump d = {.j = j, .indent = jv_none()};
    size_t mark = j->out->len;
    read_options(&d, a);
    put_value(&d, v);
    return jx_capture(j, mark);
}
