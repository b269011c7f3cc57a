/* q4_1.h - 32 weights in 20 bytes: f16 d | f16 m | 16 bytes of nibbles;  w = d * q + m */
#ifndef KERNELS_QUANT_Q4_1_H
#define KERNELS_QUANT_Q4_1_H

#include "kernels/quant/quant.h"

enum { Q4_1_BLOCK = 32, Q4_1_BYTES = 20 };

QUANT_FN int q4_1_at(const uint8_t *b, int i)
{
    return quant_nibble(b + 4, i);
}

QUANT_FN void q4_1_ints(const uint8_t *b, int group, struct quant_ints *o)
{
    (void)group;
    quant_set(o, quant_f16(b), QUANT_WHOLE);
    o->m = quant_f16(b + 2);
    o->has_min = 1;
    for (int i = 0; i < 32; i++)
        o->q[i] = (int8_t)q4_1_at(b, i);
}

#endif
