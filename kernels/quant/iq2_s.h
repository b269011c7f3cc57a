/* iq2_s.h - 256 weights in 82 bytes: f16 d | 32 bytes: low bits of grid indices, one for each 8
 * weights | 32 bytes of signs | 8 bytes: 2 high bits of each index | 8 bytes: a scale of 4 bits
 * for each 16 weights;  w = d / 8 * (2 scale + 1) * +-grid */
#ifndef KERNELS_QUANT_IQ2_S_H
#define KERNELS_QUANT_IQ2_S_H

#include "kernels/quant/iq.h"

enum { IQ2_S_BLOCK = 256, IQ2_S_BYTES = 82 };

QUANT_FN void iq2_s_ints(const uint8_t *b, int group, struct quant_ints *o)
{
    quant_set(o, quant_f16(b) * 0.125f, QUANT_HALVES);
    o->sc[0] = 2 * (b[74 + group] & 15) + 1;
    o->sc[1] = 2 * (b[74 + group] >> 4) + 1;
    for (int i = 0; i < 4; i++) {
        int index = b[2 + 4 * group + i] | (b[66 + group] >> 2 * i & 3) << 8;
        iq2_put(IQ_GRID(iq2_s_grid)[index], b[34 + 4 * group + i], o->q + 8 * i);
    }
}

#endif
