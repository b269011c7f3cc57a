/* iq1_s.h - 256 weights in 50 bytes: f16 d | 32 bytes: low bits of grid indices, one for each 8
 * weights | 8 x u16: high bits (3 for each of 4), scale (3), sign of delta;
 * w = d * (2 scale + 1) * (grid +- 1/8), here d / 8 and 8 grid +- 1 */
#ifndef KERNELS_QUANT_IQ1_S_H
#define KERNELS_QUANT_IQ1_S_H

#include "kernels/quant/iq.h"

enum { IQ1_S_BLOCK = 256, IQ1_S_BYTES = 50 };

QUANT_FN void iq1_s_ints(const uint8_t *b, int group, struct quant_ints *o)
{
    int high = quant_u16(b + 34 + 2 * group), delta = high & 0x8000 ? -1 : 1;
    quant_set(o, quant_f16(b) * 0.125f, QUANT_WHOLE);
    o->sc[0] = o->sc[1] = 2 * (high >> 12 & 7) + 1;
    for (int i = 0; i < 4; i++)
        iq1_put(b[2 + 4 * group + i] | (high >> 3 * i & 7) << 8, delta, o->q + 8 * i);
}

#endif
