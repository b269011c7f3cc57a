/* quant.h - what the block formats of kernels/quant/ have in common, for host and device code.
 *
 * Every format is read in groups of 32 weights: w = d * q + m with small integers q. That one view
 * serves the decoder (w as floats) and the int8 kernels (exact integer sums, then d and m). The
 * bytes of a block are foreign and need no alignment, so they are read one by one. */
#ifndef KERNELS_QUANT_QUANT_H
#define KERNELS_QUANT_QUANT_H

#include <stdint.h>

#include "kernels/half.h"

#ifdef __CUDACC__ /* whoever compiles this with nvcc has included cuda_fp16.h */
#define QUANT_FN         static __host__ __device__ inline
#define QUANT_HALF(bits) __half2float(__ushort_as_half(bits))
#else
#define QUANT_FN         static inline
#define QUANT_HALF(bits) half_f16(bits)
#endif

enum { QUANT_GROUP = 32 };

/* How the products of a group meet its scales, see naive_linear.c. */
enum quant_sum {
    QUANT_WHOLE,  /* one scale, sc[0] == sc[1]: d * sc weighs the sum of 32 */
    QUANT_HALVES, /* sc weigh the exact sums of 16, d what they add up to: below 2^24 */
    QUANT_APART,  /* d * sc weigh the sums of 16 one after the other: sc may be large */
};

/* 32 weights: w[i] = (d * sc[i / 16]) * q[i] + m * mn[i / 16]. Formats without a minimum have m =
 * -0.0f, which changes no sum (x + -0.0 is x for every x), and has_min 0: their kernels leave it
 * out. */
struct quant_ints {
    int8_t q[QUANT_GROUP];
    int sc[2], mn[2];
    float d, m;
    int has_min;
    enum quant_sum sum;
};

/* All but q, of a group with no minimum and no scale but d. */
QUANT_FN void quant_set(struct quant_ints *o, float d, enum quant_sum sum)
{
    o->sc[0] = o->sc[1] = o->mn[0] = o->mn[1] = 1;
    o->d = d;
    o->m = -0.0f;
    o->has_min = 0;
    o->sum = sum;
}

QUANT_FN float quant_f16(const uint8_t *p)
{
    return QUANT_HALF((uint16_t)(p[0] | p[1] << 8));
}

QUANT_FN int quant_u16(const uint8_t *p)
{
    return p[0] | p[1] << 8;
}

QUANT_FN uint32_t quant_u32(const uint8_t *p)
{
    return (uint32_t)quant_u16(p) | (uint32_t)quant_u16(p + 2) << 16;
}

QUANT_FN float quant_f32(uint32_t bits)
{
    union {
        uint32_t u;
        float f;
    } v = {bits};
    return v.f;
}

/* Element i of 32 from 16 bytes of nibbles: bytes hold i in their low and i + 16 in their high
 * half. */
QUANT_FN int quant_nibble(const uint8_t *qs, int i)
{
    return i < 16 ? qs[i] & 15 : qs[i - 16] >> 4;
}

/* Bit i of 32, as Q5_0 and Q5_1 keep the fifth bits. */
QUANT_FN int quant_bit(const uint8_t *qh, int i)
{
    return qh[i / 8] >> i % 8 & 1;
}

/* 2 bits of element i of group g (0..7) from 64 bytes, as Q2_K, Q3_K and TQ2_0 keep them. */
QUANT_FN int quant_two(const uint8_t *qs, int g, int i)
{
    return qs[g / 4 * 32 + i] >> g % 4 * 2 & 3;
}

/* Scale and minimum of group g (0..7) from the 12 bytes of 6-bit fields in Q4_K and Q5_K. */
QUANT_FN void quant_k_scale(const uint8_t *s, int g, int *scale, int *min)
{
    if (g < 4) {
        *scale = s[g] & 63;
        *min = s[g + 4] & 63;
    } else {
        *scale = (s[g + 4] & 15) | (s[g - 4] >> 6) << 4;
        *min = s[g + 4] >> 4 | (s[g] >> 6) << 4;
    }
}

#endif
