/* jinja_format.c - % formatting and str.format.
 *
 * Both read their own syntax into a struct spec and print through put_spec, so that widths, signs
 * and digits are written once. Widths and precisions are bounded: a template must not ask for a
 * gigabyte. */
#include "engine/text/jinja_format.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "engine/text/jinja_eval.h"
#include "engine/text/jinja_ops.h"
#include "engine/text/jinja_repr.h"
#include "engine/text/jinja_str.h"
#include "kernels/base/utf8.h"

enum { MAX_WIDTH = 100000, MAX_PRECISION = 300, DIGITS = 700 };

struct spec {
    const char *fill;
    size_t fill_n;
    char align;               /* < > ^ = or NUL */
    char sign;                /* + or space or NUL */
    bool alternate, percent;  /* percent: the value is multiplied and gets a sign behind it */
    char group;               /* , or _ or NUL */
    int64_t width, precision; /* precision -1: none */
    char type;                /* NUL: none given */
};

/* --- printing */

static void put_fill(struct jinja *j, const struct spec *s, int64_t n)
{
    for (; n > 0; n--)
        jinja_write(j, s->fill, s->fill_n);
}

/* Writes sign and prefix, digits or text, padded to the width. */
static void put_padded(struct jinja *j, const struct spec *s, const char *head, const char *p,
                       size_t n)
{
    int64_t head_n = (int64_t)strlen(head);
    int64_t room = s->width - head_n - (int64_t)js_count(p, n);
    int64_t left = room <= 0 || s->align == '<' ? 0 : s->align == '^' ? room / 2 : room;
    if (s->align != '=')
        put_fill(j, s, left);
    jinja_write(j, head, (size_t)head_n);
    if (s->align == '=')
        put_fill(j, s, left);
    jinja_write(j, p, n);
    put_fill(j, s, room - left);
}

static void put_text(struct jinja *j, struct spec s, struct jval v)
{
    size_t n = v.s->n;
    if (s.precision >= 0 && (uint64_t)s.precision < v.s->chars)
        n = js_offset(v.s, (size_t)s.precision);
    s.align = s.align ? s.align : '<';
    put_padded(j, &s, "", v.s->p, n);
}

/* Puts a group mark before every `every` digits of the whole part. */
static void group_digits(char *digits, char mark, size_t every)
{
    char out[2 * DIGITS];
    size_t whole = strspn(digits, "0123456789abcdefABCDEF"), m = 0;
    for (size_t i = 0; i < whole; i++) {
        if (i && (whole - i) % every == 0)
            out[m++] = mark;
        out[m++] = digits[i];
    }
    size_t rest = strlen(digits + whole);
    memmove(digits + m, digits + whole, rest + 1);
    memcpy(digits, out, m);
}

static void put_number(struct jinja *j, struct spec s, bool minus, const char *prefix, char *digits)
{
    char head[8];
    const char sign[2] = {minus ? '-' : s.sign, '\0'};
    snprintf(head, sizeof head, "%s%s", sign, prefix);
    if (s.group)
        group_digits(digits, s.group, s.type == 'x' || s.type == 'X' || s.type == 'b' ? 4 : 3);
    s.align = s.align ? s.align : '>';
    put_padded(j, &s, head, digits, strlen(digits));
}

static void put_integer(struct jinja *j, struct spec s, int64_t i)
{
    char digits[2 * DIGITS], *p = digits + DIGITS - 1;
    unsigned base = s.type == 'x' || s.type == 'X' ? 16
                    : s.type == 'o'                ? 8
                    : s.type == 'b'                ? 2
                                                   : 10;
    uint64_t u = i < 0 ? 0 - (uint64_t)i : (uint64_t)i;
    *p = '\0';
    do
        *--p = (s.type == 'X' ? "0123456789ABCDEF" : "0123456789abcdef")[u % base];
    while ((u /= base) != 0);
    while (s.precision > 0 && strlen(p) < (size_t)s.precision)
        *--p = '0';
    memmove(digits, p, strlen(p) + 1);
    const char *prefix = !s.alternate    ? ""
                         : s.type == 'x' ? "0x"
                         : s.type == 'X' ? "0X"
                         : s.type == 'o' ? "0o"
                         : s.type == 'b' ? "0b"
                                         : "";
    put_number(j, s, i < 0, prefix, digits);
}

static void put_float(struct jinja *j, struct spec s, double f)
{
    char digits[2 * DIGITS], fmt[16];
    bool minus = signbit(f) && !isnan(f), percent = s.type == '%';
    double abs = fabs(percent ? f * 100 : f);
    if (!s.type && s.precision < 0 && !isinf(f) && !isnan(f)) {
        jr_float(abs, digits);
    } else {
        char type = percent ? 'f' : s.type == 'n' || !s.type ? 'g' : s.type;
        int precision = s.precision < 0 ? 6 : (int)s.precision;
        snprintf(fmt, sizeof fmt, s.alternate ? "%%#.*%c" : "%%.*%c", type);
        snprintf(digits, DIGITS, fmt, precision, abs);
        if (!s.type && !strpbrk(digits, ".en") && precision > (int)strlen(digits))
            snprintf(digits + strlen(digits), 3, ".0");
    }
    if (percent)
        snprintf(digits + strlen(digits), 2, "%%");
    put_number(j, s, minus, "", digits);
}

static struct spec spec_new(void)
{
    return (struct spec){.fill = " ", .fill_n = 1, .precision = -1};
}

static int64_t read_number(struct jinja *j, const struct jstr *s, size_t *at, int64_t max)
{
    int64_t n = 0;
    for (; *at < s->n && s->p[*at] >= '0' && s->p[*at] <= '9'; (*at)++) {
        n = n * 10 + (s->p[*at] - '0');
        if (n > max)
            jinja_raise(j, "a width or precision above %lld", (long long)max);
    }
    return n;
}

/* --- "%" */

struct percent {
    struct jval fmt, args;
    size_t at;    /* in fmt */
    size_t taken; /* of args */
};

static char peek(const struct percent *p)
{
    return p->at < p->fmt.s->n ? p->fmt.s->p[p->at] : '\0';
}

static struct jval next_argument(struct jinja *j, struct percent *p)
{
    size_t n = p->args.type == JV_TUPLE ? p->args.l->n : 1;
    if (p->taken >= n)
        jinja_raise(j, "not enough arguments for format string");
    size_t at = p->taken++;
    return p->args.type == JV_TUPLE ? p->args.l->v[at] : p->args;
}

static int64_t star_or_number(struct jinja *j, struct percent *p, int64_t max)
{
    if (peek(p) != '*')
        return read_number(j, p->fmt.s, &p->at, max);
    p->at++;
    struct jval v = next_argument(j, p);
    if (!jv_is_integer(v) || jv_as_int(v) > max || jv_as_int(v) < -max)
        jinja_raise(j, "* wants a small int");
    return jv_as_int(v);
}

static struct jval mapping_key(struct jinja *j, struct percent *p)
{
    if (p->args.type != JV_DICT)
        jinja_raise(j, "format requires a mapping");
    size_t from = ++p->at;
    for (int depth = 1; depth; p->at++) {
        if (p->at >= p->fmt.s->n)
            jinja_raise(j, "incomplete format key");
        depth += (peek(p) == '(') - (peek(p) == ')');
    }
    struct jval key = js_sub(j, p->fmt, from, p->at - 1);
    const struct jval *v = jv_get(j, p->args.d, key);
    if (!v)
        jinja_raise(j, "no value for format key '%.*s'", (int)key.s->n, key.s->p);
    p->taken = 1;
    return *v;
}

static struct spec percent_spec(struct jinja *j, struct percent *p)
{
    struct spec s = spec_new();
    bool left = false, zero = false;
    for (const char *hit; peek(p) && (hit = strchr("-+ #0", peek(p))) != NULL; p->at++) {
        left |= *hit == '-';
        zero |= *hit == '0';
        s.alternate |= *hit == '#';
        if (*hit == '+' || (*hit == ' ' && !s.sign))
            s.sign = *hit;
    }
    s.width = star_or_number(j, p, MAX_WIDTH);
    left |= s.width < 0;
    s.width = s.width < 0 ? -s.width : s.width;
    if (peek(p) == '.') {
        p->at++;
        s.precision = star_or_number(j, p, MAX_PRECISION);
        s.precision = s.precision < 0 ? 0 : s.precision;
    }
    while (peek(p) && strchr("hlL", peek(p)))
        p->at++;
    s.align = left ? '<' : zero ? '=' : '>';
    s.fill = zero && !left ? "0" : " ";
    s.type = peek(p);
    if (!s.type)
        jinja_raise(j, "incomplete format");
    p->at++;
    return s;
}

static void put_percent_text(struct jinja *j, struct spec s, struct jval v, bool markup)
{
    v = s.type == 's' ? jr_str(j, v) : s.type == 'r' ? jr_repr(j, v) : jr_ascii(j, v);
    if (markup)
        v = js_escape(j, v);
    s.fill = " ";
    s.align = s.align == '=' ? '>' : s.align;
    put_text(j, s, v);
}

static void put_percent_char(struct jinja *j, struct spec s, struct jval v)
{
    char utf8[4];
    bool code = jv_is_integer(v) && jv_as_int(v) >= 0 && jv_as_int(v) <= 0x10ffff;
    if (!code && (v.type != JV_STR || v.s->chars != 1))
        jinja_raise(j, "%%c requires int or char");
    if (code)
        v = jv_str(j, utf8, (size_t)utf8_encode((uint32_t)jv_as_int(v), utf8));
    s.fill = " ";
    s.align = s.align == '=' ? '>' : s.align;
    put_text(j, s, v);
}

static void put_percent(struct jinja *j, struct percent *p)
{
    bool keyed = peek(p) == '(';
    struct jval v = keyed ? mapping_key(j, p) : jv_none();
    struct spec s = percent_spec(j, p);
    if (s.type == '%') {
        jinja_write(j, "%", 1);
        return;
    }
    if (!keyed)
        v = next_argument(j, p);
    bool number = jv_is_number(v);
    if (strchr("sra", s.type)) {
        put_percent_text(j, s, v, p->fmt.markup);
    } else if (s.type == 'c') {
        put_percent_char(j, s, v);
    } else if (strchr("diuxXo", s.type)) {
        bool decimal = strchr("diu", s.type) != NULL;
        if (!number || (!decimal && v.type == JV_FLOAT))
            jinja_raise(j, "%%%c format: %s is required, not %s", s.type,
                        decimal ? "a real number" : "an integer", jv_type_name(v));
        if (v.type == JV_FLOAT && !(fabs(v.f) < 9.2e18))
            jinja_raise(j, "integer out of range: more than 64 bits");
        s.type = decimal ? 'd' : s.type;
        put_integer(j, s, v.type == JV_FLOAT ? (int64_t)v.f : jv_as_int(v));
    } else if (strchr("eEfFgG", s.type)) {
        if (!number)
            jinja_raise(j, "must be real number, not %s", jv_type_name(v));
        put_float(j, s, jv_as_float(v));
    } else {
        jinja_raise(j, "unsupported format character '%c'", s.type);
    }
}

struct jval jfmt_percent(struct jinja *j, struct jval fmt, struct jval args)
{
    struct percent p = {.fmt = fmt, .args = args};
    size_t mark = j->out->len;
    while (p.at < fmt.s->n) {
        const char *from = fmt.s->p + p.at;
        const char *hit = memchr(from, '%', fmt.s->n - p.at);
        size_t n = hit ? (size_t)(hit - from) : fmt.s->n - p.at;
        jinja_write(j, from, n);
        p.at += n;
        if (!hit)
            break;
        p.at++;
        put_percent(j, &p);
    }
    bool mapping = args.type == JV_DICT || args.type == JV_LIST || args.type == JV_UNDEFINED ||
                   args.type == JV_RANGE;
    if (!mapping && p.taken < (args.type == JV_TUPLE ? args.l->n : 1))
        jinja_raise(j, "not all arguments converted during string formatting");
    struct jval out = jx_capture(j, mark);
    out.markup = fmt.markup;
    return out;
}

/* --- str.format */

struct format {
    const struct jargs *args;
    int64_t automatic; /* next automatic number; -1 once fields were numbered by hand */
    bool markup;
};

static struct spec read_spec(struct jinja *j, const struct jstr *t)
{
    struct spec s = spec_new();
    size_t at = 0, first = t->n ? js_char_bytes(t->p, t->n, 0) : 0;
    if (first && first < t->n && strchr("<>=^", t->p[first])) {
        s.fill = t->p;
        s.fill_n = first;
        s.align = t->p[first];
        at = first + 1;
    } else if (first && strchr("<>=^", t->p[0])) {
        s.align = t->p[at++];
    }
    if (at < t->n && strchr("+- ", t->p[at]))
        s.sign = t->p[at] == '-' ? '\0' : t->p[at], at++;
    if (at < t->n && t->p[at] == '#')
        s.alternate = true, at++;
    if (at < t->n && t->p[at] == '0' && !s.align) {
        s.fill = "0";
        s.fill_n = 1;
        s.align = '=';
    }
    s.width = read_number(j, t, &at, MAX_WIDTH);
    if (at < t->n && (t->p[at] == ',' || t->p[at] == '_'))
        s.group = t->p[at++];
    if (at < t->n && t->p[at] == '.') {
        size_t digits = ++at;
        s.precision = read_number(j, t, &at, MAX_PRECISION);
        if (at == digits)
            jinja_raise(j, "Format specifier missing precision");
    }
    if (at < t->n)
        s.type = t->p[at++];
    if (at < t->n)
        jinja_raise(j, "Invalid format specifier");
    return s;
}

static void put_value(struct jinja *j, struct jval v, const struct jstr *text)
{
    struct spec s = read_spec(j, text);
    bool number = jv_is_number(v);
    if (!text->n || v.type == JV_STR) {
        v = jr_str(j, v);
        if (text->n && ((s.type && s.type != 's') || s.sign || s.align == '='))
            jinja_raise(j, "Invalid format specifier for object of type 'str'");
        put_text(j, s, v);
    } else if (number && s.type && strchr("eEfFgG%", s.type)) {
        put_float(j, s, jv_as_float(v));
    } else if (v.type == JV_FLOAT && (!s.type || s.type == 'n')) {
        put_float(j, s, v.f);
    } else if (jv_is_integer(v) && (!s.type || strchr("bdnoxX", s.type)) && s.precision < 0) {
        put_integer(j, s, jv_as_int(v));
    } else if (jv_is_integer(v) && s.type == 'c') {
        s.align = s.align ? s.align : '>';
        put_percent_char(j, s, v);
    } else if (number) {
        jinja_raise(j, "Unknown format code '%c' for object of type '%s'", s.type ? s.type : '.',
                    jv_type_name(v));
    } else {
        jinja_raise(j, "unsupported format string passed to %s.__format__", jv_type_name(v));
    }
}

static struct jval field_root(struct jinja *j, struct format *f, const struct jstr *name)
{
    size_t at = 0;
    int64_t i = read_number(j, name, &at, 1000000);
    if (!name->n && f->automatic < 0)
        jinja_raise(j,
                    "cannot switch from manual field specification to automatic field numbering");
    if (name->n && at == name->n && f->automatic > 0)
        jinja_raise(j,
                    "cannot switch from automatic field numbering to manual field specification");
    if (!name->n)
        i = f->automatic++;
    else if (at == name->n)
        f->automatic = -1;
    if (!name->n || at == name->n) {
        if (i >= f->args->n)
            jinja_raise(j, "Replacement index %lld out of range for positional args tuple",
                        (long long)i);
        return f->args->v[i];
    }
    for (int k = 0; k < f->args->n_kw; k++)
        if (f->args->kw[k].name_n == name->n && !memcmp(f->args->kw[k].name, name->p, name->n))
            return f->args->kw[k].v;
    jinja_raise(j, "no value for format field '%.*s'", name->n > 80 ? 80 : (int)name->n, name->p);
}

/* name.attr[index]... */
static struct jval field_value(struct jinja *j, struct format *f, struct jval field)
{
    const char *p = field.s->p;
    size_t n = field.s->n, at = 0;
    while (at < n && p[at] != '.' && p[at] != '[')
        at++;
    struct jval v = field_root(j, f, js_sub(j, field, 0, at).s);
    while (at < n) {
        bool attr = p[at] == '.';
        size_t from = ++at;
        while (at < n && (attr ? p[at] != '.' && p[at] != '[' : p[at] != ']'))
            at++;
        struct jval key = js_sub(j, field, from, at);
        if (!key.s->n || (!attr && at == n))
            jinja_raise(j, "Empty attribute in format string");
        size_t digits = 0;
        int64_t i = read_number(j, key.s, &digits, 1000000);
        if (attr)
            v = jo_attr(j, v, key);
        else
            v = jo_item(j, v, digits == key.s->n ? jv_int(i) : key);
        at += !attr;
        if (!attr && at < n && p[at] != '.' && p[at] != '[')
            jinja_raise(j, "Only '.' or '[' may follow ']' in format field specifier");
    }
    return v;
}

static void put_format(struct jinja *j, struct format *f, struct jval fmt, int depth);

/* A replacement field, without its braces. */
static void put_field(struct jinja *j, struct format *f, struct jval field, int depth)
{
    const char *p = field.s->p;
    size_t n = field.s->n, name = 0, at, mark = j->out->len;
    while (name < n && p[name] != '!' && p[name] != ':') {
        const char *close = p[name] == '[' ? memchr(p + name, ']', n - name) : NULL;
        name = close ? (size_t)(close - p) : name + 1;
    }
    struct jval v = field_value(j, f, js_sub(j, field, 0, name));
    at = name;
    if (at < n && p[at] == '!') {
        char c = at + 1 < n ? p[at + 1] : '\0';
        at += 2;
        if ((c != 'r' && c != 's' && c != 'a') || (at < n && p[at] != ':'))
            jinja_raise(j, "Unknown conversion specifier in format string");
        v = c == 'r' ? jr_repr(j, v) : c == 's' ? jr_str(j, v) : jr_ascii(j, v);
    }
    struct jval spec = js_sub(j, field, at < n ? at + 1 : n, n);
    if (memchr(spec.s->p, '{', spec.s->n)) {
        put_format(j, f, spec, depth - 1);
        spec = jx_capture(j, mark);
    }
    put_value(j, v, spec.s);
    if (f->markup) {
        struct jval text = js_escape(j, v.type == JV_STR && v.markup ? (jx_capture(j, mark), v)
                                                                     : jx_capture(j, mark));
        jinja_write(j, text.s->p, text.s->n);
    }
}

/* Behind the brace that ends the field. An index is whatever stands between its brackets; only
 * what follows the name may have fields in it. */
static size_t field_end(struct jinja *j, const char *p, size_t n, size_t at)
{
    bool name = true;
    for (int open = 1; open > 0; at++) {
        const char *close = at < n && name && p[at] == '[' ? memchr(p + at, ']', n - at) : NULL;
        at = close ? (size_t)(close - p) : at;
        if (at >= n)
            jinja_raise(j, "expected '}' before end of string");
        if (name && p[at] == '{')
            jinja_raise(j, "unexpected '{' in field name");
        name = name && p[at] != ':' && p[at] != '!';
        open += (p[at] == '{') - (p[at] == '}');
    }
    return at;
}

static void put_format(struct jinja *j, struct format *f, struct jval fmt, int depth)
{
    const char *p = fmt.s->p;
    size_t n = fmt.s->n;
    if (depth < 0)
        jinja_raise(j, "Max string recursion exceeded");
    for (size_t at = 0; at < n;) {
        char c = p[at];
        if ((c != '{' && c != '}') || (at + 1 < n && p[at + 1] == c)) {
            jinja_write(j, p + at, 1);
            at += 1 + (c == '{' || c == '}');
            continue;
        }
        if (c == '}')
            jinja_raise(j, "Single '}' encountered in format string");
        size_t from = ++at;
        at = field_end(j, p, n, at);
        put_field(j, f, js_sub(j, fmt, from, at - 1), depth);
    }
}

struct jval jfmt_format(struct jinja *j, struct jval fmt, const struct jargs *a)
{
    struct format f = {.args = a, .markup = fmt.markup};
    size_t mark = j->out->len;
    jinja_charge(j, fmt.s->n / 8);
    put_format(j, &f, fmt, 1);
    struct jval out = jx_capture(j, mark);
    out.markup = fmt.markup;
    return out;
}
