/* jinja_lex.c - the lexer, as Jinja's with trim_blocks and lstrip_blocks.
 *
 * Line ends become \n first and one at the very end is dropped. Text before a tag loses its
 * trailing blanks for `-`; before a block or comment at the start of a line it loses the
 * indentation unless
 * `+`. Behind `-` blanks go; behind a block or comment one newline goes unless `+`. Inside tags, an
 * end mark counts only when all brackets are closed, so that `{{ {'a': {}} }}` works. */
#include "engine/text/jinja_lex.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/text/jinja_repr.h"
#include "engine/text/jinja_str.h"
#include "kernels/base/utf8.h"

enum { MAX_BRACKETS = 256 };

struct lexer {
    struct jinja *j;
    const char *p;
    size_t n, at;
    size_t counted; /* lines up to here are in j->line */
    bool line_starting;
    char bracket[MAX_BRACKETS];
    int n_bracket;
    struct jtoken *tokens;
    size_t n_tokens, cap;
};

static void count_lines(struct lexer *x, size_t to)
{
    for (; x->counted < to; x->counted++)
        x->j->line += x->p[x->counted] == '\n';
}

static struct jtoken *add(struct lexer *x, enum jtoken_kind kind)
{
    if (x->n_tokens == x->cap) {
        size_t cap = x->cap ? 2 * x->cap : 256;
        struct jtoken *moved = jinja_array(x->j, cap, sizeof *moved);
        if (x->n_tokens)
            memcpy(moved, x->tokens, x->n_tokens * sizeof *moved);
        x->tokens = moved;
        x->cap = cap;
    }
    struct jtoken *t = &x->tokens[x->n_tokens++];
    *t = (struct jtoken){.kind = kind, .line = x->j->line};
    return t;
}

static bool looking_at(const struct lexer *x, size_t at, const char *s)
{
    size_t n = strlen(s);
    return at + n <= x->n && !memcmp(x->p + at, s, n);
}

static bool blank_at(const struct lexer *x, size_t at, size_t *bytes)
{
    uint32_t cp;
    if (at >= x->n)
        return false;
    *bytes = (size_t)utf8_decode(x->p + at, x->n - at, &cp);
    return js_is(cp, JCLASS_SPACE);
}

static size_t skip_blanks(const struct lexer *x, size_t at)
{
    size_t n;
    while (blank_at(x, at, &n))
        at += n;
    return at;
}

/* If an end mark ("%}", "}}", "#}") with its sign stands at `at`: where the text goes on, else 0.
 */
static size_t end_mark(const struct lexer *x, size_t at, const char *mark)
{
    bool print = mark[0] == '}';
    char sign = at < x->n ? x->p[at] : '\0';
    if (sign == '-' && looking_at(x, at + 1, mark))
        return skip_blanks(x, at + 3);
    if (sign == '+' && !print && looking_at(x, at + 1, mark))
        return at + 3;
    if (!looking_at(x, at, mark))
        return 0;
    return at + 2 + (!print && at + 2 < x->n && x->p[at + 2] == '\n');
}

/* The text [from, to) before a tag whose sign is `sign`. */
static void add_data(struct lexer *x, size_t from, size_t to, char sign, bool print)
{
    struct jstr text = {.p = x->p + from, .n = to - from, .chars = to - from};
    struct jval v = {.type = JV_STR, .s = &text};
    if (sign == '-') {
        to = from + js_strip(x->j, v, NULL, JSIDE_RIGHT).s->n;
    } else if (sign != '+' && !print) {
        size_t line = to;
        while (line > from && x->p[line - 1] != '\n')
            line--;
        if ((line > from || x->line_starting) && line < to && skip_blanks(x, line) >= to)
            to = line;
    }
    if (to > from)
        add(x, JT_DATA)->value = jv_str(x->j, x->p + from, to - from);
}

/* After an opening mark at `at` + 2: the sign, or NUL; moves over it. */
static char take_sign(struct lexer *x)
{
    char c = x->at < x->n ? x->p[x->at] : '\0';
    if (c != '-' && c != '+')
        return '\0';
    x->at++;
    return c;
}

static void lex_comment(struct lexer *x)
{
    for (size_t at = x->at; at < x->n; at++) {
        size_t end = end_mark(x, at, "#}");
        if (!end)
            continue;
        x->line_starting = x->p[end - 1] == '\n';
        x->at = end;
        return;
    }
    jinja_raise(x->j, "Missing end of comment tag");
}

/* "{% raw %}" at x->at (behind the sign): moves behind it. */
static bool raw_begins(struct lexer *x)
{
    size_t at = skip_blanks(x, x->at);
    if (!looking_at(x, at, "raw"))
        return false;
    at = skip_blanks(x, at + 3);
    if (looking_at(x, at, "-%}"))
        x->at = skip_blanks(x, at + 3);
    else if (looking_at(x, at, "%}"))
        x->at = at + 2;
    else
        return false;
    return true;
}

static void lex_raw(struct lexer *x)
{
    x->line_starting = x->p[x->at - 1] == '\n';
    size_t from = x->at;
    for (size_t at = from; at + 1 < x->n; at++) {
        if (!looking_at(x, at, "{%"))
            continue;
        x->at = at + 2;
        char sign = take_sign(x);
        size_t name = skip_blanks(x, x->at);
        if (!looking_at(x, name, "endraw"))
            continue;
        size_t end = end_mark(x, skip_blanks(x, name + 6), "%}");
        if (!end)
            continue;
        add_data(x, from, at, sign, false);
        x->line_starting = x->p[end - 1] == '\n';
        x->at = end;
        return;
    }
    jinja_raise(x->j, "Missing end of raw directive");
}

/* --- inside tags */

static size_t digits(const struct lexer *x, size_t at)
{
    size_t end = at;
    while (at < x->n && x->p[at] >= '0' && x->p[at] <= '9') {
        while (at < x->n && x->p[at] >= '0' && x->p[at] <= '9')
            at++;
        end = at;
        at += at < x->n && x->p[at] == '_';
    }
    return end;
}

static size_t float_end(const struct lexer *x, size_t at)
{
    if (at && x->p[at - 1] == '.')
        return 0;
    size_t whole = digits(x, at), frac = 0;
    if (whole == at)
        return 0;
    if (whole + 1 < x->n && x->p[whole] == '.' && digits(x, whole + 1) > whole + 1)
        frac = digits(x, whole + 1);
    size_t e = frac ? frac : whole;
    if (e + 1 < x->n && (x->p[e] | 32) == 'e') {
        size_t d = e + 1 + (x->p[e + 1] == '+' || x->p[e + 1] == '-');
        if (digits(x, d) > d)
            return digits(x, d);
    }
    return frac;
}

static size_t integer_end(const struct lexer *x, size_t at)
{
    if (x->p[at] != '0')
        return digits(x, at);
    char mark = at + 1 < x->n ? (char)(x->p[at + 1] | 32) : '\0';
    const char *set = mark == 'x'   ? "0123456789abcdefABCDEF_"
                      : mark == 'o' ? "01234567_"
                      : mark == 'b' ? "01_"
                                    : NULL;
    size_t end = at + (set ? 2 : 1);
    while (end < x->n && strchr(set ? set : "0_", x->p[end]) && x->p[end])
        end++;
    return set && end == at + 2 ? at + 1 : end;
}

static bool lex_number(struct lexer *x)
{
    if (x->p[x->at] < '0' || x->p[x->at] > '9')
        return false;
    size_t end = float_end(x, x->at);
    bool is_float = end != 0;
    if (!is_float)
        end = integer_end(x, x->at);
    struct jstr s = {.p = x->p + x->at, .n = end - x->at};
    struct jval v = is_float ? jr_parse_float(x->j, &s) : jr_parse_int(x->j, &s, 0);
    if (v.type == JV_MISSING)
        jinja_raise(x->j, "invalid number '%.*s'", (int)(s.n < 80 ? s.n : 80), s.p);
    add(x, JT_NUMBER)->value = v;
    x->at = end;
    return true;
}

static bool is_word(uint32_t cp)
{
    return cp == '_' || js_is(cp, JCLASS_ALNUM) || (cp >= 0x300 && cp <= 0x36f);
}

static bool lex_name(struct lexer *x)
{
    size_t at = x->at;
    while (at < x->n) {
        uint32_t cp;
        size_t n = (size_t)utf8_decode(x->p + at, x->n - at, &cp);
        if (!is_word(cp))
            break;
        at += n;
    }
    if (at == x->at)
        return false;
    struct jtoken *t = add(x, JT_NAME);
    t->p = x->p + x->at;
    t->n = at - x->at;
    x->at = at;
    return true;
}

/* \x, \u, \U with `n` hexadecimal digits behind s[i]. */
static uint32_t hex_escape(struct lexer *x, const char *s, size_t left, size_t n)
{
    uint32_t cp = 0;
    for (size_t k = 0; k < n; k++) {
        char c = k < left ? s[k] : '\0', low = (char)(c | 32);
        int d = c >= '0' && c <= '9' ? c - '0' : low >= 'a' && low <= 'f' ? low - 'a' + 10 : -1;
        if (d < 0)
            jinja_raise(x->j, "truncated escape in a string");
        cp = cp * 16 + (uint32_t)d;
    }
    if (cp > 0x10ffff || (cp >= 0xd800 && cp < 0xe000))
        jinja_raise(x->j, "illegal Unicode character in a string escape");
    return cp;
}

/* Writes the meaning of the escape at s[0] == '\\', n > 1; returns how many bytes it took. */
static size_t unescape(struct lexer *x, const char *s, size_t n, char *out, size_t *n_out)
{
    static const char from[] = "\\'\"abfnrtv", to[] = "\\'\"\a\b\f\n\r\t\v";
    const char *hit = s[1] ? strchr(from, s[1]) : NULL;
    size_t used = 2;
    uint32_t cp;
    *n_out = 0;
    if (s[1] == '\n')
        return 2;
    if (hit) {
        cp = (unsigned char)to[hit - from];
    } else if (s[1] >= '0' && s[1] <= '7') {
        cp = 0;
        for (used = 1; used < 4 && used < n && s[used] >= '0' && s[used] <= '7'; used++)
            cp = cp * 8 + (uint32_t)(s[used] - '0');
    } else if (s[1] == 'x' || s[1] == 'u' || s[1] == 'U') {
        size_t digits_n = s[1] == 'x' ? 2 : s[1] == 'u' ? 4 : 8;
        cp = hex_escape(x, s + 2, n - 2, digits_n);
        used = 2 + digits_n;
    } else if (s[1] == 'N') {
        jinja_raise(x->j, "\\N{...} in a string is not supported");
    } else if ((unsigned char)s[1] >= 0x80) { /* Jinja escapes it first, and then reads "\\" */
        used = 1 + (size_t)utf8_decode(s + 1, n - 1, &cp);
        const char *fmt = cp < 0x100 ? "\\x%02x" : cp < 0x10000 ? "\\u%04x" : "\\U%08x";
        *n_out = (size_t)snprintf(out, 16, fmt, cp);
        return used;
    } else {
        cp = '\\';
        used = 1;
    }
    *n_out = (size_t)utf8_encode(cp, out);
    return used;
}

static bool lex_string(struct lexer *x)
{
    char quote = x->p[x->at];
    if (quote != '\'' && quote != '"')
        return false;
    size_t end = x->at + 1;
    while (end < x->n && x->p[end] != quote)
        end += x->p[end] == '\\' ? 2 : 1;
    if (end >= x->n)
        jinja_raise(x->j, "unexpected char '%c': a string does not end", quote);
    const char *s = x->p + x->at + 1;
    size_t n = end - x->at - 1, m = 0;
    char *text = jinja_alloc(x->j, 6 * n + 16);
    for (size_t i = 0; i < n;) {
        if (s[i] != '\\' || i + 1 == n) {
            text[m++] = s[i++];
            continue;
        }
        size_t n_out;
        i += unescape(x, s + i, n - i, text + m, &n_out);
        m += n_out;
    }
    add(x, JT_STRING)->value = jv_borrow(x->j, text, m);
    x->at = end + 1;
    return true;
}

static void balance(struct lexer *x, char c)
{
    if (c == '(' || c == '[' || c == '{') {
        if (x->n_bracket == MAX_BRACKETS)
            jinja_raise(x->j, "more than %d nested brackets", MAX_BRACKETS);
        x->bracket[x->n_bracket++] = c == '(' ? ')' : (char)(c + 2);
    } else if (c == ')' || c == ']' || c == '}') {
        if (!x->n_bracket)
            jinja_raise(x->j, "unexpected '%c'", c);
        char want = x->bracket[--x->n_bracket];
        if (want != c)
            jinja_raise(x->j, "unexpected '%c', expected '%c'", c, want);
    }
}

static bool lex_operator(struct lexer *x)
{
    static const char *const two[] = {"//", "**", "==", "!=", ">=", "<="};
    size_t n = 0;
    for (size_t i = 0; i < sizeof two / sizeof *two && !n; i++)
        n = looking_at(x, x->at, two[i]) ? 2 : 0;
    if (!n && x->p[x->at] && strchr("+-/*%~[](){}><=.:|,;", x->p[x->at]))
        n = 1;
    if (!n)
        return false;
    balance(x, x->p[x->at]);
    struct jtoken *t = add(x, JT_OP);
    t->p = x->p + x->at;
    t->n = n;
    x->at += n;
    return true;
}

static void lex_tag(struct lexer *x, bool print)
{
    x->n_bracket = 0;
    for (;;) {
        x->at = skip_blanks(x, x->at);
        count_lines(x, x->at);
        size_t end = x->n_bracket ? 0 : end_mark(x, x->at, print ? "}}" : "%}");
        if (end) {
            add(x, print ? JT_PRINT_END : JT_BLOCK_END);
            x->line_starting = x->p[end - 1] == '\n';
            x->at = end;
            return;
        }
        if (x->at >= x->n) {
            add(x, JT_EOF);
            return;
        }
        if (!lex_number(x) && !lex_name(x) && !lex_string(x) && !lex_operator(x))
            jinja_raise(x->j, "unexpected char '%.*s'", (int)js_char_bytes(x->p, x->n, x->at),
                        x->p + x->at);
    }
}

/* The first "{{", "{%" or "{#" from x->at on; x->n when there is none. */
static size_t next_tag(const struct lexer *x)
{
    for (size_t at = x->at; at + 1 < x->n; at++)
        if (x->p[at] == '{' && (x->p[at + 1] == '{' || x->p[at + 1] == '%' || x->p[at + 1] == '#'))
            return at;
    return x->n;
}

static void lex_root(struct lexer *x)
{
    while (x->at < x->n) {
        size_t from = x->at, tag = next_tag(x);
        count_lines(x, from);
        if (tag == x->n) {
            add(x, JT_DATA)->value = jv_str(x->j, x->p + from, x->n - from);
            break;
        }
        char kind = x->p[tag + 1];
        x->at = tag + 2;
        char sign = take_sign(x);
        add_data(x, from, tag, sign, kind == '{');
        count_lines(x, tag);
        if (kind == '#') {
            lex_comment(x);
        } else if (kind == '%' && raw_begins(x)) {
            lex_raw(x);
        } else {
            add(x, kind == '{' ? JT_PRINT_BEGIN : JT_BLOCK_BEGIN);
            lex_tag(x, kind == '{');
        }
    }
}

struct jtoken *jl_tokens(struct jinja *j, const char *text, size_t n)
{
    char *p = jinja_alloc(j, n + 1);
    size_t m = 0;
    for (size_t i = 0; i < n; i++) {
        if (text[i] == '\r' && i + 1 < n && text[i + 1] == '\n')
            continue;
        p[m++] = text[i] == '\r' ? '\n' : text[i];
    }
    m -= m && p[m - 1] == '\n';
    p[m] = '\0';
    struct lexer x = {.j = j, .p = p, .n = m, .line_starting = true};
    j->line = 1;
    lex_root(&x);
    count_lines(&x, m);
    add(&x, JT_EOF);
    return x.tokens;
}
