/* q5_k.h - 256 weights in 176 bytes: f16 d | f16 dmin | 12 bytes of 6-bit (scale, min) for 8
 * groups of 32 | 32 bytes: bit g of byte i is the fifth bit of weight i of group g | 128 bytes of
 * nibbles as Q4_K;  w = d * scale * q - dmin * min */
#ifndef KERNELS_QUANT_Q5_K_H
#define KERNELS_QUANT_Q5_K_H

#include "kernels/quant/quant.h"

enum { Q5_K_BLOCK = 256, Q5_K_BYTES = 176 };

QUANT_FN int q5_k_at(const uint8_t *b, int group, int i) /* i of the group */
{
    int low = b[48 + group / 2 * 32 + i] >> group % 2 * 4 & 15;
    return low | (b[16 + i] >> group & 1) << 4;
}

QUANT_FN void q5_k_ints(const uint8_t *b, int group, struct quant_ints *o)
{
    int scale, min;
    quant_k_scale(b + 4, group, &scale, &min);
    quant_set(o, quant_f16(b) * (float)scale, QUANT_WHOLE);
    o->m = -(quant_f16(b + 2) * (float)min);
    o->has_min = 1;
    for (int i = 0; i < 32; i++)
        o->q[i] = (int8_t)q5_k_at(b, group, i);
}

#endif
