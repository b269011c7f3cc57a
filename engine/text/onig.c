/* onig.c - where the two languages differ: \s \w \b \d \h, names of properties, classes within
 * classes and their intersection, (?m), {,n} and {n,m}+, \uHHHH.
 *
 * A class becomes one PCRE2 class wherever that is possible, since PCRE2 repeats a single class
 * without using its stack. "Some categories, less a class" ([\p{Lu}\p{Lo}&&[^\p{Han}]], which
 * tokenizers do have) is possible: the negated class of all other categories and of what is taken
 * away. The general cases are written with lookaheads. */
#include "engine/text/onig.h"

#include <ctype.h>
#include <string.h>

#include "engine/text/regex.h"

/* Outside classes Oniguruma counts the superscripts and fractions of Latin-1 as well, no others. */
#define ONIG_WORD REGEX_WORD "\\x{b2}\\x{b3}\\x{b9}\\x{bc}-\\x{be}"
/* All categories but those of REGEX_WORD; of the symbols 130 letters in circles are words. */
#define NOT_WORD "\\p{No}\\p{Pd}\\p{Ps}\\p{Pe}\\p{Pi}\\p{Pf}\\p{Po}\\p{S}\\p{Z}\\p{C}"
#define WORD_1   "[" ONIG_WORD "]"

#define ANY   "(?s:.)"
#define HEXES "0-9a-fA-F"

enum { MAX_DEPTH = 16 };

/* clang-format off */
static const char *const category[] = {
    "Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Me", "Nd", "Nl", "No", "Pc", "Pd", "Ps", "Pe", "Pi",
    "Pf", "Po", "Sm", "Sc", "Sk", "So", "Zs", "Zl", "Zp", "Cc", "Cf", "Cs", "Co", "Cn",
};
static const struct {
    const char *name, *here; /* spelled without case, blanks, - and _ */
} property[] = {
    {"letter", "L"}, {"uppercaseletter", "Lu"}, {"lowercaseletter", "Ll"}, {"titlecaseletter", "Lt"},
    {"modifierletter", "Lm"}, {"otherletter", "Lo"}, {"mark", "M"}, {"nonspacingmark", "Mn"},
    {"spacingmark", "Mc"}, {"enclosingmark", "Me"}, {"number", "N"}, {"decimalnumber", "Nd"},
    {"letternumber", "Nl"}, {"othernumber", "No"}, {"punctuation", "P"}, {"punct", "P"},
    {"symbol", "S"}, {"mathsymbol", "Sm"}, {"currencysymbol", "Sc"}, {"modifiersymbol", "Sk"},
    {"othersymbol", "So"}, {"separator", "Z"}, {"spaceseparator", "Zs"}, {"other", "C"},
    {"control", "Cc"}, {"cntrl", "Cc"}, {"format", "Cf"}, {"digit", "Nd"}, {"alpha", "Alphabetic"},
    {"alphabetic", "Alphabetic"}, {"upper", "Uppercase"}, {"uppercase", "Uppercase"},
    {"lower", "Lowercase"}, {"lowercase", "Lowercase"}, {"space", "White_Space"},
    {"whitespace", "White_Space"}, {"emoji", "Emoji"}, {"extendedpictographic", "Extended_Pictographic"},
    {"ideographic", "Ideographic"}, {"any", "Any"},
};
/* clang-format on */
enum {
    N_CATEGORIES = sizeof category / sizeof category[0],
    N_PROPERTIES = sizeof property / sizeof property[0]
};

struct reader {
    struct bytes in;
    size_t at;
    int depth;
};

struct set {             /* a class, or a part of one */
    struct buf items;    /* what stands between PCRE2's brackets */
    struct buf others;   /* "|A|B": what has to be a regex of its own; empty in most */
    unsigned categories; /* which whole categories, as bits, when it is nothing else */
    bool plain;          /* it is nothing else */
    bool negated;
};

static int peek(const struct reader *r, size_t ahead)
{
    return r->at + ahead < r->in.n ? (unsigned char)r->in.p[r->at + ahead] : -1;
}

static enum status broken(const struct reader *r, const char *why)
{
    return fail(ERR_FORMAT, "pattern '%.*s': %s", (int)(r->in.n < 200 ? r->in.n : 200), r->in.p,
                why);
}

static unsigned category_bits(const char *name)
{
    unsigned bits = 0;
    for (int i = 0; i < N_CATEGORIES; i++)
        if (strcmp(category[i], name) == 0 || (name[0] == category[i][0] && !name[1]))
            bits |= 1u << i;
    return bits;
}

/* \p{Name}, \P{Name}, \p{^Name}, \pL: appends PCRE2's, and says which categories it is (0: not
 * categories). The reader stands behind the p. */
static enum status put_property(struct reader *r, bool negated, struct buf *out, unsigned *bits)
{
    char name[64] = "", folded[64];
    size_t n = 0, k = 0;
    if (peek(r, 0) == '{') {
        for (r->at++; peek(r, 0) >= 0 && peek(r, 0) != '}'; r->at++)
            if (n < sizeof name - 1)
                name[n++] = (char)peek(r, 0);
        if (peek(r, 0) != '}')
            return broken(r, "a property has no end");
    } else if (peek(r, 0) > 0) {
        name[n++] = (char)peek(r, 0);
    }
    r->at++;
    const char *p = name;
    if (*p == '^') {
        negated = !negated;
        p++;
    }
    const char *equals = strchr(p, '='); /* Script=Han, gc=Lu */
    bool script = equals && tolower((unsigned char)*p) == 's';
    p = equals ? equals + 1 : p;
    for (const char *c = p; *c; c++)
        if (isalnum((unsigned char)*c))
            folded[k++] = (char)tolower((unsigned char)*c);
    folded[k] = 0;
    const char *here = NULL;
    for (int i = 0; !script && i < N_PROPERTIES; i++)
        if (strcmp(property[i].name, folded) == 0)
            here = property[i].here;
    if (!here && !script && k <= 2) {
        folded[0] = (char)toupper((unsigned char)folded[0]);
        here = folded;
    }
    unsigned known = here ? category_bits(here) : 0;
    *bits = negated ? 0 : known;
    /* PCRE2's plain script names mean Script_Extensions. */
    buf_printf(out, "\\%c{%s%s}", negated ? 'P' : 'p', here ? "" : "sc:", here ? here : p);
    return OK;
}

static bool hex_digits(const struct reader *r, size_t ahead, int n)
{
    for (int i = 0; i < n; i++)
        if (peek(r, ahead + (size_t)i) < 0 || !isxdigit(peek(r, ahead + (size_t)i)))
            return false;
    return true;
}

/* An escape; the reader stands at the backslash. `*bits` as of put_property. */
static enum status put_escape(struct reader *r, bool in_class, struct buf *out, unsigned *bits)
{
    int c = peek(r, 1);
    *bits = 0;
    if (c < 0)
        return broken(r, "it ends in a backslash");
    r->at += 2;
    const char *open = in_class ? "" : "[", *not = in_class ? "" : "[^",
               *close = in_class ? "" : "]";
    switch (c) {
    case 's':
        buf_printf(out, "%s%s%s", open, REGEX_WHITE, close);
        return OK;
    case 'w':
        buf_printf(out, "%s%s%s", open, in_class ? REGEX_WORD : ONIG_WORD, close);
        return OK;
    case 'h':
        buf_printf(out, "%s%s%s", open, HEXES, close);
        return OK;
    case 'd':
    case 'D':
        *bits = c == 'd' ? category_bits("Nd") : 0;
        buf_puts(out, c == 'd' ? "\\p{Nd}" : "\\P{Nd}");
        return OK;
    case 'S':
    case 'W':
    case 'H':
        if (in_class) /* complements as lists of items */
            buf_puts(out, c == 'S'   ? "\\S\\x{180e}"
                          : c == 'W' ? NOT_WORD
                                     : "\\x00-/:-@G-`g-\\x{10ffff}");
        else
            buf_printf(out, "%s%s%s", not,
                       c == 'S'   ? REGEX_WHITE
                       : c == 'W' ? ONIG_WORD
                                  : HEXES,
                       close);
        return OK;
    case 'b': /* PCRE2's has other words; in a class it is a backspace in both */
    case 'B':
        if (in_class)
            break;
        buf_puts(out, c == 'b' ? "(?:(?<=" WORD_1 ")(?!" WORD_1 ")|(?<!" WORD_1 ")(?=" WORD_1 "))"
                               : "(?:(?<=" WORD_1 ")(?=" WORD_1 ")|(?<!" WORD_1 ")(?!" WORD_1 "))");
        return OK;
    case 'p':
    case 'P':
        return put_property(r, c == 'P', out, bits);
    case 'u':
        if (!hex_digits(r, 0, 4))
            return broken(r, "\\u needs four hexadecimal digits");
        buf_printf(out, "\\x{%.4s}", r->in.p + r->at);
        r->at += 4;
        return OK;
    default:
        break;
    }
    buf_putc(out, '\\');
    buf_putc(out, (char)c);
    return OK;
}

/* --- classes --- */

static void set_clear(struct set *s)
{
    buf_clear(&s->items);
    buf_clear(&s->others);
}

/* The set as a regex that takes one character. */
static void put_set(const struct set *s, struct buf *out)
{
    bool simple = s->others.len == 0;
    if (simple && s->items.len == 0) {
        buf_puts(out, s->negated ? ANY : "(?!)");
        return;
    }
    if (!simple)
        buf_puts(out, s->negated ? "(?:(?!" : "(?:");
    if (s->items.len > 0) {
        buf_puts(out, simple && s->negated ? "[^" : "[");
        buf_append(out, s->items.data, s->items.len);
        buf_putc(out, ']');
    }
    if (!simple) {
        size_t skip = s->items.len == 0; /* the first bar */
        buf_append(out, s->others.data + skip, s->others.len - skip);
        buf_puts(out, s->negated ? ")" ANY ")" : ")");
    }
}

/* left becomes left && right. */
static void intersect(struct set *left, const struct set *right)
{
    struct set both = {.plain = false};
    if (left->plain && !left->negated && left->others.len == 0 && right->negated &&
        right->others.len == 0) {
        for (int i = 0; i < N_CATEGORIES; i++)
            if (!(left->categories & 1u << i))
                buf_printf(&both.items, "\\p{%s}", category[i]);
        buf_append(&both.items, right->items.data, right->items.len);
        both.negated = true;
    } else {
        buf_puts(&both.others, "|(?=");
        put_set(right, &both.others);
        buf_putc(&both.others, ')');
        put_set(left, &both.others);
    }
    set_clear(left);
    *left = both;
}

static void unite(struct set *into, const struct set *from)
{
    if (!from->negated && from->others.len == 0) {
        buf_append(&into->items, from->items.data, from->items.len);
        into->plain = into->plain && from->plain;
        into->categories |= from->categories;
        return;
    }
    into->plain = false;
    buf_putc(&into->others, '|');
    put_set(from, &into->others);
}

static enum status read_class(struct reader *r, struct set *out);

/* "[:alpha:]"; PCRE2 means others by some of the names. */
static enum status read_posix(struct reader *r, struct set *s)
{
    static const char *const posix[][2] = {
        {"alnum", "\\p{Alphabetic}\\p{Nd}"},
        {"alpha", "\\p{Alphabetic}"},
        {"blank", "\\p{Zs}\\t"},
        {"digit", "\\p{Nd}"},
        {"lower", "\\p{Lowercase}"},
        {"punct", "\\p{P}\\p{S}"},
        {"space", REGEX_WHITE},
        {"upper", "\\p{Uppercase}"},
        {"word", REGEX_WORD},
        {"xdigit", HEXES},
    };
    const char *name = r->in.p + r->at + 2, *end = memmem(name, r->in.n - r->at - 2, ":]", 2);
    if (!end)
        return broken(r, "a class has no end");
    struct bytes word = {name, (size_t)(end - name)};
    s->plain = false;
    r->at += word.n + 4;
    for (size_t i = 0; i < sizeof posix / sizeof posix[0]; i++)
        if (bytes_equal(word, posix[i][0])) {
            buf_puts(&s->items, posix[i][1]);
            return OK;
        }
    buf_append(&s->items, name - 2, word.n + 4);
    return OK;
}

/* One item, or a class in the class. */
static enum status read_item(struct reader *r, struct set *s)
{
    int c = peek(r, 0);
    if (c == '[' && peek(r, 1) == ':')
        return read_posix(r, s);
    if (c == '[') {
        struct set inner = {.plain = true};
        enum status status = read_class(r, &inner);
        if (status == OK)
            unite(s, &inner);
        set_clear(&inner);
        return status;
    }
    if (c == '\\') {
        unsigned bits;
        TRY(put_escape(r, true, &s->items, &bits));
        s->plain = s->plain && bits;
        s->categories |= bits;
        return OK;
    }
    buf_putc(&s->items, (char)c);
    s->plain = false;
    r->at++;
    return OK;
}

/* What stands up to "&&" or the end. */
static enum status read_operand(struct reader *r, struct set *s)
{
    for (;;) {
        int c = peek(r, 0);
        if (c < 0)
            return broken(r, "a class has no end");
        if (c == ']' || (c == '&' && peek(r, 1) == '&'))
            return OK;
        TRY(read_item(r, s));
    }
}

/* What stands behind "&&": often a class alone, which may then be negated as a whole. */
static enum status read_right(struct reader *r, struct set *s)
{
    if (peek(r, 0) == '[' && peek(r, 1) != ':') {
        struct set first = {.plain = true};
        enum status status = read_class(r, &first);
        bool alone = peek(r, 0) == ']' || (peek(r, 0) == '&' && peek(r, 1) == '&');
        if (status == OK && alone) {
            *s = first;
            return OK;
        }
        if (status == OK)
            unite(s, &first);
        set_clear(&first);
        TRY(status);
    } else if (peek(r, 0) == ']') {
        return broken(r, "nothing behind '&&'");
    }
    return read_operand(r, s);
}

static enum status read_operands(struct reader *r, struct set *out)
{
    TRY(read_operand(r, out));
    while (peek(r, 0) == '&') {
        r->at += 2;
        struct set next = {.plain = true};
        enum status status = read_right(r, &next);
        if (status == OK)
            intersect(out, &next);
        set_clear(&next);
        TRY(status);
    }
    return OK;
}

/* The reader stands at the opening bracket. */
static enum status read_class(struct reader *r, struct set *out)
{
    if (++r->depth > MAX_DEPTH)
        return broken(r, "classes nested too deeply");
    r->at++;
    bool negated = peek(r, 0) == '^';
    r->at += negated;
    if (peek(r, 0) == ']') { /* at the very beginning it is a character */
        buf_puts(&out->items, "\\]");
        out->plain = false;
        r->at++;
    }
    TRY(read_operands(r, out));
    r->at++;
    r->depth--;
    if (negated && out->negated) { /* the difference above, negated once more */
        struct set wrapped = {.plain = false};
        buf_putc(&wrapped.others, '|');
        put_set(out, &wrapped.others);
        set_clear(out);
        *out = wrapped;
    }
    out->negated = negated ? true : out->negated;
    return OK;
}

static enum status put_class(struct reader *r, struct buf *out)
{
    struct set s = {.plain = true};
    enum status status = read_class(r, &s);
    if (status == OK)
        put_set(&s, out);
    set_clear(&s);
    return status;
}

/* --- the rest --- */

/* "{n,m}", "{,m}": also what stands behind it. `atom` is where what it repeats begins in `out`. */
static void put_interval(struct reader *r, size_t atom, struct buf *out)
{
    size_t n = 1;
    bool digits = false;
    while (isdigit(peek(r, n)) || peek(r, n) == ',') {
        digits = digits || isdigit(peek(r, n));
        n++;
    }
    if (peek(r, n) != '}' || !digits) {
        buf_puts(out, "\\{");
        r->at++;
        return;
    }
    buf_puts(out, peek(r, 1) == ',' ? "{0" : "{");
    buf_append(out, r->in.p + r->at + 1, n);
    r->at += n + 1;
    if (peek(r, 0) == '+') { /* Ruby: again and again; PCRE2: without backtracking */
        struct buf tail = {0};
        buf_append(&tail, out->data + atom, out->len - atom);
        out->len = atom;
        buf_puts(out, "(?:");
        buf_append(out, tail.data, tail.len);
        buf_puts(out, ")+");
        buf_clear(&tail);
        r->at++;
    }
}

/* "(?...": Ruby's option m is PCRE2's s. */
static void put_group(struct reader *r, struct buf *out)
{
    buf_putc(out, '(');
    r->at++;
    if (peek(r, 0) != '?')
        return;
    buf_putc(out, '?');
    r->at++;
    for (int c; (c = peek(r, 0)) == 'i' || c == 'm' || c == 'x' || c == '-'; r->at++)
        buf_putc(out, c == 'm' ? 's' : (char)c);
}

enum status onig_translate(struct bytes pattern, struct buf *out)
{
    struct reader r = {pattern, 0, 0};
    size_t atom = out->len, open[100];
    int n_open = 0;
    if (bytes_equal(pattern, "\\s+$")) { /* tried at each blank of a run it would be quadratic */
        buf_puts(out, "(?<![" REGEX_WHITE "])[" REGEX_WHITE "]++$");
        return OK;
    }
    buf_puts(out, "");
    while (r.at < pattern.n) {
        unsigned bits;
        int c = peek(&r, 0);
        if (c != '{' && c != '*' && c != '+' && c != '?' && c != ')')
            atom = out->len;
        switch (c) {
        case '\\':
            TRY(put_escape(&r, false, out, &bits));
            break;
        case '[':
            TRY(put_class(&r, out));
            break;
        case '{':
            put_interval(&r, atom, out);
            break;
        case '(':
            if (n_open == sizeof open / sizeof open[0])
                return broken(&r, "groups nested too deeply");
            open[n_open++] = out->len;
            put_group(&r, out);
            break;
        case ')':
            atom = n_open > 0 ? open[--n_open] : out->len;
            buf_putc(out, ')');
            r.at++;
            break;
        default:
            buf_putc(out, (char)c);
            r.at++;
        }
    }
    return OK;
}
