/* q5_1.h - 32 weights in 24 bytes: f16 d | f16 m | 32 fifth bits | 16 bytes of nibbles;  w = d * q
 * + m */
#ifndef KERNELS_QUANT_Q5_1_H
#define KERNELS_QUANT_Q5_1_H

#include "kernels/quant/quant.h"

enum { Q5_1_BLOCK = 32, Q5_1_BYTES = 24 };

QUANT_FN int q5_1_at(const uint8_t *b, int i)
{
    return quant_nibble(b + 8, i) | quant_bit(b + 4, i) << 4;
}

QUANT_FN void q5_1_ints(const uint8_t *b, int group, struct quant_ints *o)
{
    (void)group;
    quant_set(o, quant_f16(b), QUANT_WHOLE);
    o->m = quant_f16(b + 2);
    o->has_min = 1;
    for (int i = 0; i < 32; i++)
        o->q[i] = (int8_t)q5_1_at(b, i);
}

#endif
