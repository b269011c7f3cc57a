/* The encoders: their squared error against llama.cpp's on the same numbers, the bits of both
 * builds, and numbers that make a fit degenerate. The decoders, which judge here, are proven by
 * test_dtype. */
#include "kernels/quant/encode.h"

#include <math.h>
#include <string.h>

#include "kernels/base/mem.h"
#include "tests/support/test.h"

enum { ROWS = 64, COLUMNS = 512, N = ROWS * COLUMNS };

/* Sums of squared errors by llama.cpp, relative to the sum of squares: without importance, with it,
 * and without it but weighed by 1 + x^2 / the mean of the 32 (0: not held to it). Made by
 * tests/tools/gen_encode.py. */
/* clang-format off */
enum { PLAIN, WEIGHED, BY_SIZE, N_MEASURES };
static const struct { const char *name; double error[N_MEASURES]; } formats[] = {
    {"q8_0",   {8.847528e-05, 8.673137e-05, 0}},
    {"q4_0",   {2.278054e-02, 1.876577e-02, 2.086638e-03}},
    {"q4_1",   {1.043187e-02, 6.257532e-03, 9.400314e-04}},
    {"q5_0",   {5.587289e-03, 4.951547e-03, 5.000162e-04}},
    {"q5_1",   {2.398004e-03, 1.495436e-03, 2.175889e-04}},
    {"q2_k",   {1.194194e-01, 6.415244e-02, 0}},
    {"q3_k",   {4.318160e-02, 3.254504e-02, 0}},
    {"q4_k",   {9.149380e-03, 6.900170e-03, 9.146546e-04}},
    {"q5_k",   {2.294232e-03, 1.901613e-03, 2.612034e-04}},
    {"q6_k",   {7.644179e-04, 6.315765e-04, 0}},
    {"iq4_nl", {1.296773e-02, 1.007054e-02, 1.252324e-03}},
    {"iq4_xs", {1.331195e-02, 1.068084e-02, 1.427656e-03}},
    {"mxfp4",  {2.435821e-02, 2.389512e-02, 1.704694e-02}},
    {"nvfp4",  {1.220539e-02, 1.156886e-02, 3.341215e-03}},
};
/* clang-format on */
enum { N_FORMATS = sizeof formats / sizeof *formats };

struct numbers {
    float x[N], importance[COLUMNS], by_size[N], back[N];
    uint8_t blocks[N * 4];
};

static uint32_t draw(uint32_t *state)
{
    *state = *state * 1664525 + 1013904223;
    return *state >> 16;
}

/* Nearly normal numbers, every fiftieth an outlier; importance 2^-4 .. 2^4. */
static struct numbers *numbers_new(void)
{
    struct numbers *o = xcalloc(1, sizeof *o);
    uint32_t state = 1;

    for (int i = 0; i < N; i++) {
        float sum = 0;
        for (int k = 0; k < 4; k++)
            sum += (float)draw(&state);
        o->x[i] = (sum - 131070) / 65536 / 64;
        if (draw(&state) < 1311)
            o->x[i] *= 8;
    }
    state = 2;
    for (int i = 0; i < COLUMNS; i++)
        o->importance[i] = ldexpf(1, (int)(draw(&state) % 9) - 4);
    for (int i = 0; i < N; i++) {
        float sum = 0;
        for (int k = i / 32 * 32; k < i / 32 * 32 + 32; k++)
            sum += o->x[k] * o->x[k];
        o->by_size[i] = 1 + o->x[i] * o->x[i] / sum * 32;
    }
    return o;
}

static enum dtype type(int i)
{
    int t = dtype_find(formats[i].name);

    assert_true(t >= 0 && encode_has((enum dtype)t));
    return (enum dtype)t;
}

static double relative_error(struct numbers *o, enum dtype t, int measure)
{
    double error = 0, all = 0;

    dtype_decode(t, o->blocks, o->back, N);
    for (int i = 0; i < N; i++) {
        double e = (double)o->x[i] - o->back[i];
        double w = measure == WEIGHED   ? o->importance[i % COLUMNS]
                   : measure == BY_SIZE ? o->by_size[i]
                                        : 1;
        error += w * e * e;
        all += w * o->x[i] * o->x[i];
    }
    return error / all;
}

static void test_no_worse(void **state)
{
    (void)state;
    struct numbers *o = numbers_new();
    for (int i = 0; i < N_FORMATS; i++) {
        enum dtype t = type(i);
        for (int k = 0; k < N_MEASURES; k++) {
            const float *importance = k == WEIGHED ? o->importance : NULL;
            for (int r = 0; r < ROWS; r++)
                encode_row(t, o->x + r * COLUMNS, importance, COLUMNS,
                           o->blocks + (size_t)r * dtype_row_bytes(t, COLUMNS));
            double e = relative_error(o, t, k);
            if (formats[i].error[k] > 0 && e > formats[i].error[k])
                fail_msg("%s, measure %d: error %g, llama.cpp has %g", formats[i].name, k, e,
                         formats[i].error[k]);
        }
    }
    xfree(o);
}

static void test_builds_agree(void **state)
{
    (void)state;
    if (!__builtin_cpu_supports("avx2"))
        SKIP("this processor has no AVX2");
    struct numbers *o = numbers_new();
    for (int i = 0; i < N_FORMATS; i++) {
        enum dtype t = type(i);
        int block = dtype_info(t)->block, bytes = dtype_info(t)->bytes;
        uint8_t a[256], b[256];
        for (int k = 0; k < N / 4; k += block) {
            encode_plain[t](o->x + k, o->importance + k % COLUMNS, a);
            encode_avx2[t](o->x + k, o->importance + k % COLUMNS, b);
            assert_memory_equal(a, b, (size_t)bytes);
        }
    }
    xfree(o);
}

/* Every block of `x` decodes to finite numbers within `most` of it. */
static void check(int i, const float *x, const float *importance, float most)
{
    enum dtype t = type(i);
    uint8_t blocks[1024];
    float back[256];

    encode_row(t, x, importance, 256, blocks);
    dtype_decode(t, blocks, back, 256);
    for (int k = 0; k < 256; k++) {
        if (!(fabsf(back[k] - x[k]) <= most))
            fail_msg("%s: %g became %g", formats[i].name, (double)x[k], (double)back[k]);
    }
}

static void test_degenerate(void **state)
{
    (void)state;
    static const float zero[256];
    float x[256], one[256];
    for (int i = 0; i < N_FORMATS; i++) {
        check(i, zero, NULL, 0);
        check(i, zero, zero, 0);
        for (int k = 0; k < 256; k++)
            x[k] = 0.75f;
        check(i, x, NULL, 0.2f);
        check(i, x, zero, 0.75f); /* nothing counts: anything bounded will do */
        for (int k = 0; k < 256; k++)
            x[k] = k % 2 ? 1e-30f : -1e-30f; /* below what any scale can hold */
        check(i, x, NULL, 1e-6f);
        for (int k = 0; k < 256; k++)
            x[k] = k == 77 ? 1000.0f : 0;
        check(i, x, NULL, 500);
        for (int k = 0; k < 256; k++)
            x[k] = k % 2 ? 1e12f : -1e12f; /* above it */
        check(i, x, NULL, 2e12f);
        for (int k = 0; k < 256; k++) {
            x[k] = (float)(k % 32) - 16;
            one[k] = k % 2;
        }
        check(i, x, one, 32);
    }
}

/* What a format can hold comes back as it was: every group has the least and the greatest code. */
static void test_exact(void **state)
{
    (void)state;
    /* clang-format off */
    static const struct { const char *name; int codes, first; } whole[] = {
        {"q4_0", 16, -8}, {"q4_1", 16, 0}, {"q5_0", 32, -16}, {"q5_1", 32, 0}, {"q8_0", 255, -127},
        {"q2_k", 4, 0},   {"q3_k", 8, -4}, {"q4_k", 16, 0},   {"q5_k", 32, 0}, {"q6_k", 64, -32},
    };
    /* clang-format on */
    static const float e2m1[8] = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6};
    float x[256];
    for (int i = 0; i < N_FORMATS; i++) {
        for (size_t j = 0; j < sizeof whole / sizeof *whole; j++) {
            if (strcmp(whole[j].name, formats[i].name) != 0)
                continue;
            for (int k = 0; k < 256; k++) {
                int code = k % 16 == 0 ? 0 : k % 16 == 1 ? whole[j].codes - 1 : k * 5;
                x[k] = (float)(code % whole[j].codes + whole[j].first) * 0.125f;
            }
            check(i, x, NULL, 2e-3f); /* f16 need not hold 0.125 / 63 */
        }
        for (int k = 0; k < 256; k++)
            x[k] = (k & 8 ? -1.0f : 1.0f) * e2m1[(k + k / 8) & 7] * 0.25f;
        if (strstr(formats[i].name, "fp4"))
            check(i, x, NULL, 0);
    }
}

static void test_plain(void **state)
{
    (void)state;
    const float x[3] = {1.00390625f, -2, 65504};
    uint16_t h[3];
    float back[3];
    encode_row(DT_BF16, x, NULL, 3, h);
    dtype_decode(DT_BF16, h, back, 3);
    assert_true(back[0] == 1 && back[1] == -2);
    encode_row(DT_F16, x, NULL, 3, h);
    dtype_decode(DT_F16, h, back, 3);
    assert_memory_equal(x, back, sizeof x);
    assert_false(encode_has(DT_IQ1_S));
    assert_true(encode_global(DT_NVFP4, 2688) == 1 && encode_global(DT_NVFP4, 2689) == 2);
    assert_true(encode_global(DT_Q4_0, 2688) == 0 && encode_global(DT_NVFP4, 0) == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_worse),   cmocka_unit_test(test_builds_agree),
        cmocka_unit_test(test_degenerate), cmocka_unit_test(test_exact),
        cmocka_unit_test(test_plain),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
