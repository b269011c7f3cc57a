/* iq3_s.h - 256 weights in 110 bytes: f16 d | 64 bytes: low bits of grid indices, one for each 4
 * weights | 8 bytes: the ninth bits | 32 bytes of signs | 4 bytes: a scale of 4 bits for each 32
 * weights; w = d * (2 scale + 1) * +-grid, odd numbers from 1 to 15 */
#ifndef KERNELS_QUANT_IQ3_S_H
#define KERNELS_QUANT_IQ3_S_H

#include "kernels/quant/iq.h"

enum { IQ3_S_BLOCK = 256, IQ3_S_BYTES = 110 };

QUANT_FN void iq3_s_ints(const uint8_t *b, int group, struct quant_ints *o)
{
    quant_set(o, quant_f16(b), QUANT_WHOLE);
    o->sc[0] = o->sc[1] = 2 * (b[106 + group / 2] >> group % 2 * 4 & 15) + 1;
    for (int i = 0; i < 32; i++) {
        int index = b[2 + 8 * group + i / 4] | (b[66 + group] >> i / 4 & 1) << 8;
        int v = 2 * (IQ_GRID(iq3_s_grid)[index] >> i % 4 * 3 & 7) + 1;
        o->q[i] = (int8_t)(b[74 + 4 * group + i / 8] >> i % 8 & 1 ? -v : v);
    }
}

#endif
