/* q4_0.h - 32 weights in 18 bytes: f16 d | 16 bytes of nibbles;  w = d * (q - 8) */
#ifndef KERNELS_QUANT_Q4_0_H
#define KERNELS_QUANT_Q4_0_H

#include "kernels/quant/quant.h"

enum { Q4_0_BLOCK = 32, Q4_0_BYTES = 18 };

QUANT_FN int q4_0_at(const uint8_t *b, int i)
{
    return quant_nibble(b + 2, i) - 8;
}

QUANT_FN void q4_0_ints(const uint8_t *b, int group, struct quant_ints *o)
{
    (void)group;
    quant_set(o, quant_f16(b), QUANT_WHOLE);
    for (int i = 0; i < 32; i++)
        o->q[i] = (int8_t)q4_0_at(b, i);
}

#endif
