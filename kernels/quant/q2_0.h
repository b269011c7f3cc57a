/* q2_0.h - 64 weights in 18 bytes: f16 d | 16 bytes of 2-bit fields, four neighbours a byte, the
 * lowest bits first;  w = d * (q - 1) */
#ifndef KERNELS_QUANT_Q2_0_H
#define KERNELS_QUANT_Q2_0_H

#include "kernels/quant/quant.h"

enum { Q2_0_BLOCK = 64, Q2_0_BYTES = 18 };

QUANT_FN void q2_0_ints(const uint8_t *b, int group, struct quant_ints *o)
{
    quant_set(o, quant_f16(b), QUANT_WHOLE);
    for (int i = 0; i < 32; i++)
        o->q[i] = (int8_t)((b[2 + 8 * group + i / 4] >> i % 4 * 2 & 3) - 1);
}

#endif
