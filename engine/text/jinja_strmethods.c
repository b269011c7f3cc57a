/* jinja_strmethods.c - the methods of Python's str that templates can use. */
#include "engine/text/jinja_methods.h"

#include <string.h>

#include "engine/text/jinja_eval.h"
#include "engine/text/jinja_format.h"
#include "engine/text/jinja_str.h"
#include "kernels/base/utf8.h"

#define METHOD(name) static struct jval name(struct jinja *j, struct jval s, const struct jargs *a)

static bool given(struct jval v)
{
    return v.type != JV_MISSING && v.type != JV_NONE;
}

static struct jval want_str(struct jinja *j, struct jval v)
{
    if (v.type != JV_STR)
        jinja_raise(j, "must be str, not %s", jv_type_name(v));
    return v;
}

static int64_t want_int(struct jinja *j, struct jval v, int64_t absent)
{
    if (v.type == JV_MISSING)
        return absent;
    if (!jv_is_integer(v))
        jinja_raise(j, "'%s' object cannot be interpreted as an integer", jv_type_name(v));
    return jv_as_int(v);
}

/* --- case and blanks */

METHOD(str_upper)
{
    (void)a;
    return js_case(j, s, JCASE_UPPER);
}

METHOD(str_lower)
{
    (void)a;
    return js_case(j, s, JCASE_LOWER);
}

METHOD(str_title)
{
    (void)a;
    return js_title(j, s);
}

METHOD(str_capitalize)
{
    (void)a;
    return js_capitalize(j, s);
}

METHOD(str_swapcase)
{
    (void)a;
    return js_swapcase(j, s);
}

static struct jval strip(struct jinja *j, struct jval s, struct jval chars, enum jside side)
{
    return js_strip(j, s, given(chars) ? want_str(j, chars).s : NULL, side);
}

METHOD(str_strip)
{
    return strip(j, s, a->v[0], JSIDE_BOTH);
}

METHOD(str_lstrip)
{
    return strip(j, s, a->v[0], JSIDE_LEFT);
}

METHOD(str_rstrip)
{
    return strip(j, s, a->v[0], JSIDE_RIGHT);
}

/* Adds `left` and `right` fill characters. */
static struct jval pad(struct jinja *j, struct jval s, int64_t left, int64_t right,
                       struct jval fill)
{
    if (fill.type == JV_MISSING)
        fill = jv_text(j, " ");
    if (want_str(j, fill).s->chars != 1)
        jinja_raise(j, "The fill character must be exactly one character long");
    if (s.markup)
        fill = js_escape(j, fill);
    struct jval out = jv_join(j, js_repeat(j, fill, left), s);
    out = jv_join(j, out, js_repeat(j, fill, right));
    out.markup = s.markup;
    return out;
}

METHOD(str_ljust)
{
    int64_t n = want_int(j, a->v[0], 0) - (int64_t)s.s->chars;
    return n > 0 ? pad(j, s, 0, n, a->v[1]) : s;
}

METHOD(str_rjust)
{
    int64_t n = want_int(j, a->v[0], 0) - (int64_t)s.s->chars;
    return n > 0 ? pad(j, s, n, 0, a->v[1]) : s;
}

METHOD(str_center)
{
    int64_t width = want_int(j, a->v[0], 0), n = width - (int64_t)s.s->chars;
    int64_t left = n / 2 + (n & width & 1);
    return n > 0 ? pad(j, s, left, n - left, a->v[1]) : s;
}

METHOD(str_zfill)
{
    int64_t n = want_int(j, a->v[0], 0) - (int64_t)s.s->chars;
    if (n <= 0)
        return s;
    size_t sign = s.s->n && (s.s->p[0] == '-' || s.s->p[0] == '+');
    struct jval out = jv_join(j, js_sub(j, s, 0, sign), js_repeat(j, jv_text(j, "0"), n));
    return jv_join(j, out, js_sub(j, s, sign, s.s->n));
}

METHOD(str_expandtabs)
{
    int64_t size = want_int(j, a->v[0], 8), column = 0;
    size_t mark = j->out->len;
    if (size > 1000)
        jinja_raise(j, "expandtabs() of more than 1000 columns");
    for (size_t i = 0; i < s.s->n;) {
        size_t n = js_char_bytes(s.s->p, s.s->n, i);
        int64_t blanks = s.s->p[i] == '\t' && size > 0 ? size - column % size : 0;
        for (int64_t k = 0; k < blanks; k++)
            jinja_write(j, " ", 1);
        if (s.s->p[i] != '\t')
            jinja_write(j, s.s->p + i, n);
        column += s.s->p[i] == '\t' ? blanks : 1;
        if (s.s->p[i] == '\n' || s.s->p[i] == '\r')
            column = 0;
        i += n;
    }
    jinja_charge(j, s.s->n / 16);
    return jx_capture(j, mark);
}

/* --- searching */

/* The part of s that optional start and end leave, in bytes; false when start lies behind the end.
 */
static bool part(struct jinja *j, struct jval s, const struct jval *bound, size_t *from, size_t *to)
{
    int64_t n = (int64_t)s.s->chars;
    int64_t lo = given(bound[0]) ? want_int(j, bound[0], 0) : 0;
    int64_t hi = given(bound[1]) ? want_int(j, bound[1], 0) : n;
    lo = lo < 0 ? lo + n : lo;
    lo = lo < 0 ? 0 : lo;
    hi = hi < 0 ? hi + n : hi;
    hi = hi < 0 ? 0 : hi > n ? n : hi;
    if (s.s->chars != s.s->n)
        jinja_charge(j, s.s->n / 16);
    *from = js_offset(s.s, (size_t)(lo > n ? n : lo));
    *to = js_offset(s.s, (size_t)hi);
    return lo <= n && lo <= hi;
}

static int64_t find(struct jinja *j, struct jval s, const struct jargs *a, bool last)
{
    size_t from, to;
    want_str(j, a->v[0]);
    if (!part(j, s, a->v + 1, &from, &to))
        return -1;
    int64_t hit = js_find(j, s.s, a->v[0].s, from, to, last);
    return hit < 0 ? -1 : (int64_t)js_count(s.s->p, (size_t)hit);
}

METHOD(str_find)
{
    return jv_int(find(j, s, a, false));
}

METHOD(str_rfind)
{
    return jv_int(find(j, s, a, true));
}

static struct jval index_of(struct jinja *j, int64_t hit)
{
    if (hit < 0)
        jinja_raise(j, "substring not found");
    return jv_int(hit);
}

METHOD(str_index)
{
    return index_of(j, find(j, s, a, false));
}

METHOD(str_rindex)
{
    return index_of(j, find(j, s, a, true));
}

METHOD(str_count)
{
    size_t from, to;
    int64_t n = 0;
    const struct jstr *needle = want_str(j, a->v[0]).s;
    if (!part(j, s, a->v + 1, &from, &to))
        return jv_int(0);
    if (!needle->n)
        return jv_int((int64_t)js_count(s.s->p + from, to - from) + 1);
    for (int64_t hit; (hit = js_find(j, s.s, needle, from, to, false)) >= 0; n++) {
        jinja_charge(j, 1);
        from = (size_t)hit + needle->n;
    }
    return jv_int(n);
}

static bool affix(struct jval s, size_t from, size_t to, struct jval x, bool at_end)
{
    size_t n = x.s->n;
    return n <= to - from && !memcmp(s.s->p + (at_end ? to - n : from), x.s->p, n);
}

static struct jval has_affix(struct jinja *j, struct jval s, const struct jargs *a, bool at_end)
{
    size_t from, to;
    struct jval x = a->v[0];
    bool inside = part(j, s, a->v + 1, &from, &to);
    if (x.type != JV_TUPLE)
        return jv_bool(affix(s, from, inside ? to : from, want_str(j, x), at_end) && inside);
    for (size_t i = 0; i < x.l->n && inside; i++)
        if (affix(s, from, to, want_str(j, x.l->v[i]), at_end))
            return jv_bool(true);
    return jv_bool(false);
}

METHOD(str_startswith)
{
    return has_affix(j, s, a, false);
}

METHOD(str_endswith)
{
    return has_affix(j, s, a, true);
}

METHOD(str_removeprefix)
{
    bool has = affix(s, 0, s.s->n, want_str(j, a->v[0]), false);
    return has ? js_sub(j, s, a->v[0].s->n, s.s->n) : s;
}

METHOD(str_removesuffix)
{
    bool has = affix(s, 0, s.s->n, want_str(j, a->v[0]), true);
    return has ? js_sub(j, s, 0, s.s->n - a->v[0].s->n) : s;
}

METHOD(str_replace)
{
    struct jval with = want_str(j, a->v[1]);
    return js_replace(j, s, want_str(j, a->v[0]), s.markup ? js_escape(j, with) : with,
                      want_int(j, a->v[2], -1));
}

/* --- splitting and joining */

static struct jval split(struct jinja *j, struct jval s, const struct jargs *a, bool from_right)
{
    return js_split(j, s, given(a->v[0]) ? want_str(j, a->v[0]).s : NULL, want_int(j, a->v[1], -1),
                    from_right);
}

METHOD(str_split)
{
    return split(j, s, a, false);
}

METHOD(str_rsplit)
{
    return split(j, s, a, true);
}

METHOD(str_splitlines)
{
    return js_lines(j, s, a->v[0].type != JV_MISSING && jv_truth(j, a->v[0]));
}

static struct jval partition(struct jinja *j, struct jval s, struct jval sep, bool last)
{
    want_str(j, sep);
    if (!sep.s->n)
        jinja_raise(j, "empty separator");
    int64_t hit = js_find(j, s.s, sep.s, 0, s.s->n, last);
    struct jval out = jv_list(j, JV_TUPLE, 3), none = js_sub(j, s, 0, 0);
    size_t at = hit < 0 ? 0 : (size_t)hit;
    if (hit < 0 && !last)
        jv_push(j, out, s);
    jv_push(j, out, hit < 0 ? none : js_sub(j, s, 0, at));
    jv_push(j, out, hit < 0 ? none : js_sub(j, s, at, at + sep.s->n));
    if (hit < 0 && last)
        jv_push(j, out, s);
    if (hit >= 0)
        jv_push(j, out, js_sub(j, s, at + sep.s->n, s.s->n));
    return out;
}

METHOD(str_partition)
{
    return partition(j, s, a->v[0], false);
}

METHOD(str_rpartition)
{
    return partition(j, s, a->v[0], true);
}

METHOD(str_join)
{
    if (!jv_is_iterable(a->v[0]))
        jinja_raise(j, "can only join an iterable");
    const struct jlist *l = jv_items(j, a->v[0]);
    size_t mark = j->out->len;
    for (size_t i = 0; i < l->n; i++) {
        struct jval v = l->v[i];
        if (v.type != JV_STR)
            jinja_raise(j, "sequence item %zu: expected str instance, %s found", i,
                        jv_type_name(v));
        if (s.markup)
            v = js_escape(j, v);
        if (i)
            jinja_write(j, s.s->p, s.s->n);
        jinja_write(j, v.s->p, v.s->n);
    }
    struct jval out = jx_capture(j, mark);
    out.markup = s.markup;
    return out;
}

/* --- classes */

static struct jval all_are(struct jinja *j, struct jval s, enum jclass c)
{
    jinja_charge(j, s.s->n / 8);
    for (size_t i = 0; i < s.s->n;) {
        uint32_t cp;
        i += (size_t)utf8_decode(s.s->p + i, s.s->n - i, &cp);
        if (!js_is(cp, c))
            return jv_bool(false);
    }
    return jv_bool(s.s->n > 0 || c == JCLASS_PRINT);
}

/* islower and isupper: some cased character, and none of another case. */
static struct jval all_cased(struct jinja *j, struct jval s, enum jclass c)
{
    bool some = false;
    jinja_charge(j, s.s->n / 8);
    for (size_t i = 0; i < s.s->n;) {
        uint32_t cp;
        i += (size_t)utf8_decode(s.s->p + i, s.s->n - i, &cp);
        bool is = js_is(cp, c);
        if (!is && js_is_cased(cp))
            return jv_bool(false);
        some |= is;
    }
    return jv_bool(some);
}

METHOD(str_isalpha)
{
    (void)a;
    return all_are(j, s, JCLASS_ALPHA);
}

METHOD(str_isdigit)
{
    (void)a;
    return all_are(j, s, JCLASS_DIGIT);
}

METHOD(str_isdecimal)
{
    (void)a;
    return all_are(j, s, JCLASS_DECIMAL);
}

METHOD(str_isnumeric)
{
    (void)a;
    return all_are(j, s, JCLASS_NUMERIC);
}

METHOD(str_isalnum)
{
    (void)a;
    return all_are(j, s, JCLASS_ALNUM);
}

METHOD(str_isspace)
{
    (void)a;
    return all_are(j, s, JCLASS_SPACE);
}

METHOD(str_isprintable)
{
    (void)a;
    return all_are(j, s, JCLASS_PRINT);
}

METHOD(str_islower)
{
    (void)a;
    return all_cased(j, s, JCLASS_LOWER);
}

METHOD(str_isupper)
{
    (void)a;
    return all_cased(j, s, JCLASS_UPPER);
}

METHOD(str_isascii)
{
    (void)j;
    (void)a;
    return jv_bool(s.s->chars == s.s->n);
}

/* Upper or title case begins a word, lower case goes on with it, and some letter is there. */
METHOD(str_istitle)
{
    (void)a;
    bool inside = false, some = false;
    jinja_charge(j, s.s->n / 8);
    for (size_t i = 0; i < s.s->n;) {
        uint32_t cp;
        i += (size_t)utf8_decode(s.s->p + i, s.s->n - i, &cp);
        bool cased = js_is_cased(cp), lower = js_is(cp, JCLASS_LOWER);
        if (cased && lower != inside)
            return jv_bool(false);
        some |= cased;
        inside = cased;
    }
    return jv_bool(some);
}

METHOD(str_isidentifier)
{
    (void)a;
    jinja_charge(j, s.s->n / 8);
    for (size_t i = 0; i < s.s->n;) {
        uint32_t cp;
        bool first = i == 0;
        i += (size_t)utf8_decode(s.s->p + i, s.s->n - i, &cp);
        if (cp != '_' && !js_is(cp, first ? JCLASS_ALPHA : JCLASS_ALNUM))
            return jv_bool(false);
    }
    return jv_bool(s.s->n > 0);
}

METHOD(str_format)
{
    return jfmt_format(j, s, a);
}

METHOD(str_format_map)
{
    if (a->v[0].type != JV_DICT)
        jinja_raise(j, "format_map() needs a mapping");
    struct jargs map = {.kw = jinja_array(j, a->v[0].d->n, sizeof *map.kw)};
    for (size_t i = 0; i < a->v[0].d->n; i++) {
        struct jval key = want_str(j, a->v[0].d->e[i].key);
        map.kw[map.n_kw++] = (struct jkeyword){key.s->p, key.s->n, a->v[0].d->e[i].value};
    }
    return jfmt_format(j, s, &map);
}

/* clang-format off */
static const struct jfunc methods[] = {
    {"capitalize",   str_capitalize,   "",                  0},
    {"casefold",     str_lower,        "",                  0},
    {"center",       str_center,       "width fillchar",    1},
    {"count",        str_count,        "sub start end",     1},
    {"endswith",     str_endswith,     "suffix start end",  1},
    {"expandtabs",   str_expandtabs,   "tabsize",           0},
    {"find",         str_find,         "sub start end",     1},
    {"format",       str_format,       NULL,                0},
    {"format_map",   str_format_map,   "mapping",           1},
    {"index",        str_index,        "sub start end",     1},
    {"isalnum",      str_isalnum,      "",                  0},
    {"isalpha",      str_isalpha,      "",                  0},
    {"isascii",      str_isascii,      "",                  0},
    {"isdecimal",    str_isdecimal,    "",                  0},
    {"isdigit",      str_isdigit,      "",                  0},
    {"isidentifier", str_isidentifier, "",                  0},
    {"islower",      str_islower,      "",                  0},
    {"isnumeric",    str_isnumeric,    "",                  0},
    {"isprintable",  str_isprintable,  "",                  0},
    {"isspace",      str_isspace,      "",                  0},
    {"istitle",      str_istitle,      "",                  0},
    {"isupper",      str_isupper,      "",                  0},
    {"join",         str_join,         "iterable",          1},
    {"ljust",        str_ljust,        "width fillchar",    1},
    {"lower",        str_lower,        "",                  0},
    {"lstrip",       str_lstrip,       "chars",             0},
    {"partition",    str_partition,    "sep",               1},
    {"removeprefix", str_removeprefix, "prefix",            1},
    {"removesuffix", str_removesuffix, "suffix",            1},
    {"replace",      str_replace,      "old new count",     2},
    {"rfind",        str_rfind,        "sub start end",     1},
    {"rindex",       str_rindex,       "sub start end",     1},
    {"rjust",        str_rjust,        "width fillchar",    1},
    {"rpartition",   str_rpartition,   "sep",               1},
    {"rsplit",       str_rsplit,       "sep maxsplit",      0},
    {"rstrip",       str_rstrip,       "chars",             0},
    {"split",        str_split,        "sep maxsplit",      0},
    {"splitlines",   str_splitlines,   "keepends",          0},
    {"startswith",   str_startswith,   "prefix start end",  1},
    {"strip",        str_strip,        "chars",             0},
    {"swapcase",     str_swapcase,     "",                  0},
    {"title",        str_title,        "",                  0},
    {"upper",        str_upper,        "",                  0},
    {"zfill",        str_zfill,        "width",             1},
};
/* clang-format on */

const struct jfunc *jm_str_method(const struct jstr *name)
{
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++)
        if (strlen(methods[i].name) == name->n && !memcmp(methods[i].name, name->p, name->n))
            return &methods[i];
    return NULL;
}
