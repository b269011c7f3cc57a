/* rows_avx512.c - what is done to one row of numbers, 16 lanes at a time, with the bits of the
 * naive definitions (naive.c sums in 16 lanes and folds them in halves). */
#include <float.h>
#include <immintrin.h>
#include <math.h>

#include "kernels/cpu/avx512.h"

enum { LANES = 16 };

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

/* bf16 as half_to_bf16: nearest even, NaN stays NaN. */
static __m256i narrow(__m512 v)
{
    __m512i u = _mm512_castps_si512(v), top = _mm512_srli_epi32(u, 16);
    __mmask16 nan = _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q);
    __m512i odd = _mm512_and_si512(top, _mm512_set1_epi32(1));

    u = _mm512_add_epi32(u, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
    u = _mm512_srli_epi32(u, 16);
    return _mm512_cvtepi32_epi16(_mm512_mask_or_epi32(u, nan, top, _mm512_set1_epi32(64)));
}

static void act_bf16(const float *x, int64_t k, uint16_t *out)
{
    int64_t padded = panel_steps(DT_BF16, k) * panel_format(DT_BF16)->step;

    for (int64_t i = 0; i < padded; i += LANES) {
        int64_t in = k - i < LANES ? k - i : LANES, to = padded - i < LANES ? padded - i : LANES;
        __m512 v = _mm512_maskz_loadu_ps((__mmask16)((1u << in) - 1), x + i);
        _mm256_mask_storeu_epi16(out + i, (__mmask16)((1u << to) - 1), narrow(v));
    }
}

void act_avx512(enum dtype t, const float *x, int64_t k, void *out)
{
    const struct panel_format *f = panel_format(t);

    if (t == DT_BF16) {
        act_bf16(x, k, out);
        return;
    }
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

void rmsnorm_avx512(const float *x, const float *w, int64_t n, float eps, float *y)
{
    __m512 lane = _mm512_setzero_ps();
    int64_t whole = n / LANES * LANES;
    __mmask16 rest = (__mmask16)((1u << (n - whole)) - 1);

    for (int64_t i = 0; i < whole; i += LANES) {
        __m512 v = _mm512_loadu_ps(x + i);
        lane = _mm512_fmadd_ps(v, v, lane);
    }
    __m512 tail = _mm512_maskz_loadu_ps(rest, x + whole);
    lane = _mm512_fmadd_ps(tail, tail, lane);
    __m256 a = _mm256_add_ps(_mm512_castps512_ps256(lane), _mm512_extractf32x8_ps(lane, 1));
    __m128 b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    b = _mm_add_ps(b, _mm_movehl_ps(b, b));
    float sum = _mm_cvtss_f32(_mm_add_ss(b, _mm_movehdup_ps(b)));
    __m512 scale = _mm512_set1_ps(1 / sqrtf(sum / (float)n + eps));
    for (int64_t i = 0; i < whole; i += LANES)
        _mm512_storeu_ps(y + i, _mm512_mul_ps(_mm512_mul_ps(_mm512_loadu_ps(x + i), scale),
                                              _mm512_loadu_ps(w + i)));
    tail = _mm512_mul_ps(_mm512_mul_ps(tail, scale), _mm512_maskz_loadu_ps(rest, w + whole));
    _mm512_mask_storeu_ps(y + whole, rest, tail);
}

/* --- sampling */

/* Logits at x, of which `some` are there; written back only where cleaning changed them. */
static __m512 clean(float *x, __mmask16 some)
{
    const __m512 none = _mm512_set1_ps(-INFINITY);
    __m512 v = _mm512_mask_loadu_ps(none, some, x), old = v;
    v = _mm512_mask_mov_ps(v, _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q), none);
    v = _mm512_min_ps(v, _mm512_set1_ps(FLT_MAX));
    __mmask16 zero = _mm512_cmp_ps_mask(_mm512_abs_ps(v), _mm512_set1_ps(FLT_MIN), _CMP_LT_OQ);
    v = _mm512_mask_mov_ps(v, zero, _mm512_setzero_ps());
    if (_mm512_cmpneq_epi32_mask(_mm512_castps_si512(v), _mm512_castps_si512(old)))
        _mm512_mask_storeu_ps(x, some, v);
    return v;
}

static __mmask16 lanes_left(int64_t n)
{
    return n < LANES ? (__mmask16)((1u << n) - 1) : 0xffff;
}

int64_t settle_avx512(float *logit, int64_t n)
{
    enum { CHUNK = 64 * LANES }; /* only the best chunk is searched for where its maximum is */
    float best = -INFINITY;
    int64_t at = -1;

    for (int64_t first = 0; first < n; first += CHUNK) {
        int64_t end = first + CHUNK < n ? first + CHUNK : n;
        __m512 top = _mm512_set1_ps(-INFINITY);
        for (int64_t i = first; i < end; i += LANES)
            top = _mm512_max_ps(clean(logit + i, lanes_left(end - i)), top);
        float chunk = _mm512_reduce_max_ps(top);
        at = chunk > best ? first : at;
        best = chunk > best ? chunk : best;
    }
    while (at >= 0 && logit[at] != best)
        at++;
    return at;
}

int64_t band_avx512(const struct band *b, float *out, int32_t *id)
{
    const __m512 floor = _mm512_set1_ps(b->floor), ceil = _mm512_set1_ps(b->ceil);
    const __m512i count = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    int64_t k = 0;

    for (int64_t i = 0; i < b->n && k < b->room; i += LANES) {
        __mmask16 in = lanes_left(b->n - i);
        __m512 v = _mm512_maskz_loadu_ps(in, b->logit + i);
        __m512i own = _mm512_add_epi32(count, _mm512_set1_epi32((int)i));
        in = _mm512_mask_cmp_ps_mask(in, v, floor, _CMP_GE_OQ);
        in = _mm512_mask_cmp_ps_mask(in, v, ceil, _CMP_LT_OQ);
        if (!in)
            continue;
        own = b->id ? _mm512_maskz_loadu_epi32(in, b->id + i) : own;
        _mm512_storeu_ps(out + k, _mm512_maskz_compress_ps(in, v));
        _mm512_storeu_si512(id + k, _mm512_maskz_compress_epi32(in, own));
        k += __builtin_popcount(in);
    }
    return k < b->room ? k : b->room;
}
