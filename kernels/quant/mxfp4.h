/* mxfp4.h - 32 weights in 17 bytes: e, an exponent of 2 | 16 bytes of nibbles as Q4_0;
 * w = 2^(e - 128) * value[nibble], the values of E2M1 doubled */
#ifndef KERNELS_QUANT_MXFP4_H
#define KERNELS_QUANT_MXFP4_H

#include "kernels/quant/values.h"

enum { MXFP4_BLOCK = 32, MXFP4_BYTES = 17 };

/* 2^(e - 128); the least two are subnormal. */
QUANT_FN float mxfp4_scale(uint32_t e)
{
    return quant_f32(e < 2 ? 0x200000u << e : (e - 1) << 23);
}

QUANT_FN void mxfp4_ints(const uint8_t *b, int group, struct quant_ints *o)
{
    (void)group;
    quant_set(o, mxfp4_scale(b[0]), QUANT_WHOLE);
    for (int i = 0; i < 32; i++)
        o->q[i] = (int8_t)fp4_value(quant_nibble(b + 1, i));
}

#endif
