/* q8_k.h - 256 weights in 292 bytes: f32 d | int8 q[256] | int16 sums[16], not used;  w = d * q */
#ifndef KERNELS_QUANT_Q8_K_H
#define KERNELS_QUANT_Q8_K_H

#include "kernels/quant/quant.h"

enum { Q8_K_BLOCK = 256, Q8_K_BYTES = 292 };

QUANT_FN void q8_k_ints(const uint8_t *b, int group, struct quant_ints *o)
{
    quant_set(o, quant_f32(quant_u32(b)), QUANT_WHOLE);
    for (int i = 0; i < 32; i++)
        o->q[i] = (int8_t)b[4 + 32 * group + i];
}

#endif
