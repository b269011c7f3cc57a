/* q2_k.h - 256 weights in 84 bytes: 16 bytes (scale low, min high nibble), one for each 16 weights
 * | 64 bytes of 2-bit fields | f16 d | f16 dmin;  w = d * scale * q - dmin * min
 *
 * Each half of 128 weights has 32 bytes of fields; its group s of four takes bits 2s, 2s + 1. */
#ifndef KERNELS_QUANT_Q2_K_H
#define KERNELS_QUANT_Q2_K_H

#include "kernels/quant/quant.h"

enum { Q2_K_BLOCK = 256, Q2_K_BYTES = 84 };

QUANT_FN void q2_k_ints(const uint8_t *b, int group, struct quant_ints *o)
{
    quant_set(o, quant_f16(b + 80), QUANT_HALVES);
    o->m = -quant_f16(b + 82);
    o->has_min = 1;
    for (int h = 0; h < 2; h++) {
        o->sc[h] = b[2 * group + h] & 15;
        o->mn[h] = b[2 * group + h] >> 4;
    }
    for (int i = 0; i < 32; i++)
        o->q[i] = (int8_t)quant_two(b + 16, group, i);
}

#endif
