/* attn_avx512.c - attention on panel pages: 16 positions a register for scores, 16 dims for values.
 *
 * The order of arithmetic is that of naive_attn.c: a score is one FMA chain over ascending d, an
 * output one over ascending t, the sum of p goes to 16 lanes. bf16 is widened by a shift or a mask.
 * 4 rows x 4 pages are 16 chains, and each line read serves 4 rows. */
#include <immintrin.h>

#include "kernels/cpu/avx512.h"

#define INLINE static inline __attribute__((always_inline))

enum { LINE = 64, LANES = 16 };

/* K of one d (f32), or of d and d + 1 (bf16), for the 16 positions of a page. */
INLINE void scores(struct attn_tile *t, int rows, bool bf16)
{
    __m512 s[ATTN_TILE][ATTN_PAGES];
    const float *q = t->q;
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++) {
#pragma GCC unroll 8
        for (int j = 0; j < ATTN_PAGES; j++)
            s[i][j] = _mm512_setzero_ps();
    }
    for (int d = 0; d < t->dim; d++) {
        __m512 k[ATTN_PAGES];
#pragma GCC unroll 8
        for (int j = 0; j < ATTN_PAGES; j++) {
            if (bf16) {
                __m512i v = _mm512_loadu_si512(t->page[j] + d / 2 * LINE);
                v = d % 2 ? _mm512_and_si512(v, _mm512_set1_epi32((int)0xffff0000))
                          : _mm512_slli_epi32(v, 16);
                k[j] = _mm512_castsi512_ps(v);
            } else {
                k[j] = _mm512_loadu_ps(t->page[j] + d * LINE);
            }
        }
#pragma GCC unroll 8
        for (int i = 0; i < rows; i++) {
            __m512 x = _mm512_set1_ps(q[i * t->dim + d]);
#pragma GCC unroll 8
            for (int j = 0; j < ATTN_PAGES; j++)
                s[i][j] = _mm512_fmadd_ps(x, k[j], s[i][j]);
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++) {
#pragma GCC unroll 8
        for (int j = 0; j < ATTN_PAGES; j++)
            _mm512_store_ps(t->s[i] + j * LANES, s[i][j]);
    }
}

/* 16 dims of the value at position p of the block. */
INLINE __m512 value(const struct attn_tile *t, int p, int d, bool bf16)
{
    const char *v = t->page[p / LANES] + t->v_at;

    p %= LANES;
    if (!bf16)
        return _mm512_loadu_ps((const float *)(const void *)v + p * t->dim + d);
    __m512i u = _mm512_loadu_si512(v + p / 2 * t->dim * 4 + d * 4);
    u = p % 2 ? _mm512_and_si512(u, _mm512_set1_epi32((int)0xffff0000)) : _mm512_slli_epi32(u, 16);
    return _mm512_castsi512_ps(u);
}

INLINE void values(struct attn_tile *t, int rows, bool bf16)
{
    for (int d = 0; d < t->dim; d += LANES) {
        __m512 o[ATTN_TILE];
#pragma GCC unroll 8
        for (int i = 0; i < rows; i++)
            o[i] =
                _mm512_mul_ps(_mm512_loadu_ps(t->out + i * t->dim + d), _mm512_set1_ps(t->fix[i]));
        for (int p = t->first; p < t->last; p++) {
            __m512 v = value(t, p, d, bf16);
#pragma GCC unroll 8
            for (int i = 0; i < rows; i++)
                o[i] = _mm512_fmadd_ps(_mm512_set1_ps(t->s[i][p]), v, o[i]);
        }
#pragma GCC unroll 8
        for (int i = 0; i < rows; i++)
            _mm512_storeu_ps(t->out + i * t->dim + d, o[i]);
    }
}

/* clang-format off */
#define BY_ROWS(name, part, bf16)                                                                  \
    void name(struct attn_tile *t)                                                                 \
    {                                                                                              \
        switch (t->rows) {                                                                         \
        case 1: part(t, 1, bf16); break;                                                           \
        case 2: part(t, 2, bf16); break;                                                           \
        case 3: part(t, 3, bf16); break;                                                           \
        default: part(t, 4, bf16);                                                                 \
        }                                                                                          \
    }
BY_ROWS(attn_scores_avx512_f32, scores, false)
BY_ROWS(attn_scores_avx512_bf16, scores, true)
BY_ROWS(attn_values_avx512_f32, values, false)
BY_ROWS(attn_values_avx512_bf16, values, true)
/* clang-format on */
