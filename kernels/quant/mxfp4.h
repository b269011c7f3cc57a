/* mxfp4.h - 32 weights in 17 bytes: e, an exponent of 2 | 16 bytes of nibbles as Q4_0;
 * w = 2^(e - 128) * value[nibble], the values of E2M1 doubled */
#ifndef KERNELS_QUANT_MXFP4_H
#define KERNELS_QUANT_MXFP4_H

#include "kernels/quant/values.h"

enum { MXFP4_BLOCK = 32, MXFP4_BYTES = 17 };

QUANT_FN void mxfp4_ints(const uint8_t *b, int group, struct quant_ints *o)
{
    uint32_t bits = b[0] < 2 ? 0x200000u << b[0] : (b[0] - 1u) << 23; /* the least are subnormal */
    (void)group;
    quant_set(o, quant_f32(bits), QUANT_WHOLE);
    for (int i = 0; i < 32; i++)
        o->q[i] = (int8_t)fp4_value(quant_nibble(b + 1, i));
}

#endif
