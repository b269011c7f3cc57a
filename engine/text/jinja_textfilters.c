/* jinja_textfilters.c - filters over text. */
#include "engine/text/jinja_filters.h"

#include <stdio.h>
#include <string.h>

#include "engine/text/jinja_eval.h"
#include "engine/text/jinja_format.h"
#include "engine/text/jinja_methods.h"
#include "engine/text/jinja_repr.h"
#include "engine/text/jinja_str.h"
#include "kernels/base/utf8.h"

#define FILTER(name) static struct jval name(struct jinja *j, struct jval v, const struct jargs *a)

static int64_t want_int(struct jinja *j, struct jval v, int64_t absent)
{
    if (v.type == JV_MISSING)
        return absent;
    if (!jv_is_integer(v))
        jinja_raise(j, "'%s' object cannot be interpreted as an integer", jv_type_name(v));
    return jv_as_int(v);
}

static bool truth(struct jinja *j, struct jval v)
{
    return v.type != JV_MISSING && jv_truth(j, v);
}

static struct jval plain(struct jval v)
{
    v.markup = false;
    return v;
}

FILTER(filter_upper)
{
    (void)a;
    return js_case(j, jr_str(j, v), JCASE_UPPER);
}

FILTER(filter_lower)
{
    (void)a;
    return js_case(j, jr_str(j, v), JCASE_LOWER);
}

FILTER(filter_capitalize)
{
    (void)a;
    return js_capitalize(j, jr_str(j, v));
}

/* Jinja's own: words begin behind blanks and opening marks only, unlike str.title(). */
FILTER(filter_title)
{
    (void)a;
    const struct jval s = plain(jr_str(j, v));
    size_t mark = j->out->len, from = 0;
    for (size_t i = 0; i <= s.s->n;) {
        uint32_t cp = ' ';
        size_t n = i < s.s->n ? (size_t)utf8_decode(s.s->p + i, s.s->n - i, &cp) : 1;
        bool border = js_is(cp, JCLASS_SPACE) || (cp < 0x80 && strchr("-({[<", (int)cp) && cp);
        if (border && i > from) {
            size_t rest = from + js_char_bytes(s.s->p, s.s->n, from);
            struct jval head = js_case(j, js_sub(j, s, from, rest), JCASE_UPPER);
            struct jval tail = js_case(j, js_sub(j, s, rest, i), JCASE_LOWER);
            jinja_write(j, head.s->p, head.s->n);
            jinja_write(j, tail.s->p, tail.s->n);
        }
        if (border && i < s.s->n)
            jinja_write(j, s.s->p + i, n);
        i += n;
        from = border ? i : from;
    }
    return jx_capture(j, mark);
}

/* Applies a method of str. */
static struct jval method(struct jinja *j, const char *name, struct jval v, const struct jargs *a)
{
    struct jstr s = {.p = name, .n = strlen(name)};
    return jx_apply(j, jm_str_method(&s), v, a);
}

FILTER(filter_trim)
{
    if (a->n && a->v[0].type == JV_MISSING)
        return js_strip(j, jr_str(j, v), NULL, JSIDE_BOTH);
    return method(j, "strip", jr_str(j, v), a);
}

FILTER(filter_center)
{
    struct jval width = jv_int(want_int(j, a->v[0], 80));
    struct jargs one = {.v = &width, .n = 1};
    return method(j, "center", jr_str(j, v), &one);
}

FILTER(filter_string)
{
    (void)a;
    return jr_str(j, v);
}

FILTER(filter_safe)
{
    (void)a;
    v = jr_str(j, v);
    v.markup = true;
    return v;
}

FILTER(filter_escape)
{
    (void)a;
    return js_escape(j, jr_str(j, v));
}

FILTER(filter_forceescape)
{
    (void)a;
    return js_escape(j, plain(jr_str(j, v)));
}

FILTER(filter_replace)
{
    int64_t count = a->v[2].type == JV_NONE ? -1 : want_int(j, a->v[2], -1);
    return js_replace(j, plain(jr_str(j, v)), jr_str(j, a->v[0]), jr_str(j, a->v[1]), count);
}

FILTER(filter_format)
{
    if (a->n && a->n_kw)
        jinja_raise(j, "can't handle positional and keyword arguments at the same time");
    struct jval args = jv_list(j, JV_TUPLE, (size_t)a->n);
    for (int i = 0; i < a->n; i++)
        jv_push(j, args, a->v[i]);
    if (a->n_kw)
        args = jv_dict(j, (size_t)a->n_kw);
    for (int i = 0; i < a->n_kw; i++)
        jv_put(j, args.d, jv_borrow(j, a->kw[i].name, a->kw[i].name_n), a->kw[i].v);
    return jfmt_percent(j, jr_str(j, v), args);
}

static void put(struct jinja *j, struct jval s)
{
    jinja_write(j, s.s->p, s.s->n);
}

FILTER(filter_indent)
{
    if (v.type == JV_UNDEFINED)
        jv_raise_undefined(j, v);
    if (v.type != JV_STR)
        jinja_raise(j, "unsupported operand type(s) for +=: '%s' and 'str'", jv_type_name(v));
    struct jval pad =
        a->v[0].type == JV_STR ? a->v[0] : js_repeat(j, jv_text(j, " "), want_int(j, a->v[0], 4));
    bool first = truth(j, a->v[1]), blank = truth(j, a->v[2]);
    const struct jlist *l = js_lines(j, jv_join(j, v, jv_text(j, "\n")), false).l;
    size_t mark = j->out->len;
    if (first)
        put(j, pad);
    for (size_t i = 0; i < l->n; i++) {
        if (i)
            jinja_write(j, "\n", 1);
        if (i && (blank || l->v[i].s->n))
            put(j, pad);
        put(j, l->v[i]);
    }
    struct jval out = jx_capture(j, mark);
    out.markup = v.markup;
    return out;
}

FILTER(filter_truncate)
{
    struct jval end = a->v[2].type == JV_MISSING ? jv_text(j, "...") : a->v[2];
    int64_t length = want_int(j, a->v[0], 255);
    int64_t leeway = a->v[3].type == JV_NONE ? 5 : want_int(j, a->v[3], 5);
    if (end.type != JV_STR)
        jinja_raise(j, "truncate needs text, not %s", jv_type_name(end));
    if (length < (int64_t)end.s->chars || leeway < 0)
        jinja_raise(j, "expected length >= %zu, got %lld", end.s->chars, (long long)length);
    if (jv_length(j, v) - length <= leeway)
        return v; /* short enough, whatever it is */
    if (v.type != JV_STR)
        jinja_raise(j, "truncate needs text, not %s", jv_type_name(v));
    struct jval head = js_slice(j, v, 0, 1, length - (int64_t)end.s->chars);
    int64_t blank = js_find(j, head.s, jv_text(j, " ").s, 0, head.s->n, true);
    if (!truth(j, a->v[1]) && blank >= 0)
        head = js_sub(j, head, 0, (size_t)blank);
    return jv_join(j, head, end);
}

FILTER(filter_wordcount)
{
    (void)a;
    const struct jval s = jr_str(j, v);
    int64_t n = 0;
    bool inside = false;
    jinja_charge(j, s.s->n / 8);
    for (size_t i = 0; i < s.s->n;) {
        uint32_t cp;
        i += (size_t)utf8_decode(s.s->p + i, s.s->n - i, &cp);
        bool word = cp == '_' || js_is(cp, JCLASS_ALNUM);
        n += word && !inside;
        inside = word;
    }
    return jv_int(n);
}

static void put_quoted(struct jinja *j, struct jval v, bool query)
{
    const struct jval s = jr_str(j, v);
    for (size_t i = 0; i < s.s->n; i++) {
        unsigned char c = (unsigned char)s.s->p[i];
        char hex[4];
        bool letter = ((c | 32) >= 'a' && (c | 32) <= 'z') || (c >= '0' && c <= '9');
        if (letter || (c && strchr("_.-~", c)) || (c == '/' && !query)) {
            jinja_write(j, s.s->p + i, 1);
        } else if (c == ' ' && query) {
            jinja_write(j, "+", 1);
        } else {
            snprintf(hex, sizeof hex, "%%%02X", c);
            jinja_write(j, hex, 3);
        }
    }
    jinja_charge(j, s.s->n / 8);
}

FILTER(filter_urlencode)
{
    (void)a;
    size_t mark = j->out->len;
    if (v.type == JV_STR || !jv_is_iterable(v)) {
        put_quoted(j, v, false);
        return jx_capture(j, mark);
    }
    if (v.type == JV_DICT) {
        v.type = JV_VIEW;
        v.view = JVIEW_ITEMS;
    }
    const struct jlist *l = jv_items(j, v);
    for (size_t i = 0; i < l->n; i++) {
        const struct jlist *pair = jv_items(j, l->v[i]);
        if (pair->n != 2)
            jinja_raise(j, "urlencode needs pairs");
        if (i)
            jinja_write(j, "&", 1);
        put_quoted(j, pair->v[0], true);
        jinja_write(j, "=", 1);
        put_quoted(j, pair->v[1], true);
    }
    return jx_capture(j, mark);
}

FILTER(filter_xmlattr)
{
    size_t mark = j->out->len;
    if (v.type != JV_DICT)
        jinja_raise(j, "xmlattr needs a mapping, not %s", jv_type_name(v));
    bool space = a->v[0].type == JV_MISSING || jv_truth(j, a->v[0]);
    for (size_t i = 0; i < v.d->n; i++) {
        struct jval key = v.d->e[i].key, value = v.d->e[i].value;
        if (value.type == JV_NONE || value.type == JV_UNDEFINED)
            continue;
        bool bad = key.type != JV_STR;
        for (size_t k = 0; !bad && k < key.s->n; k++)
            bad = key.s->p[k] && strchr(" \t\n\r\f\v/>=", key.s->p[k]);
        if (bad)
            jinja_raise(j, "Invalid character in attribute name");
        if (space || j->out->len > mark)
            jinja_write(j, " ", 1);
        put(j, js_escape(j, key));
        jinja_write(j, "=\"", 2);
        put(j, js_escape(j, jr_str(j, value)));
        jinja_write(j, "\"", 1);
    }
    return jx_capture(j, mark);
}

/* clang-format off */
const struct jfunc jf_text_filters[] = {
    {"capitalize",  filter_capitalize,  "",                            0},
    {"center",      filter_center,      "width",                       0},
    {"e",           filter_escape,      "",                            0},
    {"escape",      filter_escape,      "",                            0},
    {"forceescape", filter_forceescape, "",                            0},
    {"format",      filter_format,      NULL,                          0},
    {"indent",      filter_indent,      "width first blank",           0},
    {"lower",       filter_lower,       "",                            0},
    {"replace",     filter_replace,     "old new count",               2},
    {"safe",        filter_safe,        "",                            0},
    {"string",      filter_string,      "",                            0},
    {"title",       filter_title,       "",                            0},
    {"trim",        filter_trim,        "chars",                       0},
    {"truncate",    filter_truncate,    "length killwords end leeway", 0},
    {"upper",       filter_upper,       "",                            0},
    {"urlencode",   filter_urlencode,   "",                            0},
    {"wordcount",   filter_wordcount,   "",                            0},
    {"xmlattr",     filter_xmlattr,     "autospace",                   0},
    {NULL,          NULL,               NULL,                          0},
};
/* clang-format on */
