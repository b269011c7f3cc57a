/* test_map.c - against a table indexed by the key's number; keys of every length, with NULs. */
#include "kernels/base/map.h"

#include <stdlib.h>
#include <string.h>

#include "kernels/base/rng.h"
#include "tests/support/test.h"

enum { KEYS = 20000, MISSING = -7 };

/* The i-th key: different for each i, many sharing a prefix, some with NULs inside. */
static size_t make_key(char *key, uint32_t i)
{
    size_t n = i % 40;

    memset(key, (int)(i % 3), n);
    memcpy(key + n, &i, sizeof i);
    return n + sizeof i;
}

static void test_against_table(void **state)
{
    static int32_t want[KEYS];
    struct map *m = map_new(0);
    size_t count = 0;
    char key[64];

    (void)state;
    for (int i = 0; i < KEYS; i++)
        want[i] = MISSING;
    for (uint64_t step = 0; step < 3 * KEYS; step++) {
        struct rng_block r = rng_philox(1, step, 0);
        uint32_t i = r.v[0] % KEYS;
        int32_t value = (int32_t)(r.v[1] & 0xffff);
        size_t n = make_key(key, i);

        assert_int_equal(map_get(m, key, n, MISSING), want[i]);
        assert_int_equal(map_put(m, key, n, value, MISSING), want[i]);
        count += want[i] == MISSING;
        want[i] = value;
    }
    assert_int_equal(map_count(m), count);
    for (uint32_t i = 0; i < KEYS; i++) {
        size_t n = make_key(key, i);

        assert_int_equal(map_get(m, key, n, MISSING), want[i]);
        assert_int_equal(map_get(m, key, n - 1, MISSING), MISSING);
    }
    map_free(m);
    map_free(NULL);
}

static void test_keys_are_copied(void **state)
{
    struct map *m = map_new(1000);
    char key[4] = "abc";

    (void)state;
    assert_int_equal(map_get(m, "", 0, MISSING), MISSING);
    assert_int_equal(map_put(m, "", 0, 5, MISSING), MISSING);
    assert_int_equal(map_put(m, key, 3, 6, MISSING), MISSING);
    key[0] = 'x';
    assert_int_equal(map_get(m, "abc", 3, MISSING), 6);
    assert_int_equal(map_get(m, key, 3, MISSING), MISSING);
    assert_int_equal(map_get(m, "", 0, MISSING), 5);
    map_free(m);
}

static int ascending(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

static void test_hash(void **state)
{
    enum { N = 200000 };
    uint64_t *h = calloc(N, sizeof *h);
    unsigned char text[80] = {0};
    int ones = 0;

    (void)state;
    assert_non_null(h);
    for (uint32_t i = 0; i < N; i++)
        h[i] = hash_bytes(&i, sizeof i, 42);
    qsort(h, N, sizeof *h, ascending);
    for (int i = 1; i < N; i++) /* 64 bits: a collision has a chance of 1e-9 */
        assert_int_not_equal(h[i - 1], h[i]);
    free(h);
    /* every bit of every length matters, about half of the result changes */
    for (size_t n = 1; n <= sizeof text; n++) {
        uint64_t before = hash_bytes(text, n, 1);

        assert_int_not_equal(before, hash_bytes(text, n - 1, 1)); /* zeroes are not nothing */
        assert_int_not_equal(before, hash_bytes(text, n, 2));
        for (size_t bit = 0; bit < n * 8; bit++) {
            text[bit / 8] ^= (unsigned char)(1u << bit % 8);
            ones += __builtin_popcountll(before ^ hash_bytes(text, n, 1));
            text[bit / 8] ^= (unsigned char)(1u << bit % 8);
        }
    }
    ones /= (int)(sizeof text * (sizeof text + 1) / 2 * 8);
    assert_in_range(ones, 31, 32);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_table),
        cmocka_unit_test(test_keys_are_copied),
        cmocka_unit_test(test_hash),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
