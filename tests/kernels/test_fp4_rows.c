/* test_fp4_rows.c - rows as NVFP4 and MXFP4 against ml_dtypes (tests/tools/gen_fp4.py): every code,
 * scale and row scale; and what they become, which is the product of the three. */
#include "kernels/quant/fp4_rows.h"

#include <math.h>
#include <string.h>

#include "kernels/base/mem.h"
#include "kernels/quant/f8_e4m3.h"
#include "tests/support/fixture.h"
#include "tests/support/test.h"

enum { WIDTH = 128 };

static const char *const names[] = {"nvfp4", "mxfp4"};

static const uint8_t *part(const struct fixture *f, int kind, const char *what)
{
    char name[40];
    snprintf(name, sizeof name, "%s.%s", names[kind], what);
    return fixture_u8(f, name);
}

static float value_of(enum fp4_kind kind, int scale, int code)
{
    float v = (float)fp4_value(code) / 2;
    return v * (kind == FP4_NVFP4 ? f8_e4m3_value(scale) : ldexpf(1, scale - 127));
}

static void check(const struct fixture *f, enum fp4_kind kind)
{
    const struct fixture_array *all = fixture_get(f, "x", "f4");
    const int rows = (int)all->shape[0], k = (int)all->shape[1], block = fp4_block(kind);
    const uint8_t *code = part(f, kind, "code"), *scale = part(f, kind, "scale");
    const float *x = all->data,
                *row = fixture_f32(f, kind == FP4_NVFP4 ? "nvfp4.row" : "mxfp4.row");
    uint8_t got[WIDTH], e[WIDTH / 16];
    float out[WIDTH];
    for (int r = 0; r < rows; r++) {
        float by = fp4_row_encode(kind, x + r * k, k, got, e);
        memcpy(out, x + r * k, (size_t)k * sizeof *out);
        fp4_row_round(kind, out, k, out);
        if (isnan(row[r]) ? !isnan(by) : by != row[r])
            fail_msg("%s: scale of row %d is %.9g, not %.9g", names[kind], r, (double)by,
                     (double)row[r]);
        for (int i = 0; i < k; i++) {
            int want = code[r * WIDTH + i], s = scale[r * (WIDTH / block) + i / block];
            if (e[i / block] != s || (got[i] & (want == 0 ? 7 : 15)) != want)
                fail_msg("%s: [%d][%d] is %x by %02x, not %x by %02x", names[kind], r, i, got[i],
                         e[i / block], want, s);
            float v = row[r] * value_of(kind, s, want);
            if (isnan(v) ? !isnan(out[i]) : out[i] != v)
                fail_msg("%s: [%d][%d] becomes %.9g, not %.9g", names[kind], r, i, (double)out[i],
                         (double)v);
        }
    }
}

static void test_rows(void **state)
{
    struct fixture f;
    (void)state;
    fixture_load(&f, "tests/data/fp4/rows.bin");
    check(&f, FP4_NVFP4);
    check(&f, FP4_MXFP4);
    fixture_clear(&f);
}

/* Numbers in place stay what they are once they are rounded, but for the row's own scale. */
static void test_twice(void **state)
{
    static const float x[] = {6, -4, 3, -2, 1.5f, -1, 0.5f, 0, 0, 0, 0, 0, 0, 0, 0, 0, 96, 8};
    float out[18];
    (void)state;
    for (int kind = FP4_NVFP4; kind <= FP4_MXFP4; kind++)
        for (int n = 1; n <= 16; n++) {
            fp4_row_round((enum fp4_kind)kind, x, n, out);
            for (int i = 0; i < n; i++)
                assert_float_equal(out[i], x[i], 0);
        }
    fp4_row_round(FP4_NVFP4, x, 18, out); /* of another block */
    assert_float_equal(out[0], 6, 1e-6f);
    assert_float_equal(out[16], 96, 1e-5f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_rows), cmocka_unit_test(test_twice)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
