/* linear_floats_avx2.c - f8_e4m3 and nf4 weights with 256-bit registers: one f32 FMA chain a block,
 * the bits of naive_linear.c. */
#include <immintrin.h>

#include "kernels/cpu/avx2.h"
#include "kernels/quant/nf4.h"

#define INLINE static inline __attribute__((always_inline))
#define LANES  8

enum { UNIT = 1, ROWS = 6, COLS = 2, LINE = 64 };

typedef __m256 vec;

INLINE vec zero(void)
{
    return _mm256_setzero_ps();
}

INLINE vec load(const float *p)
{
    return _mm256_load_ps(p);
}

INLINE void save(float *p, vec v)
{
    _mm256_store_ps(p, v);
}

INLINE vec fma_f32(vec a, vec b, vec c)
{
    return _mm256_fmadd_ps(a, b, c);
}

INLINE vec spread(const void *x)
{
    return _mm256_broadcast_ss(x);
}

INLINE vec mad(vec acc, vec w, vec x)
{
    return _mm256_fmadd_ps(x, w, acc);
}

INLINE vec scale(enum dtype t, const uint8_t *step, int side)
{
    (void)t;
    return _mm256_loadu_ps((const float *)(const void *)step + side * LANES);
}

/* Magnitude and sign, as they are stored, to f16 of 2^-8 times the value. */
INLINE vec f8(__m128i v)
{
    v = _mm_mullo_epi16(v, _mm_set1_epi16((short)0x8040));
    v = _mm_and_si128(v, _mm_set1_epi16((short)0xbf80));
    return _mm256_mul_ps(_mm256_cvtph_ps(v), _mm256_set1_ps(256));
}

/* The permutation takes the low 3 bits of its indices, the fourth chooses between two. */
INLINE vec nf4(__m256i i)
{
    __m256 low = _mm256_permutevar8x32_ps(_mm256_loadu_ps(nf4_value), i);
    __m256 high = _mm256_permutevar8x32_ps(_mm256_loadu_ps(nf4_value + LANES), i);

    return _mm256_blendv_ps(low, high, _mm256_castsi256_ps(_mm256_slli_epi32(i, 28)));
}

INLINE void widen4(enum dtype t, const uint8_t *step, int q, int side, vec w[4])
{
    if (t == DT_F8_E4M3) {
        for (int i = 0; i < 2; i++) {
            __m128i v = _mm_loadu_si128((const void *)(step + LINE + q * 64 + i * 32 + side * 16));
            w[2 * i] = f8(_mm_and_si128(v, _mm_set1_epi16(0xff)));
            w[2 * i + 1] = f8(_mm_srli_epi16(v, 8));
        }
        return;
    }
    __m256i v =
        _mm256_cvtepu16_epi32(_mm_loadu_si128((const void *)(step + LINE + q * 32 + side * 16)));
    w[0] = nf4(v);
    w[1] = nf4(_mm256_srli_epi32(v, 8));
    w[2] = nf4(_mm256_srli_epi32(v, 4));
    w[3] = nf4(_mm256_srli_epi32(v, 12));
}

#include "kernels/cpu/linear_floats.h"

KERNEL(F8_E4M3, linear_avx2_F8_E4M3)
KERNEL(NF4, linear_avx2_NF4)
