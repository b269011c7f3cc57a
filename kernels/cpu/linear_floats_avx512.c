/* linear_floats_avx512.c - f8_e4m3 and nf4 weights without AVX512_BF16: one f32 FMA chain a block,
 * the bits of naive_linear.c. */
#include <immintrin.h>

#include "kernels/cpu/avx512.h"
#include "kernels/quant/nf4.h"

#define INLINE static inline __attribute__((always_inline))
#define LANES  16

enum { UNIT = 1, ROWS = 6, COLS = 4, LINE = 64 };

typedef __m512 vec;

INLINE vec zero(void)
{
    return _mm512_setzero_ps();
}

INLINE vec load(const float *p)
{
    return _mm512_load_ps(p);
}

INLINE void save(float *p, vec v)
{
    _mm512_store_ps(p, v);
}

INLINE vec fma_f32(vec a, vec b, vec c)
{
    return _mm512_fmadd_ps(a, b, c);
}

INLINE vec spread(const void *x)
{
    return _mm512_set1_ps(*(const float *)x);
}

INLINE vec mad(vec acc, vec w, vec x)
{
    return _mm512_fmadd_ps(x, w, acc);
}

INLINE vec scale(enum dtype t, const uint8_t *step, int side)
{
    (void)t, (void)side; /* the only one */
    return _mm512_loadu_ps(step);
}

/* Magnitude and sign, as they are stored, to f16 of 2^-8 times the value. */
INLINE vec f8(__m256i v)
{
    v = _mm256_mullo_epi16(v, _mm256_set1_epi16((short)0x8040));
    v = _mm256_and_si256(v, _mm256_set1_epi16((short)0xbf80));
    return _mm512_mul_ps(_mm512_cvtph_ps(v), _mm512_set1_ps(256));
}

INLINE void widen4(enum dtype t, const uint8_t *step, int q, int side, vec w[4])
{
    (void)side;
    if (t == DT_F8_E4M3) {
        for (int i = 0; i < 2; i++) {
            __m256i v = _mm256_loadu_si256((const void *)(step + LINE + q * 64 + i * 32));
            w[2 * i] = f8(_mm256_and_si256(v, _mm256_set1_epi16(0xff)));
            w[2 * i + 1] = f8(_mm256_srli_epi16(v, 8));
        }
        return;
    }
    __m512i v = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const void *)(step + LINE + q * 32)));
    __m512 table = _mm512_loadu_ps(nf4_value);
    w[0] = _mm512_permutexvar_ps(v, table);
    w[1] = _mm512_permutexvar_ps(_mm512_srli_epi32(v, 8), table);
    w[2] = _mm512_permutexvar_ps(_mm512_srli_epi32(v, 4), table);
    w[3] = _mm512_permutexvar_ps(_mm512_srli_epi32(v, 12), table);
}

#include "kernels/cpu/linear_floats.h"

KERNEL(F8_E4M3, linear_avx512_F8_E4M3)
KERNEL(NF4, linear_avx512_NF4)
