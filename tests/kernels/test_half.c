/* Half floats against numpy and the gguf package (tests/tools/gen_quant.py), and against ldexp. */
#include "kernels/half.h"

#include <math.h>
#include <string.h>

#include "tests/support/fixture.h"
#include "tests/support/test.h"

static uint32_t bits(float f)
{
    uint32_t u;
    memcpy(&u, &f, 4);
    return u;
}

static void test_f16_to_f32(void **state)
{
    (void)state;
    for (int h = 0; h < 65536; h++) {
        int exp = h >> 10 & 31, man = h & 1023;
        float f = half_f16((uint16_t)h), sign = h & 0x8000 ? -1.0f : 1.0f, want;
        if (exp == 31 && man) {
            assert_true(isnan(f));
            continue;
        }
        if (exp == 31)
            want = sign * INFINITY;
        else if (exp == 0)
            want = sign * ldexpf((float)man, -24);
        else
            want = sign * ldexpf((float)(man + 1024), exp - 25);
        assert_int_equal(bits(f), bits(want));
        assert_int_equal(half_to_f16(f), h);
    }
}

static void test_f16_numpy(void **state)
{
    (void)state;
    struct fixture f;
    fixture_load(&f, "tests/data/quant/half.bin");
    const struct fixture_array *all = fixture_get(&f, "f16_all", "u4");
    const uint32_t *want = all->data;
    assert_int_equal(fixture_count(all), 9363);
    for (int i = 0; i < fixture_count(all); i++) {
        float got = half_f16((uint16_t)(7 * i));
        if ((want[i] & 0x7fffffff) > 0x7f800000)
            assert_true(isnan(got));
        else
            assert_int_equal(bits(got), want[i]);
    }
    fixture_clear(&f);
}

static void test_rounding(void **state)
{
    (void)state;
    struct fixture f;
    fixture_load(&f, "tests/data/quant/half.bin");
    const float *in = fixture_f32(&f, "f32");
    const struct fixture_array *f16 = fixture_get(&f, "f16", "u2");
    const uint16_t *want = f16->data, *want_bf = fixture_get(&f, "bf16", "u2")->data;
    assert_true(fixture_count(f16) > 2000);
    for (int64_t i = 0; i < fixture_count(f16); i++) {
        uint16_t h = half_to_f16(in[i]), b = half_to_bf16(in[i]);
        if (isnan(in[i])) {
            assert_true(isnan(half_f16(h)) && isnan(half_bf16(b)));
            assert_int_equal(h >> 15, want[i] >> 15);
            assert_int_equal(b, want_bf[i]);
            continue;
        }
        assert_int_equal(h, want[i]);
        assert_int_equal(b, want_bf[i]);
    }
    fixture_clear(&f);
}

static void test_bf16(void **state)
{
    (void)state;
    for (int h = 0; h < 65536; h++) {
        float f = half_bf16((uint16_t)h);
        assert_int_equal(bits(f), (uint32_t)h << 16);
        if (!isnan(f))
            assert_int_equal(half_to_bf16(f), h);
        else
            assert_true(isnan(half_bf16(half_to_bf16(f))));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_f16_to_f32),
        cmocka_unit_test(test_f16_numpy),
        cmocka_unit_test(test_rounding),
        cmocka_unit_test(test_bf16),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
