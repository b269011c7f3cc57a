/* tq2_0.h - 256 weights in 66 bytes: 64 bytes of 2-bit fields as Q2_K | f16 d;  w = d * (q - 1) */
#ifndef KERNELS_QUANT_TQ2_0_H
#define KERNELS_QUANT_TQ2_0_H

#include "kernels/quant/quant.h"

enum { TQ2_0_BLOCK = 256, TQ2_0_BYTES = 66 };

QUANT_FN void tq2_0_ints(const uint8_t *b, int group, struct quant_ints *o)
{
    quant_set(o, quant_f16(b + 64), QUANT_WHOLE);
    for (int i = 0; i < 32; i++)
        o->q[i] = (int8_t)(quant_two(b, group, i) - 1);
}

#endif
