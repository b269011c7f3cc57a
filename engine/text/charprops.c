/* charprops.c - properties from utf8proc; the byte-level alphabet; normal forms.
 *
 * utf8proc orders marks by swapping neighbours, which is quadratic in a stretch of marks, so text
 * is given to it in pieces, and a stretch no writing system has is cut (the Stream-Safe Text Format
 * of UAX 15 allows 30). */
#include "engine/text/charprops.h"

#include <utf8proc.h>

#include "kernels/base/mem.h"
#include "kernels/base/utf8.h"

static utf8proc_category_t category(uint32_t cp)
{
    return utf8proc_category((utf8proc_int32_t)cp);
}

bool char_is_white(uint32_t cp)
{
    return (cp >= 9 && cp <= 13) || cp == ' ' || cp == 0x85 || cp == 0xa0 || cp == 0x1680 ||
           (cp >= 0x2000 && cp <= 0x200a) || cp == 0x2028 || cp == 0x2029 || cp == 0x202f ||
           cp == 0x205f || cp == 0x3000;
}

bool char_is_punctuation(uint32_t cp)
{
    if (cp < 128)
        return (cp >= '!' && cp <= '/') || (cp >= ':' && cp <= '@') || (cp >= '[' && cp <= '`') ||
               (cp >= '{' && cp <= '~');
    utf8proc_category_t c = category(cp);
    return c >= UTF8PROC_CATEGORY_PC && c <= UTF8PROC_CATEGORY_PO;
}

bool char_is_number(uint32_t cp)
{
    if (cp < 128)
        return cp >= '0' && cp <= '9';
    utf8proc_category_t c = category(cp);
    return c >= UTF8PROC_CATEGORY_ND && c <= UTF8PROC_CATEGORY_NO;
}

bool char_is_mark(uint32_t cp)
{
    utf8proc_category_t c = category(cp);
    return c >= UTF8PROC_CATEGORY_MN && c <= UTF8PROC_CATEGORY_ME;
}

bool char_is_nonspacing(uint32_t cp)
{
    return category(cp) == UTF8PROC_CATEGORY_MN;
}

bool char_is_word(uint32_t cp)
{
    utf8proc_category_t c = category(cp);
    return (c >= UTF8PROC_CATEGORY_LU && c <= UTF8PROC_CATEGORY_ND) || c == UTF8PROC_CATEGORY_PC;
}

bool char_is_other(uint32_t cp)
{
    return category(cp) >= UTF8PROC_CATEGORY_CC;
}

bool char_is_ideograph(uint32_t cp)
{
    return (cp >= 0x4e00 && cp <= 0x9fff) || (cp >= 0x3400 && cp <= 0x4dbf) ||
           (cp >= 0x20000 && cp <= 0x2a6df) || (cp >= 0x2a700 && cp <= 0x2b81f) ||
           (cp >= 0x2b920 && cp <= 0x2ceaf) || (cp >= 0xf900 && cp <= 0xfaff) ||
           (cp >= 0x2f800 && cp <= 0x2fa1f);
}

/* --- the byte-level alphabet --- */

/* Printable Latin-1 stands for itself; U+0100 .. U+0143 for the other 68 bytes in order. */
int alphabet_byte(uint32_t cp)
{
    if ((cp >= 0x21 && cp <= 0x7e) || (cp >= 0xa1 && cp <= 0xac) || (cp >= 0xae && cp <= 0xff))
        return (int)cp;
    if (cp < 0x100 || cp > 0x143)
        return -1;
    int n = (int)cp - 0x100;
    return n < 33 ? n : n < 67 ? n - 33 + 0x7f : 0xad;
}

void alphabet_append(struct buf *out, unsigned char byte)
{
    uint32_t cp = byte;
    if (byte < 0x21)
        cp = 0x100u + byte;
    else if (byte >= 0x7f && byte <= 0xa0)
        cp = 0x100u + 33 + byte - 0x7f;
    else if (byte == 0xad)
        cp = 0x143;
    char utf8[4];
    buf_append(out, utf8, (size_t)utf8_encode(cp, utf8));
}

bool alphabet_decode(struct bytes s, struct buf *out)
{
    buf_reserve(out, s.n);
    size_t n = out->len; /* a byte is written as one or two */
    for (size_t i = 0; i < s.n;) {
        uint32_t cp = (unsigned char)s.p[i];
        i += cp < 0x80 ? 1 : (size_t)utf8_decode(s.p + i, s.n - i, &cp);
        int byte = alphabet_byte(cp);
        if (byte < 0)
            return false;
        out->data[n++] = (char)byte;
    }
    out->data[n] = '\0';
    out->len = n;
    return true;
}

/* --- normal forms --- */

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

static void form_piece(enum normal_form form, const char *p, size_t n, struct buf *out)
{
    static const utf8proc_option_t option[] = {
        [NORMAL_NFC] = UTF8PROC_COMPOSE,
        [NORMAL_NFD] = UTF8PROC_DECOMPOSE,
        [NORMAL_NFKC] = UTF8PROC_COMPOSE | UTF8PROC_COMPAT,
        [NORMAL_NFKD] = UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT,
    };
    const utf8proc_option_t how = UTF8PROC_STABLE | option[form];
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

static bool is_ascii(struct bytes text)
{
    for (size_t i = 0; i < text.n; i++)
        if ((unsigned char)text.p[i] >= 0x80)
            return false;
    return true;
}

bool normal_form(enum normal_form form, struct bytes text, struct buf *out)
{
    enum { PIECE = 1 << 16, MAX_MARKS = 256 };
    if (form == NORMAL_NFC ? is_nfc(text) : is_ascii(text))
        return false;
    size_t begin = 0;
    int marks = 0;
    for (size_t i = 0; i < text.n;) {
        uint32_t cp;
        size_t len = (size_t)utf8_decode(text.p + i, text.n - i, &cp);
        marks = utf8proc_get_property((utf8proc_int32_t)cp)->combining_class ? marks + 1 : 0;
        if (marks == MAX_MARKS || (i - begin >= PIECE && is_inert(cp))) {
            form_piece(form, text.p + begin, i - begin, out);
            begin = i;
            marks = 0;
        }
        i += len;
    }
    form_piece(form, text.p + begin, text.n - begin, out);
    return true;
}
