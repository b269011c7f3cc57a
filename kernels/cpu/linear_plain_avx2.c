/* linear_plain_avx2.c - f32, f16 and bf16 weights with 256-bit registers: widened, one f32 FMA
 * chain an output over ascending k, the bits of naive_linear.c. Tiles of 4 rows x 16
 * outputs. */
#include <immintrin.h>
#include <string.h>

#include "kernels/cpu/end.h"
#include "kernels/cpu/avx2.h"
#include "kernels/cpu/linear.h"

#define INLINE static inline __attribute__((always_inline))

enum { MR_MAX = 4, LINE = 64, STEP_BYTES = 256, LANES = 8 };

/* The weights of 8 rows (side 0 or 1) for k `at` of a step. */
INLINE __m256 weights(enum dtype f, const uint8_t *step, int at, int side)
{
    if (f == DT_F32)
        return _mm256_loadu_ps((const float *)(const void *)(step + at * LINE) + side * LANES);
    if (f == DT_F16)
        return _mm256_cvtph_ps(_mm_loadu_si128((const void *)(step + at * 32 + side * 16)));
    __m256i v = _mm256_loadu_si256((const void *)(step + at / 2 * LINE + side * 32));
    v = at % 2 ? _mm256_and_si256(v, _mm256_set1_epi32((int)0xffff0000)) : _mm256_slli_epi32(v, 16);
    return _mm256_castsi256_ps(v);
}

INLINE __m256 activation(enum dtype f, const char *x, int64_t k)
{
    uint16_t h;
    uint32_t u;
    float v;

    if (f == DT_BF16) {
        memcpy(&h, x + 2 * k, sizeof h);
        u = (uint32_t)h << 16;
        memcpy(&v, &u, sizeof v);
    } else {
        memcpy(&v, x + 4 * k, sizeof v);
    }
    return _mm256_set1_ps(v);
}

INLINE void store(const struct linear_job *j, int64_t row, int64_t col, __m256 f)
{
    float y[LANES], *to = j->y + row * j->ldy + col;
    int64_t n = j->n - col < LANES ? j->n - col : LANES;

    if (n == LANES) {
        _mm256_storeu_ps(to, linear_end_avx2(j, row, col, f));
        return;
    }
    _mm256_storeu_ps(y, f);
    for (int64_t i = 0; i < n; i++)
        to[i] = linear_end(j, row, col + i, y[i]);
}

INLINE void tile(enum dtype f, int mr, const struct linear_job *j, int64_t panel, int64_t row)
{
    const int step = f == DT_F32 ? 4 : 8;
    const uint8_t *p = j->w + (size_t)panel * j->panel;
    const char *x = (const char *)j->x + (size_t)row * j->xs;
    __m256 acc[MR_MAX][2];
#pragma GCC unroll 8
    for (int i = 0; i < mr; i++)
        acc[i][0] = acc[i][1] = _mm256_setzero_ps();
    for (int64_t s = 0; s < j->steps; s++, p += STEP_BYTES) {
#pragma GCC unroll 8
        for (int at = 0; at < step; at++) {
            __m256 w0 = weights(f, p, at, 0), w1 = weights(f, p, at, 1);
#pragma GCC unroll 8
            for (int i = 0; i < mr; i++) {
                __m256 v = activation(f, x + (size_t)i * j->xs, s * step + at);
                acc[i][0] = _mm256_fmadd_ps(v, w0, acc[i][0]);
                acc[i][1] = _mm256_fmadd_ps(v, w1, acc[i][1]);
            }
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < mr; i++)
        for (int side = 0; side < 2; side++)
            store(j, row + i, panel * PANEL_ROWS + side * LANES, acc[i][side]);
}

/* clang-format off */
#define TILE(f, mr)                                                                                \
    static void f##_##mr(const struct linear_job *j, int64_t p, int64_t r, struct ahead a)         \
    {                                                                                              \
        (void)a;                                                                                   \
        tile(DT_##f, mr, j, p, r);                                                                 \
    }
#define KERNEL(f)                                                                                  \
    TILE(f, 1) TILE(f, 2) TILE(f, 3) TILE(f, 4)                                                    \
    void linear_avx2_##f(const struct linear_job *j, int64_t first, int64_t last)                  \
    {                                                                                              \
        static const struct tile_set set = {.tile = {{NULL}, {NULL, f##_1, f##_2, f##_3, f##_4}},  \
            .rows = MR_MAX, .few = 1, .many = {0, 1, 1, 1, 1}, .light = true};                     \
        linear_tiles(j, first, last, &set);                                                        \
    }
KERNEL(F32) KERNEL(F16) KERNEL(BF16)
    /* clang-format on */
