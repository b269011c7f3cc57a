/* attn_avx2.c - attention on panel pages with 256-bit registers: the order of arithmetic, and so
 * the bits, of naive_attn.c and attn_avx512.c. Half pages of 8 positions, 8 dims at a time. */
#include <immintrin.h>

#include "kernels/cpu/avx2.h"

#define INLINE static inline __attribute__((always_inline))

enum { LINE = 64, LANES = 8, PAGE = 16 };

INLINE __m256 widen(const char *p, bool odd)
{
    __m256i v = _mm256_loadu_si256((const void *)p);

    v = odd ? _mm256_and_si256(v, _mm256_set1_epi32((int)0xffff0000)) : _mm256_slli_epi32(v, 16);
    return _mm256_castsi256_ps(v);
}

/* The scores of one page: 8 chains. */
INLINE void scores(struct attn_tile *t, int rows, bool bf16)
{
    const float *q = t->q;

    for (int j = 0; j < ATTN_PAGES; j++) {
        __m256 s[ATTN_TILE][2];
#pragma GCC unroll 8
        for (int i = 0; i < rows; i++)
            s[i][0] = s[i][1] = _mm256_setzero_ps();
        for (int d = 0; d < t->dim; d++) {
            const char *line = t->page[j] + (bf16 ? d / 2 : d) * LINE;
            __m256 k0, k1;
            if (bf16) {
                k0 = widen(line, d % 2);
                k1 = widen(line + LINE / 2, d % 2);
            } else {
                k0 = _mm256_loadu_ps((const float *)(const void *)line);
                k1 = _mm256_loadu_ps((const float *)(const void *)(line + LINE / 2));
            }
#pragma GCC unroll 8
            for (int i = 0; i < rows; i++) {
                __m256 x = _mm256_set1_ps(q[i * t->dim + d]);
                s[i][0] = _mm256_fmadd_ps(x, k0, s[i][0]);
                s[i][1] = _mm256_fmadd_ps(x, k1, s[i][1]);
            }
        }
#pragma GCC unroll 8
        for (int i = 0; i < rows; i++) {
            _mm256_store_ps(t->s[i] + j * PAGE, s[i][0]);
            _mm256_store_ps(t->s[i] + j * PAGE + LANES, s[i][1]);
        }
    }
}

/* 8 dims of the value at position p of the block. */
INLINE __m256 value(const struct attn_tile *t, int p, int d, bool bf16)
{
    const char *v = t->page[p / PAGE] + t->v_at;

    p %= PAGE;
    if (!bf16)
        return _mm256_loadu_ps((const float *)(const void *)v + p * t->dim + d);
    return widen(v + p / 2 * t->dim * 4 + d * 4, p % 2);
}

INLINE void values(struct attn_tile *t, int rows, bool bf16)
{
    for (int d = 0; d < t->dim; d += LANES) {
        __m256 o[ATTN_TILE];
#pragma GCC unroll 8
        for (int i = 0; i < rows; i++)
            o[i] =
                _mm256_mul_ps(_mm256_loadu_ps(t->out + i * t->dim + d), _mm256_set1_ps(t->fix[i]));
        for (int p = t->first; p < t->last; p++) {
            __m256 v = value(t, p, d, bf16);
#pragma GCC unroll 8
            for (int i = 0; i < rows; i++)
                o[i] = _mm256_fmadd_ps(_mm256_set1_ps(t->s[i][p]), v, o[i]);
        }
#pragma GCC unroll 8
        for (int i = 0; i < rows; i++)
            _mm256_storeu_ps(t->out + i * t->dim + d, o[i]);
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
BY_ROWS(attn_scores_avx2_f32, scores, false)
BY_ROWS(attn_scores_avx2_bf16, scores, true)
BY_ROWS(attn_values_avx2_f32, values, false)
BY_ROWS(attn_values_avx2_bf16, values, true)
/* clang-format on */
