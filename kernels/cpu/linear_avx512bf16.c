/* linear_avx512bf16.c - bf16 weights with vdpbf16ps: 16 outputs x 2 k an instruction.
 *
 * A line of a panel is 16 rows x 2 k, what the instruction takes; x is bf16 too, broadcast 2 k at a
 * time. There are no scales, so K is one plain loop and a tile may be 6 rows x 4 panels. The
 * instruction adds both products of a pair in its own order and flushes subnormals: results differ
 * from the f32 chain of the other ISAs by rounding, but not with M, threads or chunks.
 * Roof: the peak of the instruction (96 % reached from cache); the read rate at M = 1. */
#include <immintrin.h>

#include "kernels/cpu/end.h"
#include "kernels/cpu/avx512.h"
#include "kernels/cpu/linear.h"

#define INLINE static inline __attribute__((always_inline))

enum { MR_MAX = TILE_ROWS, NR_MAX = TILE_PANELS, LINE = 64, STEP_BYTES = 256, STEP_LINES = 4 };

/* What a tile function is made for: constants after inlining. */
struct shape {
    int mr, nr; /* rows, panels */
};

INLINE void store(struct shape z, const struct linear_job *j, int64_t panel, int64_t row,
                  __m512 f[MR_MAX][NR_MAX])
{
#pragma GCC unroll 8
    for (int p = 0; p < z.nr; p++) {
        int64_t col = (panel + p) * PANEL_ROWS, left = j->n - col;
        __mmask16 mask = left < PANEL_ROWS ? (__mmask16)((1 << left) - 1) : 0xffff;
#pragma GCC unroll 8
        for (int i = 0; i < z.mr; i++) {
            __m512 v = linear_end_avx512(j, row + i, col, mask, f[i][p]);
            _mm512_mask_storeu_ps(j->y + (row + i) * j->ldy + col, mask, v);
        }
    }
}

INLINE void tile(struct shape z, const struct linear_job *j, int64_t panel, int64_t row,
                 struct ahead pre)
{
    const uint8_t *p = j->w + (size_t)panel * j->panel;
    const char *x = (const char *)j->x + (size_t)row * j->xs;
    __m512 f[MR_MAX][NR_MAX];
#pragma GCC unroll 8
    for (int i = 0; i < z.mr; i++) {
#pragma GCC unroll 8
        for (int n = 0; n < z.nr; n++)
            f[i][n] = _mm512_setzero_ps();
    }
    for (int64_t s = 0; s < j->steps; s++, p += STEP_BYTES) {
        for (int o = 0; o < pre.step; o += LINE)
            _mm_prefetch(pre.p + o, _MM_HINT_T1);
        pre.p += pre.step;
#pragma GCC unroll 8
        for (int g = 0; g < STEP_LINES; g++) {
            __m512i w[NR_MAX];
#pragma GCC unroll 8
            for (int n = 0; n < z.nr; n++)
                w[n] = _mm512_loadu_si512(p + (size_t)n * j->panel + g * LINE);
#pragma GCC unroll 8
            for (int i = 0; i < z.mr; i++) {
                const int32_t *row_x = (const void *)(x + (size_t)i * j->xs);
                __m512i v = _mm512_set1_epi32(row_x[s * STEP_LINES + g]);
#pragma GCC unroll 8
                for (int n = 0; n < z.nr; n++)
                    f[i][n] = _mm512_dpbf16_ps(f[i][n], (__m512bh)w[n], (__m512bh)v);
            }
        }
    }
    store(z, j, panel, row, f);
}

/* clang-format off */
#define TILE(mr, nr)                                                                               \
    static void tile_##mr##_##nr(const struct linear_job *j, int64_t p, int64_t r, struct ahead a) \
    {                                                                                              \
        tile((struct shape){mr, nr}, j, p, r, a);                                                  \
    }
#define TILES(nr) TILE(1, nr) TILE(2, nr) TILE(3, nr) TILE(4, nr) TILE(5, nr) TILE(6, nr)
#define NAMES(nr) {NULL, tile_1_##nr, tile_2_##nr, tile_3_##nr, tile_4_##nr, tile_5_##nr, tile_6_##nr}
TILES(1) TILES(2) TILES(3) TILES(4)
    /* clang-format on */

    void linear_avx512bf16_BF16(const struct linear_job *j, int64_t first, int64_t last)
{
    static const struct tile_set set = {
        .tile = {{NULL}, NAMES(1), NAMES(2), NAMES(3), NAMES(4)},
        .rows = 6,
        .few = 4,
        .many = {0, 4, 4, 4, 4, 4, 4},
        .light = true,
    };
    linear_tiles(j, first, last, &set);
}
