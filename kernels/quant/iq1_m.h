/* iq1_m.h - 256 weights in 56 bytes: 32 bytes: low bits of grid indices, one for each 8 weights |
 * 32 nibbles: high bits (3), sign of delta | 4 x u16: 4 scales of 3 bits, then 4 bits of the f16
 * d, the lowest first;  w as IQ1_S, a scale for each 16 weights */
#ifndef KERNELS_QUANT_IQ1_M_H
#define KERNELS_QUANT_IQ1_M_H

#include "kernels/quant/iq.h"

enum { IQ1_M_BLOCK = 256, IQ1_M_BYTES = 56 };

QUANT_FN void iq1_m_ints(const uint8_t *b, int group, struct quant_ints *o)
{
    int d = 0;
    for (int i = 0; i < 4; i++)
        d |= quant_u16(b + 48 + 2 * i) >> 12 << 4 * i;
    quant_set(o, QUANT_HALF((uint16_t)d) * 0.125f, QUANT_HALVES);
    for (int h = 0; h < 2; h++)
        o->sc[h] = 2 * (quant_u16(b + 48 + group / 2 * 2) >> (group % 2 * 6 + 3 * h) & 7) + 1;
    for (int i = 0; i < 4; i++) {
        int high = b[32 + 2 * group + i / 2] >> i % 2 * 4;
        iq1_put(b[4 * group + i] | (high & 7) << 8, high & 8 ? -1 : 1, o->q + 8 * i);
    }
}

#endif
