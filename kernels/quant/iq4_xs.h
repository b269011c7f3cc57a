/* iq4_xs.h - 256 weights in 136 bytes: f16 d | 16 bits: 2 high bits of each group's scale | 4
 * bytes: 4 low bits of each | 8 groups of 16 bytes of nibbles as Q4_0;  w = d * (scale - 32) *
 * value[nibble] with the values of IQ4_NL */
#ifndef KERNELS_QUANT_IQ4_XS_H
#define KERNELS_QUANT_IQ4_XS_H

#include "kernels/quant/values.h"

enum { IQ4_XS_BLOCK = 256, IQ4_XS_BYTES = 136 };

QUANT_FN void iq4_xs_ints(const uint8_t *b, int group, struct quant_ints *o)
{
    int low = b[4 + group / 2] >> group % 2 * 4 & 15, high = quant_u16(b + 2) >> 2 * group & 3;
    quant_set(o, quant_f16(b), QUANT_WHOLE);
    o->sc[0] = o->sc[1] = (low | high << 4) - 32;
    for (int i = 0; i < 32; i++)
        o->q[i] = (int8_t)iq4_value(quant_nibble(b + 8 + 16 * group, i));
}

#endif
