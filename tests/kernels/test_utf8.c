/* test_utf8.c - against utf8proc, over all characters and over all edges of the byte ranges. */
#include "kernels/base/utf8.h"

#include <string.h>
#include <utf8proc.h>

#include "tests/support/test.h"

/* First and last byte of every class that RFC 3629 distinguishes. */
static const unsigned char edge[] = {0x00, 0x41, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf,
                                     0xc0, 0xc1, 0xc2, 0xdf, 0xe0, 0xe1, 0xec, 0xed, 0xee,
                                     0xef, 0xf0, 0xf1, 0xf3, 0xf4, 0xf5, 0xfe, 0xff};
enum { EDGES = sizeof edge };

/* What utf8proc says of the first character: its length, 0 when there is none. */
static int reference(const unsigned char *s, size_t n, uint32_t *cp)
{
    utf8proc_int32_t c;
    utf8proc_ssize_t len = utf8proc_iterate(s, (utf8proc_ssize_t)n, &c);

    *cp = (uint32_t)c;
    return len > 0 ? (int)len : 0;
}

static void test_all_characters(void **state)
{
    (void)state;
    for (uint32_t cp = 0; cp <= 0x110000; cp++) {
        unsigned char want[4];
        char got[4] = {0};
        int n = utf8_encode(cp, got), m;
        uint32_t back;

        if (cp > 0x10ffff || (cp >= 0xd800 && cp < 0xe000)) {
            assert_int_equal(n, 3);
            assert_memory_equal(got, "\xef\xbf\xbd", 3);
            continue;
        }
        m = (int)utf8proc_encode_char((utf8proc_int32_t)cp, want);
        assert_int_equal(n, m);
        assert_memory_equal(got, want, (size_t)n);
        assert_int_equal(utf8_decode(got, (size_t)n, &back), n);
        assert_int_equal(back, cp);
    }
}

static void check(const unsigned char *s, size_t n)
{
    uint32_t cp, want_cp;
    int want = reference(s, n, &want_cp), got = utf8_decode((const char *)s, n, &cp);
    size_t prefix = 0;

    assert_int_equal(got, want ? want : 1);
    assert_int_equal(cp, want ? want_cp : 0xfffd);
    while (prefix < n && (want = reference(s + prefix, n - prefix, &want_cp)) > 0)
        prefix += (size_t)want;
    assert_int_equal(utf8_valid_prefix((const char *)s, n), prefix);
}

static void test_edges(void **state)
{
    (void)state;
    for (int i = 0; i < EDGES * EDGES * EDGES * EDGES; i++) {
        const unsigned char s[4] = {edge[i % EDGES], edge[i / EDGES % EDGES],
                                    edge[i / EDGES / EDGES % EDGES],
                                    edge[i / EDGES / EDGES / EDGES]};

        for (size_t n = i < EDGES * EDGES * EDGES ? 1 : 4; n <= 4; n++)
            check(s, n);
    }
    assert_int_equal(utf8_valid_prefix("", 0), 0);
}

static void test_prefix_in_long_text(void **state)
{
    char text[64];

    (void)state;
    for (size_t bad = 0; bad < sizeof text; bad++) { /* the eight-byte stride hides nothing */
        memset(text, 'a', sizeof text);
        text[bad] = (char)0x80;
        assert_int_equal(utf8_valid_prefix(text, sizeof text), bad);
        if (bad + 2 < sizeof text) {
            memcpy(text + bad, "\xe2\x82\xac", 3);
            assert_int_equal(utf8_valid_prefix(text, sizeof text), sizeof text);
        }
    }
}

/* Whether some continuation makes s[0..n) one whole character; tried, not reasoned. */
static bool completable(const unsigned char *s, size_t n)
{
    static const unsigned char more[] = {0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf};
    enum { N = sizeof more };
    unsigned char t[4];
    uint32_t cp;

    memcpy(t, s, n);
    for (size_t i = 0; i < N * N * N; i++) {
        for (size_t k = n, rest = i; k < 4; k++, rest /= N)
            t[k] = more[rest % N];
        if (reference(t, 4, &cp) > (int)n)
            return true;
    }
    return false;
}

static void test_incomplete_tail(void **state)
{
    (void)state;
    for (int i = 0; i < EDGES * EDGES * EDGES; i++) {
        const unsigned char s[3] = {edge[i % EDGES], edge[i / EDGES % EDGES],
                                    edge[i / EDGES / EDGES]};
        size_t want = 0;

        for (size_t k = 1; k <= 3; k++) {
            if (completable(s + 3 - k, k))
                want = k;
        }
        assert_int_equal(utf8_incomplete_tail((const char *)s, 3), want);
    }
    assert_int_equal(utf8_incomplete_tail("", 0), 0);
    assert_int_equal(utf8_incomplete_tail("\xf0\x9f\x98", 3), 3);
    assert_int_equal(utf8_incomplete_tail("a\xf0\x9f\x98\x80", 5), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_characters),
        cmocka_unit_test(test_edges),
        cmocka_unit_test(test_prefix_in_long_text),
        cmocka_unit_test(test_incomplete_tail),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
