/* tq1_0.h - 256 weights in 54 bytes: 48 bytes of five ternary digits | 4 bytes of four | f16 d; w
 * = d * (digit - 1)
 *
 * A byte is the number 0.d0 d1 d2 d3 d4 in base 3, scaled to 256: digit n is what stands before
 * the point after multiplying by 3^n modulo 256, then by 3. Weights 0-159 are digits 0-4 of the
 * first 32 bytes, 160-239 those of the next 16, 240-255 digits 0-3 of the last 4. */
#ifndef KERNELS_QUANT_TQ1_0_H
#define KERNELS_QUANT_TQ1_0_H

#include "kernels/quant/quant.h"

enum { TQ1_0_BLOCK = 256, TQ1_0_BYTES = 54 };

QUANT_FN int tq1_0_at(const uint8_t *b, int i) /* i of the block */
{
    int width = i < 160 ? 32 : i < 240 ? 16 : 4, at = i < 160 ? 0 : i < 240 ? 32 : 48;
    int j = i - (i < 160 ? 0 : i < 240 ? 160 : 240);
    unsigned v = b[at + j % width];
    for (int n = j / width; n > 0; n--)
        v *= 3;
    return (int)((v & 255) * 3 >> 8) - 1;
}

QUANT_FN void tq1_0_ints(const uint8_t *b, int group, struct quant_ints *o)
{
    quant_set(o, quant_f16(b + 52), QUANT_WHOLE);
    for (int i = 0; i < 32; i++)
        o->q[i] = (int8_t)tq1_0_at(b, 32 * group + i);
}

#endif
