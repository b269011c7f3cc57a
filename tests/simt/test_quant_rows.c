/* test_quant_rows.c - rows of activations as bytes with a scale, on the emulator: each byte is the
 * nearest number of its kind (ties to even), found here by search among all of them. */
#include <math.h>
#include <string.h>

#include "kernels/base/mem.h"
#include "kernels/cuda/cuda.h"
#include "kernels/half.h"
#include "kernels/quant/f8_e4m3.h"
#include "tests/simt/gpu.h"
#include "tests/support/test.h"

enum { ROWS = 7, FIRST = 3, LIVE = FIRST + ROWS - 1, MOST_K = 1100 };

/* The byte whose value is nearest to v; of two as near, the even one. */
static int nearest_e4m3(float v)
{
    int best = 0;
    for (int c = 0; c < 0x7f; c++) {
        float near = fabsf(f8_e4m3_value(best) - fabsf(v)), d = fabsf(f8_e4m3_value(c) - fabsf(v));
        if (d < near || (d == near && c % 2 == 0))
            best = c;
    }
    return signbit(v) ? best | 0x80 : best;
}

static int byte_of(enum quant_kind kind, float v)
{
    return kind == QUANT_E4M3 ? nearest_e4m3(v) : (int)lrintf(v) & 255;
}

static float silu(float v)
{
    return v / (1 + expf(-v));
}

static void check(enum quant_kind kind, int k, bool glu)
{
    const float most = kind == QUANT_E4M3 ? 448 : 127;
    int width = (k + 15) / 16 * 16, columns = glu ? 2 * k : k;
    int32_t live = LIVE;
    float *x = xmalloc((size_t)(ROWS * columns) * 4), scale[ROWS], row[MOST_K];
    uint8_t *q = xmalloc((size_t)(ROWS * width));
    gpu_fill(x, (size_t)(ROWS * columns));
    for (int i = 0; i < columns; i++) {
        x[columns + i] = 0;
        x[2 * columns + i] *= 1e-33f;
        x[3 * columns + i] *= 1e15f;
    }
    struct quant_rows a = {.kind = kind,
                           .x = gpu_up(x, (size_t)(ROWS * columns) * 4),
                           .stride = columns * 4,
                           .up = glu ? k * 4 : 0,
                           .k = k,
                           .width = width,
                           .q = gpu_empty((size_t)(ROWS * width)),
                           .scale = gpu_empty(sizeof scale),
                           .live = gpu_up(&live, sizeof live),
                           .first = FIRST,
                           .m = ROWS};
    assert_int_equal(cuda_quant_rows((struct cuda_queue *)gpu.q, &a), OK);
    gpu_down(q, a.q, (size_t)(ROWS * width));
    gpu_down(scale, a.scale, sizeof scale);
    for (int r = 0; r < ROWS; r++) {
        float top = 0;
        for (int i = 0; i < k; i++) {
            float v = x[r * columns + i];
            row[i] = glu ? silu(v) * x[r * columns + k + i] : v;
            top = fmaxf(top, fabsf(row[i]));
        }
        bool zero = FIRST + r >= LIVE || top < 0x1p-100f;
        if (scale[r] != (zero ? 0 : top / most))
            fail_msg("kind %d, k %d: scale of row %d is %.9g, not %.9g", (int)kind, k, r,
                     (double)scale[r], (double)(zero ? 0 : top / most));
        for (int i = 0; i < width; i++) {
            int want = zero || i >= k ? 0 : byte_of(kind, row[i] * (most / top));
            if ((q[r * width + i] & (zero ? 0x7f : 0xff)) != want)
                fail_msg("kind %d, k %d: [%d][%d] is %02x, not %02x", (int)kind, k, r, i,
                         q[r * width + i], want);
        }
    }
    a.width = k - 1;
    assert_int_equal(cuda_quant_rows((struct cuda_queue *)gpu.q, &a), ERR_INTERNAL);
    xfree(x);
    xfree(q);
}

static void all(void)
{
    for (int kind = QUANT_E4M3; kind <= QUANT_S8; kind++) {
        check((enum quant_kind)kind, 1, false);
        check((enum quant_kind)kind, 77, true);
        check((enum quant_kind)kind, MOST_K, false);
    }
}

static void test_rows(void **state)
{
    (void)state;
    gpu_each_mode(all);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_rows)};
    return cmocka_run_group_tests(tests, gpu_open, gpu_close);
}
