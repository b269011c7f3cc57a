/* q8_1.h - 32 weights in 36 bytes: f16 d | f16 sum, not used | int8 q[32];  w = d * q */
#ifndef KERNELS_QUANT_Q8_1_H
#define KERNELS_QUANT_Q8_1_H

#include "kernels/quant/quant.h"

enum { Q8_1_BLOCK = 32, Q8_1_BYTES = 36 };

QUANT_FN void q8_1_ints(const uint8_t *b, int group, struct quant_ints *o)
{
    (void)group;
    quant_set(o, quant_f16(b), QUANT_WHOLE);
    for (int i = 0; i < 32; i++)
        o->q[i] = (int8_t)b[4 + i];
}

#endif
