/* pretok.c - the pre-tokenizer patterns as PCRE2 with JIT, matched anchored, one word after the
 * other.
 *
 * Patterns come from the models' tokenizer.json; they are written for Oniguruma, whose \s is
 * Unicode's White_Space. PCRE2's differs by U+180E, hence the explicit class. Every pattern matches
 * at every place, consists of repeated single characters without nested repeats, and so needs
 * neither much JIT stack nor recursion, however long the text; the limits are lifted besides. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "engine/text/pretok.h"

#include <pcre2.h>
#include <string.h>
#include <utf8proc.h>

#include "kernels/base/mem.h"
#include "kernels/base/utf8.h"

#define WHITE                                                                                      \
    "\\t-\\r \\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}"       \
    "\\x{3000}"
#define SPACES     "[" WHITE "]"
#define OTHER      "[^" WHITE "\\p{L}\\p{N}]" /* punctuation, marks, symbols, controls */
#define SUFFIX     "'s|'t|'re|'ve|'m|'ll|'d|"
#define ANY_SUFFIX "(?i:'s|'t|'re|'ve|'m|'ll|'d)|"
#define TAIL       SPACES "*[\\r\\n]+|" SPACES "+(?![^" WHITE "])|" SPACES "+"

#define GPT2 SUFFIX " ?\\p{L}+| ?\\p{N}+| ?" OTHER "+|" SPACES "+(?![^" WHITE "])|" SPACES "+"
/* Digits are split off one by one before GPT-2's rule sees the rest, so a digit ends a stretch of
 * blanks as the end of the text does. */
#define DIGITS SUFFIX " ?\\p{L}+|\\p{N}| ?" OTHER "+|" SPACES "+(?![^" WHITE "\\p{N}])|" SPACES "+"
#define LLAMA3 ANY_SUFFIX "[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?" OTHER "+[\\r\\n]*|" TAIL
#define QWEN2  ANY_SUFFIX "[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?" OTHER "+[\\r\\n]*|" TAIL

/* clang-format off */
static const struct row {
    const char *name, *pattern;
    struct pretok_rule rule; /*  whole_word  nfc    add_bos */
} rows[] = {
    {"default",          GPT2,   {false,     false, false}},
    {"gpt-2",            GPT2,   {false,     false, false}},
    {"phi-2",            GPT2,   {false,     false, false}},
    {"smollm",           DIGITS, {false,     false, false}},
    {"starcoder",        DIGITS, {false,     false, false}},
    {"refact",           DIGITS, {false,     false, false}},
    {"codeshell",        DIGITS, {false,     false, false}},
    {"llama-bpe",        LLAMA3, {true,      false, true }},
    {"llama3",           LLAMA3, {true,      false, true }},
    {"llama-v3",         LLAMA3, {true,      false, true }},
    {"falcon3",          LLAMA3, {true,      false, true }},
    {"pixtral",          LLAMA3, {true,      false, true }},
    {"lfm2",             LLAMA3, {true,      false, true }},
    {"smaug-bpe",        LLAMA3, {false,     false, false}},
    {"dbrx",             LLAMA3, {false,     false, false}},
    {"qwen2",            QWEN2,  {false,     true,  false}},
    {"deepseek-r1-qwen", QWEN2,  {false,     true,  false}},
    {"stablelm2",        QWEN2,  {false,     false, false}},
};
/* clang-format on */
enum { N_ROWS = sizeof rows / sizeof rows[0] };

struct pretok {
    pcre2_code *code;
    pcre2_match_context *context;
};
struct pretok_scan {
    const struct pretok *p;
    pcre2_match_data *match;
};

static const struct row *find_row(const char *name)
{
    for (int i = 0; i < N_ROWS; i++)
        if (strcmp(rows[i].name, name ? name : "default") == 0)
            return &rows[i];
    return NULL;
}

const struct pretok_rule *pretok_rule(const char *name)
{
    const struct row *row = find_row(name);
    return row ? &row->rule : NULL;
}

static enum status unknown(const char *name)
{
    struct buf list = {0};
    for (int i = 0; i < N_ROWS; i++)
        buf_printf(&list, "%s%s", i ? ", " : "", rows[i].name);
    enum status s =
        fail(ERR_UNSUPPORTED, "pre-tokenizer '%s' is not supported; known are %s", name, list.data);
    buf_clear(&list);
    return s;
}

enum status pretok_new(const char *name, struct pretok **out)
{
    const struct row *row = find_row(name);
    if (!row)
        return unknown(name);
    int error;
    PCRE2_SIZE where;
    pcre2_code *code = pcre2_compile(
        (PCRE2_SPTR)row->pattern, PCRE2_ZERO_TERMINATED,
        PCRE2_UTF | PCRE2_UCP | PCRE2_ANCHORED | PCRE2_NEVER_BACKSLASH_C, &error, &where, NULL);
    if (!code)
        return fail(ERR_INTERNAL, "pattern of pre-tokenizer '%s': PCRE2 error %d at %zu", row->name,
                    error, where);
    pcre2_jit_compile(code, PCRE2_JIT_COMPLETE); /* without it pcre2_match interprets */
    struct pretok *p = xcalloc(1, sizeof *p);
    p->code = code;
    p->context = pcre2_match_context_create(NULL);
    pcre2_set_match_limit(p->context, UINT32_MAX);
    pcre2_set_depth_limit(p->context, UINT32_MAX);
    pcre2_set_heap_limit(p->context, UINT32_MAX);
    *out = p;
    return OK;
}

void pretok_free(struct pretok *p)
{
    if (!p)
        return;
    pcre2_match_context_free(p->context);
    pcre2_code_free(p->code);
    xfree(p);
}

struct pretok_scan *pretok_scan_new(const struct pretok *p)
{
    struct pretok_scan *s = xcalloc(1, sizeof *s);
    s->p = p;
    s->match = pcre2_match_data_create(1, NULL);
    return s;
}

void pretok_scan_free(struct pretok_scan *s)
{
    if (!s)
        return;
    pcre2_match_data_free(s->match);
    xfree(s);
}

size_t pretok_next(struct pretok_scan *s, struct bytes text, size_t at)
{
    int rc = pcre2_match(s->p->code, (PCRE2_SPTR)text.p, text.n, at, PCRE2_NO_UTF_CHECK, s->match,
                         s->p->context);
    size_t end = rc > 0 ? pcre2_get_ovector_pointer(s->match)[1] : at;
    if (end > at)
        return end;
    uint32_t cp; /* a character no alternative takes is a word */
    return at + (size_t)utf8_decode(text.p + at, text.n - at, &cp);
}

/* --- NFC --- */

/* Characters that no normalisation changes and that nothing composes with from the left: text of
 * these alone is in NFC. From DerivedNormalizationProps.txt (NFC_Quick_Check) and combining class
 * 0; not all such characters, only the common stretches. */
static const struct range {
    uint32_t first, last;
} inert[] = {
    {0x0000, 0x02ff}, {0x0388, 0x0482}, {0x048a, 0x0590},   {0x05d0, 0x060f}, {0x061b, 0x064a},
    {0x0e01, 0x0e37}, {0x2010, 0x2027}, {0x2030, 0x205e},   {0x20a0, 0x20cf}, {0x2190, 0x2328},
    {0x2500, 0x2adb}, {0x3001, 0x3029}, {0x3041, 0x3098},   {0x309b, 0x30ff}, {0x3400, 0x9fff},
    {0xac00, 0xd7a3}, {0xff01, 0xff9d}, {0x1f300, 0x1faff},
};

static bool is_inert(uint32_t cp)
{
    for (size_t i = 0; i < sizeof inert / sizeof inert[0] && cp >= inert[i].first; i++)
        if (cp <= inert[i].last)
            return true;
    return false;
}

static bool is_nfc(struct bytes text)
{
    for (size_t i = 0; i < text.n;) {
        if ((unsigned char)text.p[i] < 0x80) {
            i++;
            continue;
        }
        uint32_t cp;
        i += (size_t)utf8_decode(text.p + i, text.n - i, &cp);
        if (!is_inert(cp))
            return false;
    }
    return true;
}

static void nfc_piece(const char *p, size_t n, struct buf *out)
{
    const utf8proc_option_t how = UTF8PROC_STABLE | UTF8PROC_COMPOSE;
    const utf8proc_uint8_t *in = (const utf8proc_uint8_t *)p;
    utf8proc_ssize_t need = utf8proc_decompose(in, (utf8proc_ssize_t)n, NULL, 0, how);
    if (need <= 0) {
        buf_append(out, p, n);
        return;
    }
    utf8proc_int32_t *cp = xmalloc(((size_t)need + 1) * sizeof *cp); /* + 1: reencode adds a NUL */
    need = utf8proc_decompose(in, (utf8proc_ssize_t)n, cp, need, how);
    need = utf8proc_reencode(cp, need, how);
    buf_append(out, cp, (size_t)need);
    xfree(cp);
}

/* Pieces bound the memory, and the time: utf8proc orders marks by swapping neighbours, which is
 * quadratic in a stretch of marks, so a stretch no writing system has is cut (the Stream-Safe Text
 * Format of UAX 15 allows 30). */
bool pretok_nfc(struct bytes text, struct buf *out)
{
    enum { PIECE = 1 << 16, MAX_MARKS = 256 };
    if (is_nfc(text))
        return false;
    size_t begin = 0;
    int marks = 0;
    for (size_t i = 0; i < text.n;) {
        uint32_t cp;
        size_t len = (size_t)utf8_decode(text.p + i, text.n - i, &cp);
        marks = utf8proc_get_property((utf8proc_int32_t)cp)->combining_class ? marks + 1 : 0;
        if (marks == MAX_MARKS || (i - begin >= PIECE && is_inert(cp))) {
            nfc_piece(text.p + begin, i - begin, out);
            begin = i;
            marks = 0;
        }
        i += len;
    }
    nfc_piece(text.p + begin, text.n - begin, out);
    return true;
}
