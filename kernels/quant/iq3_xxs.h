/* iq3_xxs.h - 256 weights in 98 bytes: f16 d | 64 bytes of grid indices, one for each 4 weights |
 * 8 x u32: 4 x 7 bits of signs, scale (4);  w = d / 4 * (2 scale + 1) * +-grid */
#ifndef KERNELS_QUANT_IQ3_XXS_H
#define KERNELS_QUANT_IQ3_XXS_H

#include "kernels/quant/iq.h"

enum { IQ3_XXS_BLOCK = 256, IQ3_XXS_BYTES = 98 };

QUANT_FN void iq3_xxs_ints(const uint8_t *b, int group, struct quant_ints *o)
{
    uint32_t rest = quant_u32(b + 66 + 4 * group);
    quant_set(o, quant_f16(b) * 0.25f, QUANT_WHOLE);
    o->sc[0] = o->sc[1] = 2 * (int)(rest >> 28) + 1;
    for (int i = 0; i < 32; i++) {
        int v = iq3_xxs_value(IQ_GRID(iq3_xxs_grid)[b[2 + 8 * group + i / 4]] >> i % 4 * 3 & 7);
        o->q[i] = (int8_t)(iq_signs(rest >> i / 8 * 7) >> i % 8 & 1 ? -v : v);
    }
}

#endif
