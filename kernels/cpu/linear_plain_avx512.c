/* linear_plain_avx512.c - f32, f16 and bf16 weights without AVX512_BF16: widened, one f32 FMA
 * chain an output over ascending k, the bits of naive_linear.c.
 *
 * A line of f32 is 16 outputs of one k, half a line of f16 too; a line of bf16 holds k in its low
 * and k + 1 in its high halves, so widening is a shift or a mask. 6 rows x 4 panels are 24 chains,
 * more than the latency of the two ports needs. Roof: one FMA for 16 multiplications. */
#include <immintrin.h>
#include <string.h>

#include "kernels/cpu/end.h"
#include "kernels/cpu/avx512.h"
#include "kernels/cpu/linear.h"

#define INLINE static inline __attribute__((always_inline))

enum { MR_MAX = TILE_ROWS, NR_MAX = TILE_PANELS, LINE = 64, STEP_BYTES = 256 };

/* The 16 weights of k `at` of a step. */
INLINE __m512 weights(enum dtype f, const uint8_t *step, int at)
{
    if (f == DT_F32)
        return _mm512_loadu_ps(step + at * LINE);
    if (f == DT_F16)
        return _mm512_cvtph_ps(_mm256_loadu_si256((const void *)(step + at * 32)));
    __m512i v = _mm512_loadu_si512(step + at / 2 * LINE);
    v = at % 2 ? _mm512_and_si512(v, _mm512_set1_epi32((int)0xffff0000)) : _mm512_slli_epi32(v, 16);
    return _mm512_castsi512_ps(v);
}

INLINE __m512 activation(enum dtype f, const char *x, int64_t k)
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
    return _mm512_set1_ps(v);
}

INLINE void store(int MR, int NR, const struct linear_job *j, int64_t panel, int64_t row,
                  __m512 f[MR_MAX][NR_MAX])
{
#pragma GCC unroll 8
    for (int p = 0; p < NR; p++) {
        int64_t col = (panel + p) * PANEL_ROWS, left = j->n - col;
        __mmask16 mask = left < PANEL_ROWS ? (__mmask16)((1 << left) - 1) : 0xffff;
#pragma GCC unroll 8
        for (int i = 0; i < MR; i++) {
            __m512 v = linear_end_avx512(j, row + i, col, mask, f[i][p]);
            _mm512_mask_storeu_ps(j->y + (row + i) * j->ldy + col, mask, v);
        }
    }
}

/* What a tile function is made for: constants after inlining. */
struct shape {
    enum dtype f;
    int mr, nr; /* rows, panels */
};

INLINE void tile(struct shape z, const struct linear_job *j, int64_t panel, int64_t row,
                 struct ahead pre)
{
    const enum dtype f = z.f;
    const int MR = z.mr, NR = z.nr;
    const int step = f == DT_F32 ? 4 : 8;
    const uint8_t *p = j->w + (size_t)panel * j->panel;
    const char *x = (const char *)j->x + (size_t)row * j->xs;
    __m512 acc[MR_MAX][NR_MAX];
#pragma GCC unroll 8
    for (int i = 0; i < MR; i++) {
#pragma GCC unroll 8
        for (int n = 0; n < NR; n++)
            acc[i][n] = _mm512_setzero_ps();
    }
    for (int64_t s = 0; s < j->steps; s++, p += STEP_BYTES) {
        for (int o = 0; o < pre.step; o += LINE)
            _mm_prefetch(pre.p + o, _MM_HINT_T1);
        pre.p += pre.step;
#pragma GCC unroll 8
        for (int at = 0; at < step; at++) {
            __m512 w[NR_MAX];
#pragma GCC unroll 8
            for (int n = 0; n < NR; n++)
                w[n] = weights(f, p + (size_t)n * j->panel, at);
#pragma GCC unroll 8
            for (int i = 0; i < MR; i++) {
                __m512 v = activation(f, x + (size_t)i * j->xs, s * step + at);
#pragma GCC unroll 8
                for (int n = 0; n < NR; n++)
                    acc[i][n] = _mm512_fmadd_ps(v, w[n], acc[i][n]);
            }
        }
    }
    store(MR, NR, j, panel, row, acc);
}

/* clang-format off */
#define TILE(f, mr, nr)                                                                            \
    static void f##_##mr##_##nr(const struct linear_job *j, int64_t p, int64_t r, struct ahead a)  \
    {                                                                                              \
        tile((struct shape){DT_##f, mr, nr}, j, p, r, a);                                                         \
    }
#define NAMES(f, nr) {NULL, f##_1_##nr, f##_2_##nr, f##_3_##nr, f##_4_##nr, f##_5_##nr, f##_6_##nr}
#define TILES(f, nr) TILE(f, 1, nr) TILE(f, 2, nr) TILE(f, 3, nr) TILE(f, 4, nr) TILE(f, 5, nr) TILE(f, 6, nr)
#define KERNEL(f)                                                                                  \
    TILES(f, 1) TILES(f, 2) TILES(f, 3) TILES(f, 4)                                                \
    void linear_avx512_##f(const struct linear_job *j, int64_t first, int64_t last)                \
    {                                                                                              \
        static const struct tile_set set = {                                                       \
            .tile = {{NULL}, NAMES(f, 1), NAMES(f, 2), NAMES(f, 3), NAMES(f, 4)},                  \
            .rows = 6, .few = 4, .many = {0, 4, 4, 4, 4, 4, 4}, .light = true};                    \
        linear_tiles(j, first, last, &set);                                                        \
    }
KERNEL(F32) KERNEL(F16) KERNEL(BF16)
    /* clang-format on */
