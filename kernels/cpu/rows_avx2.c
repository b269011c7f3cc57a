/* rows_avx2.c - what is done to one row of numbers, with the bits of the naive definitions. */
#include <immintrin.h>

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
        quantize(x + i, f->zero, t == DT_Q6_K, b++);
    for (int64_t i = k; i < padded; i += ACT_GROUP)
        *b++ = (struct act_group){.d = 0};
}
