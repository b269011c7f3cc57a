/* linear_floats_avx512bf16.c - f8_e4m3 and nf4 weights with vdpbf16ps: 16 outputs x 2 k.
 *
 * f8_e4m3: a code that is stored as magnitude, sign becomes bf16 by one multiplication, which moves
 * both into place, and an exponent of 2^8 times the value; the 8 subnormal magnitudes come from a
 * table, because the instruction takes subnormal bf16 for 0. nf4: the table is all.
 * x is rounded to bf16, as for bf16 weights, and pairs of products are added in the instruction's
 * own order. That is less than what makers of FP8 files do, who round x to FP8, and for nf4 no more
 * than bitsandbytes does, which multiplies in bf16. */
#include <immintrin.h>

#include "kernels/cpu/avx512.h"
#include "kernels/quant/nf4.h"

#define INLINE static inline __attribute__((always_inline))
#define LANES  16

enum { UNIT = 2, ROWS = 6, COLS = 4, LINE = 64 };

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
    return _mm512_castsi512_ps(_mm512_set1_epi32(*(const int32_t *)x));
}

INLINE vec mad(vec acc, vec w, vec x)
{
    return _mm512_dpbf16_ps(acc, (__m512bh)w, (__m512bh)x);
}

INLINE vec scale(enum dtype t, const uint8_t *step, int side)
{
    (void)side; /* the only one */
    return _mm512_mul_ps(_mm512_loadu_ps(step), _mm512_set1_ps(t == DT_F8_E4M3 ? 0x1p-8f : 1));
}

INLINE vec f8(const uint8_t *p)
{
    static const uint16_t small[32] = {/* m / 2, and -m / 2 */
                                       0x0000, 0x8000, 0x3f00, 0xbf00, 0x3f80, 0xbf80,
                                       0x3fc0, 0xbfc0, 0x4000, 0xc000, 0x4020, 0xc020,
                                       0x4040, 0xc040, 0x4060, 0xc060};
    __m512i v = _mm512_cvtepu8_epi16(_mm256_loadu_si256((const void *)p));
    __m512i w = _mm512_mullo_epi16(v, _mm512_set1_epi16((short)0x8008));
    __mmask32 is_small = _mm512_testn_epi16_mask(v, _mm512_set1_epi16(0xf0));

    w = _mm512_ternarylogic_epi32(w, _mm512_set1_epi16((short)0x87f0), _mm512_set1_epi16(0x4000),
                                  0xea); /* (w & ..) | .. */
    w = _mm512_mask_permutexvar_epi16(w, is_small, v, _mm512_loadu_si512(small));
    return _mm512_castsi512_ps(w);
}

/* Indices count modulo 32, so what lies above the low nibble chooses between two equal halves. */
INLINE vec nf4(__m512i v)
{
    __m256i short16 = _mm512_cvtepi32_epi16(_mm512_srli_epi32(_mm512_loadu_si512(nf4_short), 16));
    __m512i table = _mm512_broadcast_i64x4(short16);

    return _mm512_castsi512_ps(_mm512_permutexvar_epi16(v, table));
}

INLINE void widen4(enum dtype t, const uint8_t *step, int q, int side, vec w[2])
{
    const uint8_t *p = step + LINE + q * (t == DT_F8_E4M3 ? 64 : 32);

    (void)side;
    if (t == DT_F8_E4M3) {
        w[0] = f8(p);
        w[1] = f8(p + 32);
        return;
    }
    __m512i v = _mm512_cvtepu8_epi16(_mm256_loadu_si256((const void *)p));
    w[0] = nf4(v);
    w[1] = nf4(_mm512_srli_epi16(v, 4));
}

#include "kernels/cpu/linear_floats.h"

KERNEL(F8_E4M3, linear_avx512bf16_F8_E4M3)
KERNEL(NF4, linear_avx512bf16_NF4)

void act_avx512bf16(enum dtype t, const float *x, int64_t k, void *out)
{
    act_avx512(t == DT_F8_E4M3 || t == DT_NF4 ? DT_BF16 : t, x, k, out);
}
