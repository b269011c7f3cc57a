/* iq4_nl.h - 32 weights in 18 bytes: f16 d | 16 bytes of nibbles as Q4_0;  w = d * value[nibble],
 * values that lie closer to each other near 0 */
#ifndef KERNELS_QUANT_IQ4_NL_H
#define KERNELS_QUANT_IQ4_NL_H

#include "kernels/quant/values.h"

enum { IQ4_NL_BLOCK = 32, IQ4_NL_BYTES = 18 };

QUANT_FN void iq4_nl_ints(const uint8_t *b, int group, struct quant_ints *o)
{
    (void)group;
    quant_set(o, quant_f16(b), QUANT_WHOLE);
    for (int i = 0; i < 32; i++)
        o->q[i] = (int8_t)iq4_value(quant_nibble(b + 2, i));
}

#endif
