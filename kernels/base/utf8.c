/* utf8.c - one decision table: the first byte gives the length and the range of the second byte;
 * the others are 80..BF. That range is all it takes to exclude overlong forms, surrogates and >
 * U+10FFFF. */
#include "kernels/base/utf8.h"

#include <string.h>

/* Length that the first byte announces and the range of the second; 0 for no first byte at all. */
static int lead(unsigned char c, unsigned char *lo, unsigned char *hi)
{
    *lo = 0x80;
    *hi = 0xbf;
    if (c < 0x80)
        return 1;
    if (c < 0xc2 || c > 0xf4)
        return 0;
    if (c == 0xe0)
        *lo = 0xa0;
    if (c == 0xed)
        *hi = 0x9f;
    if (c == 0xf0)
        *lo = 0x90;
    if (c == 0xf4)
        *hi = 0x8f;
    return c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
}

/* Length of the character at s[0..n), n > 0; 0: invalid; -1: right so far, but cut off at n. */
static int measure(const unsigned char *s, size_t n)
{
    unsigned char lo, hi;
    int len = lead(s[0], &lo, &hi);

    for (int i = 1; i < len; i++) {
        if ((size_t)i >= n)
            return -1;
        if (s[i] < lo || s[i] > hi)
            return 0;
        lo = 0x80;
        hi = 0xbf;
    }
    return len;
}

size_t utf8_valid_prefix(const char *text, size_t n)
{
    const unsigned char *s = (const unsigned char *)text;
    size_t i = 0;

    while (i < n) {
        uint64_t eight;
        int len;

        if (n - i >= 8) { /* eight ASCII bytes at a time */
            memcpy(&eight, s + i, 8);
            if (!(eight & 0x8080808080808080u)) {
                i += 8;
                continue;
            }
        }
        len = measure(s + i, n - i);
        if (len <= 0)
            return i;
        i += (size_t)len;
    }
    return n;
}

int utf8_decode(const char *text, size_t n, uint32_t *cp)
{
    /* bits of the first byte that belong to the character, by length */
    static const unsigned char keep[5] = {0, 0x7f, 0x1f, 0x0f, 0x07};
    const unsigned char *s = (const unsigned char *)text;
    int len = measure(s, n);

    if (len <= 0) {
        *cp = 0xfffd;
        return 1;
    }
    *cp = s[0] & keep[len];
    for (int i = 1; i < len; i++)
        *cp = *cp << 6 | (s[i] & 0x3f);
    return len;
}

int utf8_encode(uint32_t cp, char out[4])
{
    static const unsigned char first[5] = {0, 0, 0xc0, 0xe0, 0xf0};
    int len;

    if (cp > 0x10ffff || (cp >= 0xd800 && cp < 0xe000))
        cp = 0xfffd;
    len = cp < 0x80 ? 1 : cp < 0x800 ? 2 : cp < 0x10000 ? 3 : 4;
    for (int i = len - 1; i > 0; i--) {
        out[i] = (char)(0x80 | (cp & 0x3f));
        cp >>= 6;
    }
    out[0] = (char)(first[len] | cp);
    return len;
}

size_t utf8_incomplete_tail(const char *text, size_t n)
{
    const unsigned char *s = (const unsigned char *)text;

    for (size_t k = 1; k <= 3 && k <= n; k++) {
        if ((s[n - k] & 0xc0) != 0x80) /* the last first byte decides */
            return measure(s + n - k, k) < 0 ? k : 0;
    }
    return 0;
}
