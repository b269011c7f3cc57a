/* jinja_str.c - Python's string operations on UTF-8.
 *
 * Positions inside are bytes; only what templates see counts characters. Searching bytes is right
 * because a valid UTF-8 needle matches a valid text at character borders only. */
#include "engine/text/jinja_str.h"

#include <string.h>
#include <utf8proc.h>

#include "engine/text/jinja_case.h"
#include "kernels/base/utf8.h"

size_t js_count(const char *p, size_t n)
{
    size_t chars = 0;
    for (size_t i = 0; i < n; i++)
        chars += ((unsigned char)p[i] & 0xc0) != 0x80;
    return chars;
}

size_t js_char_bytes(const char *p, size_t n, size_t at)
{
    size_t k = 1;
    while (at + k < n && ((unsigned char)p[at + k] & 0xc0) == 0x80)
        k++;
    return k;
}

size_t js_last_char(const char *p, size_t n)
{
    while (n > 0 && ((unsigned char)p[--n] & 0xc0) == 0x80)
        ;
    return n;
}

size_t js_offset(const struct jstr *s, size_t character)
{
    if (s->chars == s->n || character >= s->chars)
        return character < s->n && character < s->chars ? character : s->n;
    size_t at = 0;
    while (character--)
        at += js_char_bytes(s->p, s->n, at);
    return at;
}

/* --- classes */

static bool is_space(uint32_t cp)
{
    if (cp < 0x80)
        return cp == ' ' || (cp >= 9 && cp <= 13) || (cp >= 0x1c && cp <= 0x1f);
    return cp == 0x85 || cp == 0xa0 || cp == 0x1680 || (cp >= 0x2000 && cp <= 0x200a) ||
           cp == 0x2028 || cp == 0x2029 || cp == 0x202f || cp == 0x205f || cp == 0x3000;
}

static bool is_letter(utf8proc_category_t k)
{
    return k == UTF8PROC_CATEGORY_LU || k == UTF8PROC_CATEGORY_LL || k == UTF8PROC_CATEGORY_LT ||
           k == UTF8PROC_CATEGORY_LM || k == UTF8PROC_CATEGORY_LO;
}

/* Digits that are no decimals: super- and subscripts, circled and such. */
static bool is_digit_sign(uint32_t cp)
{
    return cp == 0xb2 || cp == 0xb3 || cp == 0xb9 || cp == 0x2070 ||
           (cp >= 0x2074 && cp <= 0x2079) || (cp >= 0x2080 && cp <= 0x2089) ||
           (cp >= 0x2460 && cp <= 0x2468) || (cp >= 0x2474 && cp <= 0x247c) ||
           (cp >= 0x2488 && cp <= 0x2490) || cp == 0x24ea || (cp >= 0x24f5 && cp <= 0x24fd) ||
           cp == 0x24ff || (cp >= 0x2776 && cp <= 0x277e) || (cp >= 0x2780 && cp <= 0x2788) ||
           (cp >= 0x278a && cp <= 0x2792) || (cp >= 0x1369 && cp <= 0x1371);
}

bool js_is(uint32_t cp, enum jclass c)
{
    utf8proc_category_t k = utf8proc_category((utf8proc_int32_t)cp);
    bool decimal = k == UTF8PROC_CATEGORY_ND;
    bool numeric = decimal || k == UTF8PROC_CATEGORY_NL || k == UTF8PROC_CATEGORY_NO;
    switch (c) {
    case JCLASS_ALPHA:
        return is_letter(k);
    case JCLASS_DECIMAL:
        return decimal;
    case JCLASS_DIGIT:
        return decimal || is_digit_sign(cp);
    case JCLASS_NUMERIC:
        return numeric;
    case JCLASS_ALNUM:
        return is_letter(k) || numeric;
    case JCLASS_SPACE:
        return is_space(cp);
    case JCLASS_LOWER: /* Other_Lowercase: ordinals and modifier letters */
        return k == UTF8PROC_CATEGORY_LL || cp == 0xaa || cp == 0xba ||
               (cp >= 0x2170 && cp <= 0x217f) || (cp >= 0x24d0 && cp <= 0x24e9) ||
               (cp >= 0x2b0 && cp <= 0x2b8);
    case JCLASS_UPPER:
        return k == UTF8PROC_CATEGORY_LU || (cp >= 0x2160 && cp <= 0x216f) ||
               (cp >= 0x24b6 && cp <= 0x24cf);
    case JCLASS_PRINT:
        return cp == ' ' || !(k == UTF8PROC_CATEGORY_CC || k == UTF8PROC_CATEGORY_CF ||
                              k == UTF8PROC_CATEGORY_CS || k == UTF8PROC_CATEGORY_CO ||
                              k == UTF8PROC_CATEGORY_CN || k == UTF8PROC_CATEGORY_ZL ||
                              k == UTF8PROC_CATEGORY_ZP || k == UTF8PROC_CATEGORY_ZS);
    }
    return false;
}

bool js_is_cased(uint32_t cp)
{
    return js_is(cp, JCLASS_LOWER) || js_is(cp, JCLASS_UPPER) ||
           utf8proc_category((utf8proc_int32_t)cp) == UTF8PROC_CATEGORY_LT;
}

/* --- building */

/* A string under construction, in the arena. */
struct text {
    struct jinja *j;
    char *p;
    size_t n, cap;
};

static void text_add(struct text *t, const char *p, size_t n)
{
    if (n > t->cap - t->n) {
        size_t cap = 2 * (t->n + n) + 32;
        char *moved = jinja_alloc(t->j, cap);
        if (t->n)
            memcpy(moved, t->p, t->n);
        t->p = moved;
        t->cap = cap;
    }
    if (n)
        memcpy(t->p + t->n, p, n);
    t->n += n;
}

static struct text text_new(struct jinja *j, size_t room)
{
    return (struct text){.j = j, .p = jinja_alloc(j, room), .cap = room};
}

static struct jval text_done(struct text *t, bool markup)
{
    jinja_charge(t->j, t->n / 16);
    struct jval v = jv_borrow(t->j, t->p, t->n);
    v.markup = markup;
    return v;
}

struct jval js_sub(struct jinja *j, struct jval s, size_t from, size_t to)
{
    struct jval v = jv_borrow(j, s.s->p + from, to > from ? to - from : 0);
    v.markup = s.markup;
    return v;
}

struct jval js_slice(struct jinja *j, struct jval s, int64_t start, int64_t step, int64_t n)
{
    if (n <= 0)
        return js_sub(j, s, 0, 0);
    jinja_charge(j, s.s->chars == s.s->n ? 0 : s.s->n / 16);
    if (step == 1)
        return js_sub(j, s, js_offset(s.s, (size_t)start), js_offset(s.s, (size_t)(start + n)));
    struct text t = text_new(j, (size_t)n);
    size_t at = js_offset(s.s, (size_t)start);
    for (int64_t i = 0; i < n; i++) {
        text_add(&t, s.s->p + at, js_char_bytes(s.s->p, s.s->n, at));
        if (i + 1 == n)
            break;
        jinja_charge(j, (size_t)(step < 0 ? -(step + 1) : step) / 16 + 1);
        for (int64_t k = 0; k < step; k++)
            at += js_char_bytes(s.s->p, s.s->n, at);
        for (int64_t k = 0; k > step; k--)
            at = js_last_char(s.s->p, at);
    }
    return text_done(&t, s.markup);
}

/* --- case */

static const struct js_special *special_find(uint32_t cp)
{
    size_t lo = 0, hi = sizeof js_special / sizeof *js_special;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (js_special[mid].cp == cp)
            return &js_special[mid];
        if (js_special[mid].cp < cp)
            lo = mid + 1;
        else
            hi = mid;
    }
    return NULL;
}

static bool case_ignorable(uint32_t cp)
{
    utf8proc_category_t k = utf8proc_category((utf8proc_int32_t)cp);
    return k == UTF8PROC_CATEGORY_MN || k == UTF8PROC_CATEGORY_ME || k == UTF8PROC_CATEGORY_CF ||
           k == UTF8PROC_CATEGORY_LM || k == UTF8PROC_CATEGORY_SK || cp == '\'' || cp == 0xad ||
           cp == 0xb7 || cp == 0x2019 || cp == '.' || cp == ':' || cp == 0x2018;
}

/* Greek sigma is written differently at the end of a word: after a cased letter, before none. */
static bool sigma_is_final(const struct jstr *s, size_t at)
{
    uint32_t cp = 0;
    size_t i = at;
    bool before = false;
    while (i > 0) {
        i = js_last_char(s->p, i);
        utf8_decode(s->p + i, s->n - i, &cp);
        if (!case_ignorable(cp)) {
            before = js_is_cased(cp);
            break;
        }
    }
    for (i = at + 2; i < s->n;) {
        i += (size_t)utf8_decode(s->p + i, s->n - i, &cp);
        if (!case_ignorable(cp))
            return before && !js_is_cased(cp);
    }
    return before;
}

static void case_add(struct text *t, const struct jstr *s, size_t at, enum jcase c)
{
    char out[4];
    uint32_t cp;
    size_t n = (size_t)utf8_decode(s->p + at, s->n - at, &cp);
    if (cp < 0x80) {
        bool letter = (cp | 32) >= 'a' && (cp | 32) <= 'z';
        out[0] = (char)(!letter ? cp : c == JCASE_LOWER ? cp | 32 : cp & ~32u);
        text_add(t, out, 1);
        return;
    }
    const struct js_special *special = c == JCASE_LOWER ? NULL : special_find(cp);
    if (special) {
        const char *p = c == JCASE_UPPER ? special->upper : special->title;
        text_add(t, p, strlen(p));
        return;
    }
    if (c == JCASE_LOWER && cp == 0x130) {
        text_add(t, "i\xcc\x87", 3);
        return;
    }
    if (c == JCASE_LOWER && cp == 0x3a3) {
        jinja_charge(t->j, 1);
        text_add(t, sigma_is_final(s, at) ? "\xcf\x82" : "\xcf\x83", 2);
        return;
    }
    utf8proc_int32_t from = (utf8proc_int32_t)cp;
    utf8proc_int32_t to = c == JCASE_LOWER   ? utf8proc_tolower(from)
                          : c == JCASE_UPPER ? utf8proc_toupper(from)
                                             : utf8proc_totitle(from);
    if (to == from)
        text_add(t, s->p + at, n);
    else
        text_add(t, out, (size_t)utf8_encode((uint32_t)to, out));
}

struct jval js_case(struct jinja *j, struct jval s, enum jcase c)
{
    struct text t = text_new(j, s.s->n + 8);
    for (size_t i = 0; i < s.s->n; i += js_char_bytes(s.s->p, s.s->n, i))
        case_add(&t, s.s, i, c);
    return text_done(&t, s.markup);
}

struct jval js_capitalize(struct jinja *j, struct jval s)
{
    struct text t = text_new(j, s.s->n + 8);
    for (size_t i = 0; i < s.s->n; i += js_char_bytes(s.s->p, s.s->n, i))
        case_add(&t, s.s, i, i ? JCASE_LOWER : JCASE_TITLE);
    return text_done(&t, s.markup);
}

struct jval js_title(struct jinja *j, struct jval s)
{
    struct text t = text_new(j, s.s->n + 8);
    bool inside = false;
    for (size_t i = 0; i < s.s->n; i += js_char_bytes(s.s->p, s.s->n, i)) {
        uint32_t cp;
        utf8_decode(s.s->p + i, s.s->n - i, &cp);
        case_add(&t, s.s, i, inside ? JCASE_LOWER : JCASE_TITLE);
        inside = js_is_cased(cp);
    }
    return text_done(&t, s.markup);
}

struct jval js_swapcase(struct jinja *j, struct jval s)
{
    struct text t = text_new(j, s.s->n + 8);
    for (size_t i = 0; i < s.s->n; i += js_char_bytes(s.s->p, s.s->n, i)) {
        uint32_t cp;
        utf8_decode(s.s->p + i, s.s->n - i, &cp);
        case_add(&t, s.s, i, js_is(cp, JCLASS_UPPER) ? JCASE_LOWER : JCASE_UPPER);
    }
    return text_done(&t, s.markup);
}

/* --- searching and cutting */

static bool in_set(const struct jstr *set, const char *p, size_t n)
{
    if (set)
        return memmem(set->p, set->n, p, n) != NULL;
    uint32_t cp;
    utf8_decode(p, n, &cp);
    return is_space(cp);
}

struct jval js_strip(struct jinja *j, struct jval s, const struct jstr *chars, enum jside side)
{
    size_t from = 0, to = s.s->n, per_char = chars ? chars->n / 64 + 1 : 1;
    while ((side & JSIDE_LEFT) && from < to) {
        size_t n = js_char_bytes(s.s->p, to, from);
        if (!in_set(chars, s.s->p + from, n))
            break;
        jinja_charge(j, per_char);
        from += n;
    }
    while ((side & JSIDE_RIGHT) && to > from) {
        size_t at = js_last_char(s.s->p, to);
        if (!in_set(chars, s.s->p + at, to - at))
            break;
        jinja_charge(j, per_char);
        to = at;
    }
    return js_sub(j, s, from, to);
}

int64_t js_find(struct jinja *j, const struct jstr *s, const struct jstr *needle, size_t from,
                size_t to, bool last)
{
    if (from > to || to > s->n || needle->n > to - from)
        return -1;
    if (!last) {
        const char *hit = memmem(s->p + from, to - from, needle->p, needle->n);
        size_t read = (hit ? (size_t)(hit - s->p) : to) - from;
        jinja_charge(j, read / 64);
        return !needle->n ? (int64_t)from : hit ? hit - s->p : -1;
    }
    for (size_t at = to - needle->n;; at--) {
        if (!needle->n || !memcmp(s->p + at, needle->p, needle->n))
            return (int64_t)at;
        if (at == from)
            return -1;
        if (at % 16 == 0)
            jinja_charge(j, 1 + needle->n / 64);
    }
}

struct jval js_replace(struct jinja *j, struct jval s, struct jval old, struct jval with,
                       int64_t count)
{
    struct text t = text_new(j, s.s->n);
    size_t at = 0;
    int64_t left = count < 0 ? INT64_MAX : count;
    while (left-- > 0) {
        int64_t hit = js_find(j, s.s, old.s, at, s.s->n, false);
        if (hit < 0)
            break;
        text_add(&t, s.s->p + at, (size_t)hit - at);
        text_add(&t, with.s->p, with.s->n);
        at = (size_t)hit + old.s->n;
        jinja_charge(j, 1);
        if (old.s->n)
            continue;
        if (at >= s.s->n) /* an empty needle is found before each character and at the end */
            break;
        size_t n = js_char_bytes(s.s->p, s.s->n, at);
        text_add(&t, s.s->p + at, n);
        at += n;
    }
    text_add(&t, s.s->p + at, s.s->n - at);
    return text_done(&t, s.markup);
}

/* --- splitting */

static struct jval reversed(struct jval list)
{
    for (size_t a = 0, b = list.l->n; a + 1 < b; a++) {
        struct jval v = list.l->v[a];
        list.l->v[a] = list.l->v[--b];
        list.l->v[b] = v;
    }
    return list;
}

static struct jval split_at(struct jinja *j, struct jval s, const struct jstr *sep, int64_t max,
                            bool from_right)
{
    struct jval out = jv_list(j, JV_LIST, 4);
    size_t from = 0, to = s.s->n;
    while (max-- != 0) {
        int64_t hit = js_find(j, s.s, sep, from, to, from_right);
        if (hit < 0)
            break;
        if (from_right) {
            jv_push(j, out, js_sub(j, s, (size_t)hit + sep->n, to));
            to = (size_t)hit;
        } else {
            jv_push(j, out, js_sub(j, s, from, (size_t)hit));
            from = (size_t)hit + sep->n;
        }
    }
    jv_push(j, out, js_sub(j, s, from, to));
    return from_right ? reversed(out) : out;
}

/* The bounds of the word nearest to one end of s[from, to); false when only blanks are left. */
static bool next_word(const struct jstr *s, size_t *from, size_t *to, bool from_right)
{
    bool found = false;
    size_t at = from_right ? *to : *from, end = from_right ? *from : *to;
    while (at != end) {
        size_t c = from_right ? js_last_char(s->p, at) : at;
        size_t n = js_char_bytes(s->p, s->n, c);
        bool blank = in_set(NULL, s->p + c, n);
        if (blank && found)
            break;
        if (!blank && !found) {
            found = true;
            *(from_right ? to : from) = c + (from_right ? n : 0);
        }
        at = from_right ? c : c + n;
    }
    *(from_right ? from : to) = at;
    return found;
}

static struct jval split_spaces(struct jinja *j, struct jval s, int64_t max, bool from_right)
{
    struct jval out = jv_list(j, JV_LIST, 4);
    size_t from = 0, to = s.s->n;
    for (;;) {
        size_t a = from, b = to;
        if (!next_word(s.s, &a, &b, from_right))
            break;
        jinja_charge(j, 1 + (b - a) / 16);
        if (max-- == 0) { /* the rest, with the blanks at its far end */
            jv_push(j, out, from_right ? js_sub(j, s, from, b) : js_sub(j, s, a, to));
            break;
        }
        jv_push(j, out, js_sub(j, s, a, b));
        *(from_right ? &to : &from) = from_right ? a : b;
    }
    return from_right ? reversed(out) : out;
}

struct jval js_split(struct jinja *j, struct jval s, const struct jstr *sep, int64_t max,
                     bool from_right)
{
    if (sep && !sep->n)
        jinja_raise(j, "empty separator");
    return sep ? split_at(j, s, sep, max, from_right) : split_spaces(j, s, max, from_right);
}

/* Bytes of the line break at `at`, 0 when there is none. */
static size_t line_break(const char *p, size_t n, size_t at)
{
    unsigned char c = (unsigned char)p[at];
    if (c == '\r')
        return at + 1 < n && p[at + 1] == '\n' ? 2 : 1;
    if ((c >= 10 && c <= 12) || (c >= 0x1c && c <= 0x1e))
        return 1;
    if (c == 0xc2 && (unsigned char)p[at + 1] == 0x85)
        return 2;
    if (c == 0xe2 && n - at >= 3 && (unsigned char)p[at + 1] == 0x80 &&
        ((unsigned char)p[at + 2] | 1) == 0xa9)
        return 3;
    return 0;
}

struct jval js_lines(struct jinja *j, struct jval s, bool keep_ends)
{
    struct jval out = jv_list(j, JV_LIST, 4);
    size_t from = 0;
    for (size_t i = 0; i < s.s->n;) {
        size_t brk = line_break(s.s->p, s.s->n, i);
        if (!brk) {
            i++;
            continue;
        }
        jv_push(j, out, js_sub(j, s, from, keep_ends ? i + brk : i));
        from = i += brk;
    }
    if (from < s.s->n)
        jv_push(j, out, js_sub(j, s, from, s.s->n));
    jinja_charge(j, s.s->n / 16);
    return out;
}

struct jval js_repeat(struct jinja *j, struct jval s, int64_t times)
{
    size_t bytes;
    if (times <= 0 || !s.s->n)
        return js_sub(j, s, 0, 0);
    if (__builtin_mul_overflow(s.s->n, (size_t)times, &bytes))
        jinja_raise(j, "a string repeated %lld times is too long", (long long)times);
    struct text t = text_new(j, bytes);
    for (int64_t i = 0; i < times; i++)
        text_add(&t, s.s->p, s.s->n);
    return text_done(&t, s.markup);
}

struct jval js_escape(struct jinja *j, struct jval s)
{
    if (s.markup)
        return s;
    struct text t = text_new(j, s.s->n);
    for (size_t i = 0; i < s.s->n; i++) {
        char c = s.s->p[i];
        const char *e = c == '&'    ? "&amp;"
                        : c == '<'  ? "&lt;"
                        : c == '>'  ? "&gt;"
                        : c == '\'' ? "&#39;"
                        : c == '"'  ? "&#34;"
                                    : NULL;
        text_add(&t, e ? e : &s.s->p[i], e ? strlen(e) : 1);
    }
    return text_done(&t, true);
}
