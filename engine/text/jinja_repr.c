/* jinja_repr.c - str() and repr(). Both write to the end of the run's output buffer and cut the
 * text off again, so that nested values cost one copy; recursion is counted by jinja_enter. */
#include "engine/text/jinja_repr.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/text/jinja_ast.h"
#include "engine/text/jinja_eval.h"
#include "engine/text/jinja_str.h"
#include "kernels/base/utf8.h"

size_t jr_float(double f, char out[JR_FLOAT_MAX])
{
    if (isnan(f) || isinf(f))
        return (size_t)snprintf(out, JR_FLOAT_MAX, "%s", isnan(f) ? "nan" : f < 0 ? "-inf" : "inf");
    char digits[JR_FLOAT_MAX];
    for (int p = 0; p < 17; p++) { /* the fewest digits that read back as the same number */
        snprintf(digits, sizeof digits, "%.*e", p, f);
        if (strtod(digits, NULL) == f)
            break;
    }
    char *e = strchr(digits, 'e');
    int exp = (int)strtol(e + 1, NULL, 10), n_digits = (int)(e - digits) - (f < 0 || signbit(f));
    n_digits -= n_digits > 1; /* the point */
    if (exp < -4 || exp >= 16)
        return (size_t)snprintf(out, JR_FLOAT_MAX, "%.*se%c%02d", (int)(e - digits), digits,
                                exp < 0 ? '-' : '+', abs(exp));
    int decimals = n_digits - 1 - exp;
    return (size_t)snprintf(out, JR_FLOAT_MAX, "%.*f", decimals < 1 ? 1 : decimals, f);
}

static void put(struct jinja *j, const char *s)
{
    jinja_write(j, s, strlen(s));
}

static void put_escape(struct jinja *j, uint32_t cp)
{
    char e[16];
    const char *fmt = cp < 0x100 ? "\\x%02x" : cp < 0x10000 ? "\\u%04x" : "\\U%08x";
    snprintf(e, sizeof e, fmt, cp);
    put(j, e);
}

static void put_quoted(struct jinja *j, const struct jstr *s, bool ascii)
{
    bool twice = memchr(s->p, '\'', s->n) && !memchr(s->p, '"', s->n);
    const char quote = twice ? '"' : '\'';
    jinja_write(j, &quote, 1);
    for (size_t i = 0; i < s->n;) {
        uint32_t cp;
        size_t n = (size_t)utf8_decode(s->p + i, s->n - i, &cp);
        if (cp == (uint32_t)quote || cp == '\\') {
            jinja_write(j, "\\", 1);
            jinja_write(j, s->p + i, 1);
        } else if (cp == '\n' || cp == '\r' || cp == '\t') {
            put(j, cp == '\n' ? "\\n" : cp == '\r' ? "\\r" : "\\t");
        } else if ((cp < 0x80 || !ascii) && js_is(cp, JCLASS_PRINT)) {
            jinja_write(j, s->p + i, n);
        } else {
            put_escape(j, cp);
        }
        i += n;
    }
    jinja_write(j, &quote, 1);
    jinja_charge(j, s->n / 16);
}

static void put_repr(struct jinja *j, struct jval v, bool ascii);

static void put_list(struct jinja *j, const struct jlist *l, bool ascii)
{
    for (size_t i = 0; i < l->n; i++) {
        if (i)
            put(j, ", ");
        put_repr(j, l->v[i], ascii);
    }
}

static void put_dict(struct jinja *j, const struct jdict *d, bool ascii)
{
    put(j, "{");
    for (size_t i = 0; i < d->n; i++) {
        if (i)
            put(j, ", ");
        put_repr(j, d->e[i].key, ascii);
        put(j, ": ");
        put_repr(j, d->e[i].value, ascii);
    }
    put(j, "}");
}

static void put_range(struct jinja *j, const struct jrange *r)
{
    char s[96];
    long long stop = (long long)(r->start + r->n * r->step);
    if (r->step == 1)
        snprintf(s, sizeof s, "range(%lld, %lld)", (long long)r->start, stop);
    else
        snprintf(s, sizeof s, "range(%lld, %lld, %lld)", (long long)r->start, stop,
                 (long long)r->step);
    put(j, s);
}

static void put_object(struct jinja *j, struct jval v)
{
    char s[96];
    if (v.type == JV_MACRO) {
        const struct jname *name = &v.macro->node->name;
        put(j, "<Macro ");
        if (name->n) {
            struct jstr text = {.p = name->p, .n = name->n};
            put_quoted(j, &text, false);
        } else {
            put(j, "anonymous");
        }
        put(j, ">");
        return;
    }
    if (v.type == JV_LOOP) {
        jx_loop_has(j, v.loop, SIZE_MAX - 1); /* reads it to its end */
        snprintf(s, sizeof s, "<LoopContext %zu/%zu>", v.loop->at + 1, v.loop->items->n);
    } else {
        snprintf(s, sizeof s, "<%s object>", jv_type_name(v));
    }
    put(j, s);
}

static void put_number(struct jinja *j, struct jval v)
{
    char s[JR_FLOAT_MAX];
    if (v.type == JV_FLOAT)
        jr_float(v.f, s);
    else
        snprintf(s, sizeof s, "%lld", (long long)v.i);
    put(j, s);
}

static void put_repr(struct jinja *j, struct jval v, bool ascii)
{
    static const char *const view[] = {"dict_keys([", "dict_values([", "dict_items(["};
    jinja_enter(j);
    switch (v.type) {
    case JV_UNDEFINED:
        put(j, "Undefined");
        break;
    case JV_NONE:
        put(j, "None");
        break;
    case JV_BOOL:
        put(j, v.b ? "True" : "False");
        break;
    case JV_INT:
    case JV_FLOAT:
        put_number(j, v);
        break;
    case JV_BIGINT:
        jinja_write(j, v.s->p, v.s->n);
        break;
    case JV_STR:
        put(j, v.markup ? "Markup(" : "");
        put_quoted(j, v.s, ascii);
        put(j, v.markup ? ")" : "");
        break;
    case JV_LIST:
    case JV_TUPLE:
        put(j, v.type == JV_LIST ? "[" : "(");
        put_list(j, v.l, ascii);
        put(j, v.type == JV_LIST ? "]" : v.l->n == 1 ? ",)" : ")");
        break;
    case JV_DICT:
        put_dict(j, v.d, ascii);
        break;
    case JV_NAMESPACE:
        put(j, "<Namespace ");
        put_dict(j, v.d, ascii);
        put(j, ">");
        break;
    case JV_VIEW:
        put(j, view[v.view]);
        put_list(j, jv_items(j, v), ascii);
        put(j, "])");
        break;
    case JV_RANGE:
        put_range(j, v.range);
        break;
    default:
        put_object(j, v);
    }
    jinja_leave(j);
}

/* Takes what was written behind `mark` off the output, as a value. */
static struct jval take(struct jinja *j, size_t mark)
{
    struct jval v = jv_str(j, j->out->data ? j->out->data + mark : "", j->out->len - mark);
    j->out->len = mark;
    return v;
}

struct jval jr_repr(struct jinja *j, struct jval v)
{
    size_t mark = j->out->len;
    put_repr(j, v, false);
    return take(j, mark);
}

struct jval jr_ascii(struct jinja *j, struct jval v)
{
    size_t mark = j->out->len;
    put_repr(j, v, true);
    return take(j, mark);
}

struct jval jr_str(struct jinja *j, struct jval v)
{
    if (v.type == JV_STR)
        return v;
    return v.type == JV_UNDEFINED ? jv_text(j, "") : jr_repr(j, v);
}

/* --- numbers in text */

/* Copies the text without blanks around and single underscores between digits; -1 when an
 * underscore stands elsewhere or the text is not short ASCII. */
static int clean_number(const struct jstr *s, char *out, size_t cap)
{
    size_t from = 0, to = s->n, n = 0;
    uint32_t cp;
    while (from < to) {
        size_t k = (size_t)utf8_decode(s->p + from, to - from, &cp);
        if (!js_is(cp, JCLASS_SPACE))
            break;
        from += k;
    }
    while (to > from) {
        size_t at = js_last_char(s->p, to);
        utf8_decode(s->p + at, to - at, &cp);
        if (!js_is(cp, JCLASS_SPACE))
            break;
        to = at;
    }
    for (size_t i = from; i < to; i++) {
        unsigned char c = (unsigned char)s->p[i];
        bool between = i > from && i + 1 < to && s->p[i - 1] != '_' && s->p[i + 1] != '_';
        if (c == '_' && !between)
            return -1;
        if (c == '_')
            continue;
        if (c >= 0x80 || c <= ' ' || n + 1 >= cap)
            return -1;
        out[n++] = (char)c;
    }
    out[n] = '\0';
    return (int)n;
}

static int digit_of(char c)
{
    return c >= '0' && c <= '9'                 ? c - '0'
           : (c | 32) >= 'a' && (c | 32) <= 'z' ? (c | 32) - 'a' + 10
                                                : 99;
}

struct jval jr_parse_int(struct jinja *j, const struct jstr *s, int base)
{
    char text[512];
    int n = clean_number(s, text, sizeof text), i = 0;
    if (n <= 0)
        return jv_missing();
    bool minus = text[0] == '-';
    if (text[0] == '-' || text[0] == '+')
        i++;
    char mark = text[i] == '0' ? (char)(text[i + 1] | 32) : 0;
    int prefix = mark == 'x' ? 16 : mark == 'o' ? 8 : mark == 'b' ? 2 : 0;
    if (prefix && (base == prefix || base == 0)) {
        base = prefix;
        i += 2;
    } else if (base == 0) {
        if (text[i] == '0' && strspn(text + i, "0") != strlen(text + i))
            return jv_missing();
        base = 10;
    }
    if (i >= n)
        return jv_missing();
    for (int k = i; k < n; k++)
        if (digit_of(text[k]) >= base)
            return jv_missing();
    if (base == 10)
        return jv_int_text(j, text, (size_t)n);
    int64_t v = 0;
    for (; i < n; i++)
        if (__builtin_mul_overflow(v, base, &v) ||
            __builtin_add_overflow(v, (minus ? -1 : 1) * digit_of(text[i]), &v))
            jinja_raise(j, "integer out of range: %s", text);
    return jv_int(v);
}

struct jval jr_parse_float(struct jinja *j, const struct jstr *s)
{
    char text[512], *end;
    (void)j;
    int n = clean_number(s, text, sizeof text);
    if (n <= 0 || strpbrk(text, "xXpP("))
        return jv_missing();
    double f = strtod(text, &end);
    return *end ? jv_missing() : jv_float(f);
}
