/* q5_0.h - 32 weights in 22 bytes: f16 d | 32 fifth bits | 16 bytes of nibbles;  w = d * (q - 16)
 */
#ifndef KERNELS_QUANT_Q5_0_H
#define KERNELS_QUANT_Q5_0_H

#include "kernels/quant/quant.h"

enum { Q5_0_BLOCK = 32, Q5_0_BYTES = 22 };

QUANT_FN int q5_0_at(const uint8_t *b, int i)
{
    return (quant_nibble(b + 6, i) | quant_bit(b + 2, i) << 4) - 16;
}

QUANT_FN void q5_0_ints(const uint8_t *b, int group, struct quant_ints *o)
{
    (void)group;
    quant_set(o, quant_f16(b), QUANT_WHOLE);
    for (int i = 0; i < 32; i++)
        o->q[i] = (int8_t)q5_0_at(b, i);
}

#endif
