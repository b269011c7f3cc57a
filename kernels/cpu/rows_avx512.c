/* rows_avx512.c - what is done to one row of numbers, 16 lanes at a time, with the bits of the
 * naive definitions (naive.c sums in 16 lanes and folds them in halves). */
#include <immintrin.h>

#include "kernels/cpu/avx512.h"

/* 32 activations at x, see panel.h. NaN counts for nothing in the maximum and becomes 0. */
static void quantize(const float *x, int zero, bool halves, struct act_group *b)
{
    __m512 u = _mm512_loadu_ps(x), v = _mm512_loadu_ps(x + 16);
    __m512 top16 =
        _mm512_max_ps(_mm512_abs_ps(v), _mm512_max_ps(_mm512_abs_ps(u), _mm512_setzero_ps()));
    float top = _mm512_reduce_max_ps(top16), scale = top >= 0x1p-100f ? 127 / top : 0;
    __m512 scale16 = _mm512_set1_ps(scale);
    __m512i p = _mm512_cvtps_epi32(_mm512_mul_ps(u, scale16));
    __m512i q = _mm512_cvtps_epi32(_mm512_mul_ps(v, scale16));
    int low = _mm512_reduce_add_epi32(p), high = _mm512_reduce_add_epi32(q);

    _mm_storeu_si128((void *)b->q, _mm512_cvtepi32_epi8(p));
    _mm_storeu_si128((void *)(b->q + 16), _mm512_cvtepi32_epi8(q));
    b->d = scale > 0 ? top / 127 : 0;
    b->ds = b->d * (float)(low + high);
    b->z[0] = -zero * (halves ? low : low + high);
    b->z[1] = halves ? -zero * high : 0;
}

void act_avx512(enum dtype t, const float *x, int64_t k, void *out)
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
