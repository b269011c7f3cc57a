/* rows_avx2.c - what is done to one row of numbers, with the bits of the naive definitions. */
#include <float.h>
#include <immintrin.h>
#include <math.h>

#include "kernels/cpu/avx2.h"

enum { LANES = 8, PARTS = ACT_GROUP / LANES };

/* 32 activations at x, see panel.h. NaN counts for nothing in the maximum and becomes 0. */
static void quantize(const float *x, int zero, bool halves, struct act_group *b)
{
    const __m256 sign = _mm256_set1_ps(-0.0f);
    __m256 v[PARTS], top8 = _mm256_setzero_ps();
    _Alignas(32) int32_t q[ACT_GROUP];
    _Alignas(32) float tops[LANES];
    float top = 0;
    int low = 0, high = 0;

    for (int i = 0; i < PARTS; i++) {
        v[i] = _mm256_loadu_ps(x + i * LANES);
        top8 = _mm256_max_ps(_mm256_andnot_ps(sign, v[i]), top8);
    }
    _mm256_store_ps(tops, top8);
    for (int i = 0; i < LANES; i++)
        top = tops[i] > top ? tops[i] : top;
    float scale = top >= 0x1p-100f ? 127 / top : 0;
    for (int i = 0; i < PARTS; i++)
        _mm256_store_si256((void *)(q + i * LANES),
                           _mm256_cvtps_epi32(_mm256_mul_ps(v[i], _mm256_set1_ps(scale))));
    for (int i = 0; i < ACT_GROUP / 2; i++) {
        low += q[i];
        high += q[i + ACT_GROUP / 2];
    }
    for (int i = 0; i < ACT_GROUP; i++)
        b->q[i] = (int8_t)q[i];
    b->d = scale > 0 ? top / 127 : 0;
    b->ds = b->d * (float)(low + high);
    b->z[0] = -zero * (halves ? low : low + high);
    b->z[1] = halves ? -zero * high : 0;
}

void act_avx2(enum dtype t, const float *x, int64_t k, void *out)
{
    const struct panel_format *f = panel_format(t);

    if (!f->pair) {
        act_pack(t, x, k, out);
        return;
    }
    struct act_group *b = out;
    int64_t padded = panel_steps(t, k) * f->step;
    for (int64_t i = 0; i < k; i += ACT_GROUP)
        quantize(x + i, act_zero(f), f->sum != QUANT_WHOLE, b++);
    for (int64_t i = k; i < padded; i += ACT_GROUP)
        *b++ = (struct act_group){.d = 0};
}

void rmsnorm_avx2(const float *x, const float *w, int64_t n, float eps, float *y)
{
    __m256 a = _mm256_setzero_ps(), b = a; /* lanes 0-7 and 8-15 of the definition */
    _Alignas(32) float lane[2 * LANES];
    int64_t whole = n / (2 * LANES) * (2 * LANES), i;

    for (i = 0; i < whole; i += 2 * LANES) {
        __m256 u = _mm256_loadu_ps(x + i), v = _mm256_loadu_ps(x + i + LANES);
        a = _mm256_fmadd_ps(u, u, a);
        b = _mm256_fmadd_ps(v, v, b);
    }
    _mm256_store_ps(lane, a);
    _mm256_store_ps(lane + LANES, b);
    for (; i < n; i++)
        lane[i - whole] = fmaf(x[i], x[i], lane[i - whole]);
    for (int half = LANES; half > 0; half /= 2)
        for (int j = 0; j < half; j++)
            lane[j] += lane[j + half];
    float scale = 1 / sqrtf(lane[0] / (float)n + eps);
    for (i = 0; i + LANES <= n; i += LANES)
        _mm256_storeu_ps(y + i,
                         _mm256_mul_ps(_mm256_mul_ps(_mm256_loadu_ps(x + i), _mm256_set1_ps(scale)),
                                       _mm256_loadu_ps(w + i)));
    for (; i < n; i++)
        y[i] = x[i] * scale * w[i];
}

void add_avx2(const float *a, const float *b, int64_t n, float *y)
{
    int64_t i = 0;

    for (; i + LANES <= n; i += LANES)
        _mm256_storeu_ps(y + i, _mm256_add_ps(_mm256_loadu_ps(a + i), _mm256_loadu_ps(b + i)));
    for (; i < n; i++)
        y[i] = a[i] + b[i];
}

/* Pairs (i, i + n) or (2 i, 2 i + 1) turned; each product and sum is rounded, as defined. */
void rope_avx2(float *x, const float *cos, const float *sin, int n, bool neox)
{
    const __m256i twice = _mm256_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3);
    int i = 0, step = neox ? n : 1, pair = neox ? 1 : 2;

    for (; neox && i + LANES <= n; i += LANES) {
        __m256 u = _mm256_loadu_ps(x + i), v = _mm256_loadu_ps(x + n + i);
        __m256 c = _mm256_loadu_ps(cos + i), s = _mm256_loadu_ps(sin + i);
        _mm256_storeu_ps(x + i, _mm256_sub_ps(_mm256_mul_ps(u, c), _mm256_mul_ps(v, s)));
        _mm256_storeu_ps(x + n + i, _mm256_add_ps(_mm256_mul_ps(v, c), _mm256_mul_ps(u, s)));
    }
    for (; !neox && i + LANES / 2 <= n; i += LANES / 2) {
        __m256 v = _mm256_loadu_ps(x + 2 * i), other = _mm256_permute_ps(v, 0xb1);
        __m256 c = _mm256_castps128_ps256(_mm_loadu_ps(cos + i));
        __m256 s = _mm256_castps128_ps256(_mm_loadu_ps(sin + i));
        v = _mm256_mul_ps(v, _mm256_permutevar8x32_ps(c, twice));
        other = _mm256_mul_ps(other, _mm256_permutevar8x32_ps(s, twice));
        _mm256_storeu_ps(x + 2 * i, _mm256_addsub_ps(v, other));
    }
    for (; i < n; i++) {
        float *p = x + i * pair, u = p[0], v = p[step];
        p[0] = u * cos[i] - v * sin[i];
        p[step] = v * cos[i] + u * sin[i];
    }
}

/* --- sampling */

/* Logits at x; written back only where cleaning changed them. */
static __m256 clean(float *x)
{
    __m256 v = _mm256_loadu_ps(x), old = v, none = _mm256_set1_ps(-INFINITY);
    v = _mm256_blendv_ps(v, none, _mm256_cmp_ps(v, v, _CMP_UNORD_Q));
    v = _mm256_min_ps(v, _mm256_set1_ps(FLT_MAX));
    __m256 size = _mm256_andnot_ps(_mm256_set1_ps(-0.0f), v);
    v = _mm256_andnot_ps(_mm256_cmp_ps(size, _mm256_set1_ps(FLT_MIN), _CMP_LT_OQ), v);
    __m256i same = _mm256_cmpeq_epi32(_mm256_castps_si256(v), _mm256_castps_si256(old));
    if (_mm256_movemask_epi8(same) != -1)
        _mm256_storeu_ps(x, v);
    return v;
}

int64_t settle_avx2(float *logit, int64_t n)
{
    enum { CHUNK = 128 * LANES }; /* only the best chunk is searched for where its maximum is */
    int64_t whole = n / LANES * LANES, at = -1;
    int64_t rest = settle_scalar(logit + whole, n - whole);
    float best = -INFINITY;

    for (int64_t first = 0; first < whole; first += CHUNK) {
        int64_t end = first + CHUNK < whole ? first + CHUNK : whole;
        __m256 top = _mm256_set1_ps(-INFINITY);
        float lane[LANES], chunk = -INFINITY;
        for (int64_t i = first; i < end; i += LANES)
            top = _mm256_max_ps(clean(logit + i), top);
        _mm256_storeu_ps(lane, top);
        for (int k = 0; k < LANES; k++)
            chunk = lane[k] > chunk ? lane[k] : chunk;
        at = chunk > best ? first : at;
        best = chunk > best ? chunk : best;
    }
    if (rest >= 0 && logit[whole + rest] > best)
        return whole + rest;
    while (at >= 0 && logit[at] != best)
        at++;
    return at;
}

/* Vectors without a candidate, nearly all, cost two compares. */
int64_t band_avx2(const struct band *b, float *out, int32_t *id)
{
    const __m256 floor = _mm256_set1_ps(b->floor), ceil = _mm256_set1_ps(b->ceil);
    int64_t k = 0;

    for (int64_t i = 0; i < b->n && k < b->room; i += LANES) {
        unsigned in = (1u << (b->n - i < LANES ? b->n - i : LANES)) - 1;
        if (b->n - i >= LANES) {
            __m256 v = _mm256_loadu_ps(b->logit + i);
            in = (unsigned)_mm256_movemask_ps(_mm256_and_ps(_mm256_cmp_ps(v, floor, _CMP_GE_OQ),
                                                            _mm256_cmp_ps(v, ceil, _CMP_LT_OQ)));
        }
        for (; in && k < b->room; in &= in - 1) {
            int64_t at = i + __builtin_ctz(in);
            float l = b->logit[at];
            if (!(l >= b->floor && l < b->ceil))
                continue;
            id[k] = b->id ? b->id[at] : (int32_t)at;
            out[k++] = l;
        }
    }
    return k;
}
