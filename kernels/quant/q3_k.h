/* q3_k.h - 256 weights in 110 bytes: 32 bytes of third bits | 64 bytes of 2-bit fields as Q2_K | 12
 * bytes of 6-bit scales, one for each 16 weights | f16 d;  w = d * (scale - 32) * q
 *
 * Bit g of byte i is the third bit of weight i of group g; where it is 0, q is 4 less. Scale j has
 * its low 4 bits in nibble j / 8 of byte j % 8, its high 2 in bits 2 (j / 4) of byte 8 + j % 4. */
#ifndef KERNELS_QUANT_Q3_K_H
#define KERNELS_QUANT_Q3_K_H

#include "kernels/quant/quant.h"

enum { Q3_K_BLOCK = 256, Q3_K_BYTES = 110 };

QUANT_FN int q3_k_scale(const uint8_t *s, int j)
{
    return ((s[j % 8] >> j / 8 * 4 & 15) | (s[8 + j % 4] >> j / 4 * 2 & 3) << 4) - 32;
}

QUANT_FN void q3_k_ints(const uint8_t *b, int group, struct quant_ints *o)
{
    quant_set(o, quant_f16(b + 108), QUANT_HALVES);
    for (int h = 0; h < 2; h++)
        o->sc[h] = q3_k_scale(b + 96, 2 * group + h);
    for (int i = 0; i < 32; i++)
        o->q[i] = (int8_t)(quant_two(b + 32, group, i) - (b[i] >> group & 1 ? 0 : 4));
}

#endif
