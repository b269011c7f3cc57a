/* q4_k.h - 256 weights in 144 bytes: f16 d | f16 dmin | 12 bytes of 6-bit (scale, min) for 8
 * groups of 32 | 128 bytes of nibbles, two groups each 32 bytes;  w = d * scale * q - dmin * min */
#ifndef KERNELS_QUANT_Q4_K_H
#define KERNELS_QUANT_Q4_K_H

#include "kernels/quant/quant.h"

enum { Q4_K_BLOCK = 256, Q4_K_BYTES = 144 };

QUANT_FN int q4_k_at(const uint8_t *b, int group, int i) /* i of the group */
{
    return b[16 + group / 2 * 32 + i] >> group % 2 * 4 & 15;
}

QUANT_FN void q4_k_ints(const uint8_t *b, int group, struct quant_ints *o)
{
    int scale, min;
    quant_k_scale(b + 4, group, &scale, &min);
    quant_set(o, quant_f16(b) * (float)scale, QUANT_WHOLE);
    o->m = -(quant_f16(b + 2) * (float)min);
    o->has_min = 1;
    for (int i = 0; i < 32; i++)
        o->q[i] = (int8_t)q4_k_at(b, group, i);
}

#endif
