/* test_arena.c - alignment, disjointness, growth, the limit. */
#include "kernels/base/arena.h"

#include <stdint.h>
#include <string.h>

#include "tests/support/test.h"

static void test_blocks_are_aligned_and_disjoint(void **state)
{
    enum { N = 3000 };
    static unsigned char *p[N];
    struct arena a;
    size_t total = 0;

    (void)state;
    arena_init(&a, 0);
    for (size_t i = 0; i < N; i++) {
        size_t n = i % 97 + (i % 500 == 0 ? 70000 : 0);

        p[i] = arena_alloc(&a, n);
        assert_non_null(p[i]);
        assert_int_equal((uintptr_t)p[i] % 16, 0);
        memset(p[i], (int)(i & 255), n);
        total += n;
    }
    for (size_t i = 0; i < N; i++) {
        size_t n = i % 97 + (i % 500 == 0 ? 70000 : 0);

        for (size_t k = 0; k < n; k++)
            assert_int_equal(p[i][k], i & 255);
    }
    assert_true(a.used >= total && a.used <= total + N * 16);
    arena_clear(&a);
    assert_int_equal(a.used, 0);
    assert_non_null(arena_alloc(&a, 1)); /* usable again */
    arena_clear(&a);
}

static void test_limit(void **state)
{
    struct arena a;

    (void)state;
    arena_init(&a, 1000);
    assert_non_null(arena_alloc(&a, 600));
    assert_null(arena_alloc(&a, 600));
    assert_null(arena_calloc(&a, 600));
    assert_null(arena_strndup(&a, "x", SIZE_MAX - 1));
    assert_null(arena_printf(&a, "%700d", 1));
    assert_non_null(arena_alloc(&a, 300)); /* a refusal took nothing */
    assert_null(arena_alloc(&a, SIZE_MAX));
    arena_clear(&a);
    assert_non_null(arena_alloc(&a, 992)); /* the limit stays, the use does not */
    assert_null(arena_alloc(&a, 16));
    arena_clear(&a);
}

static void test_text(void **state)
{
    struct arena a;
    unsigned char *z;
    char *s;

    (void)state;
    arena_init(&a, 0);
    memset(arena_alloc(&a, 3000), 0xff, 3000);
    arena_clear(&a);
    z = arena_calloc(&a, 3000);
    for (int i = 0; i < 3000; i++)
        assert_int_equal(z[i], 0);
    assert_string_equal(arena_strndup(&a, "abcdef", 3), "abc");
    assert_memory_equal(arena_strndup(&a, "a\0b", 3), "a\0b", 4);
    assert_string_equal(arena_strndup(&a, NULL, 0), "");
    s = arena_printf(&a, "%s-%05d", "layer", 42);
    assert_string_equal(s, "layer-00042");
    assert_int_equal(strlen(arena_printf(&a, "%9000d", 1)), 9000);
    assert_string_equal(s, "layer-00042");
    arena_clear(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_blocks_are_aligned_and_disjoint),
        cmocka_unit_test(test_limit),
        cmocka_unit_test(test_text),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
