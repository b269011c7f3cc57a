/* iq2_xs.h - 256 weights in 74 bytes: f16 d | 32 x u16: grid index (9), signs (7) of 8 weights | 8
 * bytes: a scale of 4 bits for each 16 weights;  w = d / 8 * (2 scale + 1) * +-grid */
#ifndef KERNELS_QUANT_IQ2_XS_H
#define KERNELS_QUANT_IQ2_XS_H

#include "kernels/quant/iq.h"

enum { IQ2_XS_BLOCK = 256, IQ2_XS_BYTES = 74 };

QUANT_FN void iq2_xs_ints(const uint8_t *b, int group, struct quant_ints *o)
{
    quant_set(o, quant_f16(b) * 0.125f, QUANT_HALVES);
    o->sc[0] = 2 * (b[66 + group] & 15) + 1;
    o->sc[1] = 2 * (b[66 + group] >> 4) + 1;
    for (int i = 0; i < 4; i++) {
        int v = quant_u16(b + 2 + 8 * group + 2 * i);
        iq2_put(IQ_GRID(iq2_xs_grid)[v & 511], iq_signs((unsigned)v >> 9), o->q + 8 * i);
    }
}

#endif
