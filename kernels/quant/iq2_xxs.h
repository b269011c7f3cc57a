/* iq2_xxs.h - 256 weights in 66 bytes: f16 d | for each 32 weights 4 bytes of grid indices, then a
 * u32: 4 x 7 bits of signs, scale (4);  w = d / 8 * (2 scale + 1) * +-grid */
#ifndef KERNELS_QUANT_IQ2_XXS_H
#define KERNELS_QUANT_IQ2_XXS_H

#include "kernels/quant/iq.h"

enum { IQ2_XXS_BLOCK = 256, IQ2_XXS_BYTES = 66 };

QUANT_FN void iq2_xxs_ints(const uint8_t *b, int group, struct quant_ints *o)
{
    const uint8_t *at = b + 2 + 8 * group;
    uint32_t rest = quant_u32(at + 4);
    quant_set(o, quant_f16(b) * 0.125f, QUANT_WHOLE);
    o->sc[0] = o->sc[1] = 2 * (int)(rest >> 28) + 1;
    for (int i = 0; i < 4; i++)
        iq2_put(IQ_GRID(iq2_xxs_grid)[at[i]], iq_signs(rest >> 7 * i), o->q + 8 * i);
}

#endif
