/* f8_e4m3.h - 64 weights in 68 bytes: f32 d | 64 codes of 8 bits: sign, 4 bits of exponent (bias
 * 7), 3 bits;  w = d * value, rounded once
 *
 * Files have no such block: engine/load makes it of FP8 weights and their scales. The value is that
 * of an f16 with these bits in its middle, 2^8 times as large; 0x7f, no number, would read as 480.
 */
#ifndef KERNELS_QUANT_F8_E4M3_H
#define KERNELS_QUANT_F8_E4M3_H

#include "kernels/quant/quant.h"

enum { F8_E4M3_BLOCK = 64, F8_E4M3_BYTES = 68 };

QUANT_FN float f8_e4m3_value(int x)
{
    return QUANT_HALF((uint16_t)((x & 0x80) << 8 | (x & 0x7f) << 7)) * 256;
}

/* The code of a number of at most 448, rounded to nearest, ties to even. */
static inline int f8_e4m3_code(float v)
{
    union {
        float f;
        uint32_t u;
    } x = {v};
    int sign = (int)(x.u >> 24 & 0x80);
    x.u &= 0x7fffffff;
    if (x.f < 0x1p-6f) { /* whole numbers of 2^-9: the last bit of a float from 2^14 on */
        x.f += 0x1p14f;
        return sign | (int)(x.u & 15);
    }
    return sign | (int)(((x.u + 0x7ffff + (x.u >> 20 & 1)) >> 20) - (120 << 3));
}

#endif
