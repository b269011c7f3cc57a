/* attn_avx512bf16.c - scores and values of bf16 pages with vdpbf16ps: both are the linear kernel.
 *
 * A line of K is 16 positions x 2 d, a line of V 16 dims x 2 positions; q and p are bf16, broadcast
 * two at a time. Pairs are aligned to even positions; of a pair that is half outside what the tile
 * sees, that half of V is masked, because what lies there may be anything. */
#include <immintrin.h>

#include "kernels/cpu/avx512.h"

#define INLINE static inline __attribute__((always_inline))

enum { LINE = 64, LANES = 16, GROUP = 4 /* registers of dims at a time */ };

INLINE void scores(struct attn_tile *t, int rows)
{
    __m512 s[ATTN_TILE][ATTN_PAGES];
    const int32_t *q = t->q;
    const int n = t->dim / 2;
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++) {
#pragma GCC unroll 8
        for (int j = 0; j < ATTN_PAGES; j++)
            s[i][j] = _mm512_setzero_ps();
    }
    for (int d = 0; d < n; d++) {
        __m512i k[ATTN_PAGES];
#pragma GCC unroll 8
        for (int j = 0; j < ATTN_PAGES; j++)
            k[j] = _mm512_loadu_si512(t->page[j] + d * LINE);
#pragma GCC unroll 8
        for (int i = 0; i < rows; i++) {
            __m512i x = _mm512_set1_epi32(q[i * n + d]);
#pragma GCC unroll 8
            for (int j = 0; j < ATTN_PAGES; j++)
                s[i][j] = _mm512_dpbf16_ps(s[i][j], (__m512bh)k[j], (__m512bh)x);
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++) {
#pragma GCC unroll 8
        for (int j = 0; j < ATTN_PAGES; j++)
            _mm512_store_ps(t->s[i] + j * LANES, s[i][j]);
    }
}

struct strip {
    int rows, n, d; /* n registers of 16 dims from d on */
    const int32_t (*p)[ATTN_BLOCK / 2];
};

/* o += p V over the pairs [p0, p1), with a mask over each line of V. */
INLINE void pairs(const struct attn_tile *t, struct strip z, int p0, int p1, int mask,
                  __m512 o[ATTN_TILE][GROUP])
{
    for (int pair = p0; pair < p1; pair++) {
        const char *line = t->page[pair / 8] + t->v_at + (pair % 8 * t->dim + z.d) * 4;
        __m512i v[GROUP];
#pragma GCC unroll 8
        for (int j = 0; j < z.n; j++) {
            v[j] = _mm512_loadu_si512(line + j * LINE);
            if (mask != -1)
                v[j] = _mm512_and_si512(v[j], _mm512_set1_epi32(mask));
        }
#pragma GCC unroll 8
        for (int i = 0; i < z.rows; i++) {
            __m512i x = _mm512_set1_epi32(z.p[i][pair]);
#pragma GCC unroll 8
            for (int j = 0; j < z.n; j++)
                o[i][j] = _mm512_dpbf16_ps(o[i][j], (__m512bh)v[j], (__m512bh)x);
        }
    }
}

INLINE void strip(const struct attn_tile *t, struct strip z)
{
    int p0 = (t->first + 1) / 2, p1 = t->last / 2;
    __m512 o[ATTN_TILE][GROUP];
#pragma GCC unroll 8
    for (int i = 0; i < z.rows; i++) {
        __m512 fix = _mm512_set1_ps(t->fix[i]);
#pragma GCC unroll 8
        for (int j = 0; j < z.n; j++)
            o[i][j] = _mm512_mul_ps(_mm512_loadu_ps(t->out + i * t->dim + z.d + j * LANES), fix);
    }
    if (t->first % 2)
        pairs(t, z, p0 - 1, p0, (int)0xffff0000, o);
    pairs(t, z, p0, p1, -1, o);
    if (t->last % 2)
        pairs(t, z, p1, p1 + 1, 0xffff, o);
#pragma GCC unroll 8
    for (int i = 0; i < z.rows; i++) {
#pragma GCC unroll 8
        for (int j = 0; j < z.n; j++)
            _mm512_storeu_ps(t->out + i * t->dim + z.d + j * LANES, o[i][j]);
    }
}

INLINE void values(struct attn_tile *t, int rows)
{
    _Alignas(LINE) int32_t p[ATTN_TILE][ATTN_BLOCK / 2];
    int d = 0;

    for (int i = 0; i < rows; i++)
        for (int j = 0; j < ATTN_BLOCK; j += LANES)
            _mm256_store_si256((void *)(p[i] + j / 2),
                               (__m256i)_mm512_cvtneps_pbh(_mm512_load_ps(t->s[i] + j)));
    for (; d + GROUP * LANES <= t->dim; d += GROUP * LANES)
        strip(t, (struct strip){rows, GROUP, d, p});
    for (; d < t->dim; d += LANES)
        strip(t, (struct strip){rows, 1, d, p});
}

/* clang-format off */
#define BY_ROWS(name, part)                                                                        \
    void name(struct attn_tile *t)                                                                 \
    {                                                                                              \
        switch (t->rows) {                                                                         \
        case 1: part(t, 1); break;                                                                 \
        case 2: part(t, 2); break;                                                                 \
        case 3: part(t, 3); break;                                                                 \
        default: part(t, 4);                                                                       \
        }                                                                                          \
    }
BY_ROWS(attn_scores_avx512bf16, scores)
BY_ROWS(attn_values_avx512bf16, values)
/* clang-format on */
