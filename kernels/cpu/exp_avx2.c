/* exp_avx2.c - what needs 2^x: softmax of attention, gated activations, masses of tokens.
 *
 * Each step is that of cpu_exp2 and of the definitions (naive_attn.c, naive.c, mass.h), so the bits
 * are equal. */
#include <immintrin.h>
#include <math.h>

#include "kernels/cpu/avx2.h"
#include "kernels/cpu/mass.h"

#define INLINE static inline __attribute__((always_inline))

enum { LANES = 8, HALVES = ATTN_BLOCK / LANES };

/* cpu_exp2, step by step. */
INLINE __m256 exp2_8(__m256 x)
{
    static const float c[] = EXP2_POLY;
    __m256 normal = _mm256_cmp_ps(x, _mm256_set1_ps(EXP2_LOW), _CMP_NLT_UQ);
    x = _mm256_min_ps(_mm256_set1_ps(EXP2_HIGH), x); /* of a NaN the second operand stays */
    __m256 t = _mm256_add_ps(x, _mm256_set1_ps(EXP2_ROUND));
    __m256 f = _mm256_sub_ps(x, _mm256_sub_ps(t, _mm256_set1_ps(EXP2_ROUND)));
    __m256 p = _mm256_set1_ps(c[0]);
#pragma GCC unroll 8
    for (int i = 1; i < 7; i++)
        p = _mm256_fmadd_ps(p, f, _mm256_set1_ps(c[i]));
    __m256i n = _mm256_add_epi32(_mm256_slli_epi32(_mm256_castps_si256(t), 23),
                                 _mm256_set1_epi32(127 << 23));
    return _mm256_and_ps(normal, _mm256_mul_ps(p, _mm256_castsi256_ps(n)));
}

INLINE __m256 round_bf16(__m256 v)
{
    __m256i u = _mm256_castps_si256(v);
    __m256i odd = _mm256_and_si256(_mm256_srli_epi32(u, 16), _mm256_set1_epi32(1));
    u = _mm256_add_epi32(u, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
    return _mm256_castsi256_ps(_mm256_and_si256(u, _mm256_set1_epi32((int)0xffff0000)));
}

INLINE __m256 soft_cap(__m256 s, float softcap)
{
    const __m256 c = _mm256_set1_ps(softcap);
    __m256 x = _mm256_mul_ps(_mm256_div_ps(s, c), _mm256_set1_ps(2 * EXP2_LOG2E));

    x = _mm256_add_ps(_mm256_set1_ps(1), exp2_8(x));
    s = _mm256_sub_ps(c, _mm256_div_ps(_mm256_mul_ps(_mm256_set1_ps(2), c), x));
    return _mm256_mul_ps(s, _mm256_set1_ps(EXP2_LOG2E));
}

void attn_softmax_avx2(struct attn_tile *t)
{
    for (int i = 0; i < t->rows; i++) {
        struct attn_state *st = &t->state[i];
        __m256 s[HALVES], sum[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()};
        _Alignas(32) float lane[LANES];
        float top = st->top;
        for (int j = 0; j < HALVES; j++) {
            s[j] = _mm256_load_ps(t->s[i] + j * LANES);
            if (t->softcap != 0)
                s[j] = soft_cap(s[j], t->softcap);
            _mm256_store_ps(t->s[i] + j * LANES, s[j]);
        }
        for (int p = 0; p < ATTN_BLOCK; p++) {
            if (p < t->lo[i] || p >= t->hi[i])
                t->s[i][p] = -INFINITY;
            top = t->s[i][p] > top ? t->s[i][p] : top;
        }
        _mm256_store_ps(lane, exp2_8(_mm256_set1_ps(st->top - top)));
        t->fix[i] = lane[0];
        for (int j = 0; j < HALVES; j++) {
            __m256 p =
                exp2_8(_mm256_sub_ps(_mm256_load_ps(t->s[i] + j * LANES), _mm256_set1_ps(top)));
            sum[j % 2] = _mm256_add_ps(sum[j % 2], p);
            _mm256_store_ps(t->s[i] + j * LANES, t->round_p ? round_bf16(p) : p);
        }
        _mm256_store_ps(lane, _mm256_add_ps(sum[0], sum[1]));
        for (int half = LANES / 2; half > 0; half /= 2)
            for (int k = 0; k < half; k++)
                lane[k] += lane[k + half];
        *st = (struct attn_state){top, st->sum * t->fix[i] + lane[0]};
    }
}

INLINE __m256 act_of(enum act act, __m256 x)
{
    __m256 z = x, one = _mm256_set1_ps(1);

    if (act == ACT_RELU)
        return _mm256_max_ps(x, _mm256_setzero_ps());
    if (act == ACT_GELU_TANH) { /* 0.5 x (1 + tanh u) = x * sigmoid(2 u) */
        __m256 cube = _mm256_mul_ps(_mm256_mul_ps(x, x), x);
        z = _mm256_add_ps(x, _mm256_mul_ps(_mm256_set1_ps(0.044715f), cube));
        z = _mm256_mul_ps(_mm256_set1_ps(2), _mm256_mul_ps(_mm256_set1_ps(0.797884561f), z));
    }
    return _mm256_div_ps(x,
                         _mm256_add_ps(one, exp2_8(_mm256_mul_ps(_mm256_set1_ps(-EXP2_LOG2E), z))));
}

void glu_avx2(const float *gate, const float *up, int64_t n, enum act act, float *y)
{
    int64_t i = 0;

    for (; i + LANES <= n; i += LANES)
        _mm256_storeu_ps(
            y + i, _mm256_mul_ps(act_of(act, _mm256_loadu_ps(gate + i)), _mm256_loadu_ps(up + i)));
    if (i < n) {
        float g[LANES] = {0}, u[LANES] = {0}, out[LANES];
        for (int64_t j = i; j < n; j++) {
            g[j - i] = gate[j];
            u[j - i] = up[j];
        }
        _mm256_storeu_ps(out, _mm256_mul_ps(act_of(act, _mm256_loadu_ps(g)), _mm256_loadu_ps(u)));
        for (int64_t j = i; j < n; j++)
            y[j] = out[j - i];
    }
}

/* cpu_mass of 4 candidates whose 2^x is p. */
INLINE __m256i mass4(__m128 p)
{
    __m256d d = _mm256_add_pd(_mm256_cvtps_pd(p), _mm256_set1_pd(MASS_MAGIC));
    return _mm256_sub_epi64(_mm256_castpd_si256(d), _mm256_set1_epi64x((int64_t)MASS_BITS));
}

INLINE void add_mass(__m256i *sum, __m256 in, __m256i low, __m256i high)
{
    __m256i m = _mm256_castps_si256(in);
    __m256i a = _mm256_cvtepi32_epi64(_mm256_castsi256_si128(m));
    __m256i b = _mm256_cvtepi32_epi64(_mm256_extracti128_si256(m, 1));
    low = _mm256_and_si256(low, a);
    high = _mm256_and_si256(high, b);
    *sum = _mm256_add_epi64(*sum, _mm256_add_epi64(low, high));
}

/* Few vectors have a candidate of the upper levels, and with top_k few have any. */
void masses_avx2(const float *logit, int64_t n, float max, float scale, struct levels *l)
{
    __m256i sum[LEVELS];
    __m256 floor[LEVELS];
    float rest[LANES];

    for (int j = 0; j < LEVELS; j++) {
        sum[j] = _mm256_setzero_si256();
        floor[j] = _mm256_set1_ps(l->floor[j]);
    }
    for (int64_t i = 0; i < n; i += LANES) {
        const float *x = logit + i;
        for (int k = 0; n - i < LANES && k < LANES; k++)
            rest[k] = i + k < n ? x[k] : -INFINITY;
        __m256 v = _mm256_loadu_ps(n - i < LANES ? rest : x);
        v = _mm256_blendv_ps(_mm256_set1_ps(-INFINITY), v,
                             _mm256_cmp_ps(v, _mm256_set1_ps(l->ceil), _CMP_LT_OQ));
        if (!_mm256_movemask_ps(_mm256_cmp_ps(v, floor[LEVELS - 1], _CMP_GE_OQ)))
            continue;
        __m256 p =
            exp2_8(_mm256_mul_ps(_mm256_sub_ps(v, _mm256_set1_ps(max)), _mm256_set1_ps(scale)));
        __m256i low = mass4(_mm256_castps256_ps128(p)), high = mass4(_mm256_extractf128_ps(p, 1));
#pragma GCC unroll 8
        for (int j = LEVELS_HIGH; j < LEVELS; j++)
            add_mass(&sum[j], _mm256_cmp_ps(v, floor[j], _CMP_GE_OQ), low, high);
        if (!_mm256_movemask_ps(_mm256_cmp_ps(v, floor[LEVELS_HIGH - 1], _CMP_GE_OQ)))
            continue;
#pragma GCC unroll 8
        for (int j = 0; j < LEVELS_HIGH; j++)
            add_mass(&sum[j], _mm256_cmp_ps(v, floor[j], _CMP_GE_OQ), low, high);
    }
    for (int j = 0; j < LEVELS; j++) {
        uint64_t lane[4];
        _mm256_storeu_si256((void *)lane, sum[j]);
        l->above[j] = lane[0] + lane[1] + lane[2] + lane[3];
    }
}
