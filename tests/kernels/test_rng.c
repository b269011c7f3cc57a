/* test_rng.c - the known answers of Random123 (kat_vectors, philox4x32 10). */
#include "kernels/base/rng.h"

#include "tests/support/test.h"

static void test_known_answers(void **state)
{
    /* clang-format off */
    static const struct {
        uint64_t key, lo, hi;
        uint32_t want[4];
    } t[] = {
        {0, 0, 0,
         {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {0xffffffffffffffff, 0xffffffffffffffff, 0xffffffffffffffff,
         {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {0x299f31d0a4093822, 0x85a308d3243f6a88, 0x0370734413198a2e,
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    /* clang-format on */

    (void)state;
    for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
        struct rng_block r = rng_philox(t[i].key, t[i].lo, t[i].hi);

        assert_memory_equal(r.v, t[i].want, sizeof r.v);
    }
}

static void test_uniform_is_open(void **state)
{
    double sum = 0;

    (void)state;
    assert_true(rng_uniform(0) == 0x1p-25f);
    assert_true(rng_uniform(255) == rng_uniform(0)); /* the low byte is not used */
    assert_true(rng_uniform(256) == 3 * 0x1p-25f);
    assert_true(rng_uniform(UINT32_MAX) < 1.0f);
    for (uint64_t i = 0; i < 100000; i++)
        sum += (double)rng_uniform(rng_philox(9, i, 0).v[0]);
    assert_true(sum > 49500 && sum < 50500); /* 5 sigma is 460 */
}

static void test_seeds_differ(void **state)
{
    (void)state;
    assert_int_not_equal(rng_seed(), rng_seed());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known_answers),
        cmocka_unit_test(test_uniform_is_open),
        cmocka_unit_test(test_seeds_differ),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
