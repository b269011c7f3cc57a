/* exp_avx512.c - what needs 2^x: softmax of attention, gated activations, masses of tokens.
 *
 * Each step is that of cpu_exp2 and of the definitions (naive_attn.c, naive.c, mass.h), so the bits
 * are equal. */
#include <immintrin.h>
#include <math.h>

#include "kernels/cpu/avx512.h"
#include "kernels/cpu/mass.h"

#define INLINE static inline __attribute__((always_inline))

enum { LANES = 16 };

/* cpu_exp2, step by step. */
INLINE __m512 exp2_16(__m512 x)
{
    static const float c[] = EXP2_POLY;
    __mmask16 normal = _mm512_cmp_ps_mask(x, _mm512_set1_ps(EXP2_LOW), _CMP_NLT_UQ);
    x = _mm512_min_ps(_mm512_set1_ps(EXP2_HIGH), x); /* of a NaN the second operand stays */
    __m512 n = _mm512_roundscale_ps(x, 0), f = _mm512_sub_ps(x, n), p = _mm512_set1_ps(c[0]);
#pragma GCC unroll 8
    for (int i = 1; i < 7; i++)
        p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(c[i]));
    return _mm512_maskz_scalef_ps(normal, p, n);
}

/* Lanes folded in halves: 8, 4, 2, 1. */
INLINE float fold(__m512 v)
{
    __m256 a = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
    __m128 b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    b = _mm_add_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_add_ss(b, _mm_movehdup_ps(b)));
}

/* To bf16, nearest even, and back. Not for NaN, which stays NaN here (p is never negative). */
INLINE __m512 round_bf16(__m512 v)
{
    __m512i u = _mm512_castps_si512(v);
    __m512i odd = _mm512_and_si512(_mm512_srli_epi32(u, 16), _mm512_set1_epi32(1));
    u = _mm512_add_epi32(u, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
    u = _mm512_and_si512(u, _mm512_set1_epi32((int)0xffff0000));
    return _mm512_castsi512_ps(u);
}

void attn_softmax_avx512(struct attn_tile *t)
{
    const __m512 c = _mm512_set1_ps(t->softcap);

    for (int i = 0; i < t->rows; i++) {
        uint64_t see = 0; /* positions [lo, hi) of the block; lo may be 64 */
        struct attn_state *st = &t->state[i];
        __m512 s[ATTN_PAGES], sum = _mm512_setzero_ps(), top16 = _mm512_set1_ps(st->top);
        if (t->lo[i] < t->hi[i])
            see = (t->hi[i] >= 64 ? ~0ull : (1ull << t->hi[i]) - 1) & ~0ull << t->lo[i];
        for (int j = 0; j < ATTN_PAGES; j++) {
            s[j] = _mm512_load_ps(t->s[i] + j * LANES);
            if (t->softcap != 0) { /* c * tanh(s / c), then to base 2 */
                __m512 x = _mm512_mul_ps(_mm512_div_ps(s[j], c), _mm512_set1_ps(2 * EXP2_LOG2E));
                x = _mm512_add_ps(_mm512_set1_ps(1), exp2_16(x));
                s[j] = _mm512_sub_ps(c, _mm512_div_ps(_mm512_mul_ps(_mm512_set1_ps(2), c), x));
                s[j] = _mm512_mul_ps(s[j], _mm512_set1_ps(EXP2_LOG2E));
            }
            s[j] = _mm512_mask_blend_ps((__mmask16)(see >> LANES * j), _mm512_set1_ps(-INFINITY),
                                        s[j]);
            top16 = _mm512_max_ps(s[j], top16);
        }
        float top = _mm512_reduce_max_ps(top16);
        float fix = _mm512_cvtss_f32(exp2_16(_mm512_set1_ps(st->top - top)));
        for (int j = 0; j < ATTN_PAGES; j++) {
            __m512 p = exp2_16(_mm512_sub_ps(s[j], _mm512_set1_ps(top)));
            sum = _mm512_add_ps(sum, p);
            _mm512_store_ps(t->s[i] + j * LANES, t->round_p ? round_bf16(p) : p);
        }
        t->fix[i] = fix;
        *st = (struct attn_state){top, st->sum * fix + fold(sum)};
    }
}

INLINE __m512 act_of(enum act act, __m512 x)
{
    __m512 z = x, one = _mm512_set1_ps(1);

    if (act == ACT_RELU)
        return _mm512_max_ps(x, _mm512_setzero_ps());
    if (act == ACT_GELU_TANH) { /* 0.5 x (1 + tanh u) = x * sigmoid(2 u) */
        __m512 cube = _mm512_mul_ps(_mm512_mul_ps(x, x), x);
        z = _mm512_add_ps(x, _mm512_mul_ps(_mm512_set1_ps(0.044715f), cube));
        z = _mm512_mul_ps(_mm512_set1_ps(2), _mm512_mul_ps(_mm512_set1_ps(0.797884561f), z));
    }
    return _mm512_div_ps(
        x, _mm512_add_ps(one, exp2_16(_mm512_mul_ps(_mm512_set1_ps(-EXP2_LOG2E), z))));
}

void glu_avx512(const float *gate, const float *up, int64_t n, enum act act, float *y)
{
    int64_t i = 0;

    for (; i + LANES <= n; i += LANES)
        _mm512_storeu_ps(
            y + i, _mm512_mul_ps(act_of(act, _mm512_loadu_ps(gate + i)), _mm512_loadu_ps(up + i)));
    if (i < n) {
        float g[LANES] = {0}, u[LANES] = {0}, out[LANES];
        for (int64_t j = i; j < n; j++) {
            g[j - i] = gate[j];
            u[j - i] = up[j];
        }
        _mm512_storeu_ps(out, _mm512_mul_ps(act_of(act, _mm512_loadu_ps(g)), _mm512_loadu_ps(u)));
        for (int64_t j = i; j < n; j++)
            y[j] = out[j - i];
    }
}

/* cpu_mass of 16 candidates, in two halves. */
INLINE void mass16(__m512 v, float max, float scale, __m512i *low, __m512i *high)
{
    const __m512d magic = _mm512_set1_pd(MASS_MAGIC);
    const __m512i bits = _mm512_set1_epi64((int64_t)MASS_BITS);
    v = _mm512_mul_ps(_mm512_sub_ps(v, _mm512_set1_ps(max)), _mm512_set1_ps(scale));
    v = exp2_16(v);
    __m512d a = _mm512_cvtps_pd(_mm512_castps512_ps256(v));
    __m512d b = _mm512_cvtps_pd(_mm512_extractf32x8_ps(v, 1));
    *low = _mm512_sub_epi64(_mm512_castpd_si512(_mm512_add_pd(a, magic)), bits);
    *high = _mm512_sub_epi64(_mm512_castpd_si512(_mm512_add_pd(b, magic)), bits);
}

INLINE void add_mass(__m512i *sum, __mmask16 in, __m512i low, __m512i high)
{
    *sum = _mm512_mask_add_epi64(*sum, (__mmask8)in, *sum, low);
    *sum = _mm512_mask_add_epi64(*sum, (__mmask8)(in >> 8), *sum, high);
}

/* Few vectors have a candidate of the upper levels, and with top_k few have any. */
void masses_avx512(const float *logit, int64_t n, float max, float scale, struct levels *l)
{
    __m512i sum[LEVELS], low, high;
    __m512 floor[LEVELS];

    for (int j = 0; j < LEVELS; j++) {
        sum[j] = _mm512_setzero_si512();
        floor[j] = _mm512_set1_ps(l->floor[j]);
    }
    for (int64_t i = 0; i < n; i += LANES) {
        __mmask16 some = n - i < LANES ? (__mmask16)((1u << (n - i)) - 1) : 0xffff;
        __m512 v = _mm512_mask_loadu_ps(_mm512_set1_ps(-INFINITY), some, logit + i);
        v = _mm512_mask_mov_ps(_mm512_set1_ps(-INFINITY),
                               _mm512_cmp_ps_mask(v, _mm512_set1_ps(l->ceil), _CMP_LT_OQ), v);
        if (!_mm512_cmp_ps_mask(v, floor[LEVELS - 1], _CMP_GE_OQ))
            continue;
        mass16(v, max, scale, &low, &high);
#pragma GCC unroll 8
        for (int j = LEVELS_HIGH; j < LEVELS; j++)
            add_mass(&sum[j], _mm512_cmp_ps_mask(v, floor[j], _CMP_GE_OQ), low, high);
        if (!_mm512_cmp_ps_mask(v, floor[LEVELS_HIGH - 1], _CMP_GE_OQ))
            continue;
#pragma GCC unroll 8
        for (int j = 0; j < LEVELS_HIGH; j++)
            add_mass(&sum[j], _mm512_cmp_ps_mask(v, floor[j], _CMP_GE_OQ), low, high);
    }
    for (int j = 0; j < LEVELS; j++)
        l->above[j] = (uint64_t)_mm512_reduce_add_epi64(sum[j]);
}
