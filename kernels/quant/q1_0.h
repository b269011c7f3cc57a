/* q1_0.h - 128 weights in 18 bytes: f16 d | 128 bits;  w = d where the bit is set, else -d */
#ifndef KERNELS_QUANT_Q1_0_H
#define KERNELS_QUANT_Q1_0_H

#include "kernels/quant/quant.h"

enum { Q1_0_BLOCK = 128, Q1_0_BYTES = 18 };

QUANT_FN void q1_0_ints(const uint8_t *b, int group, struct quant_ints *o)
{
    quant_set(o, quant_f16(b), QUANT_WHOLE);
    for (int i = 0; i < 32; i++)
        o->q[i] = (int8_t)(2 * quant_bit(b + 2 + 4 * group, i) - 1);
}

#endif
