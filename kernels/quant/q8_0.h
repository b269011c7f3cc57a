/* q8_0.h - 32 weights in 34 bytes: f16 d | int8 q[32];  w = d * q */
#ifndef KERNELS_QUANT_Q8_0_H
#define KERNELS_QUANT_Q8_0_H

#include "kernels/quant/quant.h"

enum { Q8_0_BLOCK = 32, Q8_0_BYTES = 34 };

QUANT_FN int q8_0_at(const uint8_t *b, int i)
{
    return (int8_t)b[2 + i];
}

QUANT_FN void q8_0_ints(const uint8_t *b, int group, struct quant_ints *o)
{
    (void)group;
    quant_set(o, quant_f16(b), QUANT_WHOLE);
    for (int i = 0; i < 32; i++)
        o->q[i] = (int8_t)q8_0_at(b, i);
}

#endif
