/* q6_k.h - 256 weights in 210 bytes: 128 bytes of nibbles | 64 bytes of 2-bit fields | int8
 * scale[16], one for each 16 weights | f16 d;  w = d * scale * (q - 32)
 *
 * Each half of 128 weights has its own 64 bytes of nibbles and 32 bytes of fields. Of its four
 * groups, 0 and 1 take the low nibbles of the first and second 32 bytes, 2 and 3 the high ones;
 * group s takes bits 2s, 2s + 1 of the field bytes. The scales are whole
 * numbers, so a product of 32 stays exact. */
#ifndef KERNELS_QUANT_Q6_K_H
#define KERNELS_QUANT_Q6_K_H

#include "kernels/quant/quant.h"

enum { Q6_K_BLOCK = 256, Q6_K_BYTES = 210 };

QUANT_FN int q6_k_at(const uint8_t *b, int group, int i) /* i of the group */
{
    int half = group / 4, s = group % 4;
    int low = b[half * 64 + s % 2 * 32 + i] >> s / 2 * 4 & 15;
    int high = b[128 + half * 32 + i] >> 2 * s & 3;
    return (low | high << 4) - 32;
}

QUANT_FN void q6_k_ints(const uint8_t *b, int group, struct quant_ints *o)
{
    quant_set(o, quant_f16(b + 208), QUANT_HALVES);
    o->sc[0] = (int8_t)b[192 + 2 * group];
    o->sc[1] = (int8_t)b[193 + 2 * group];
    for (int i = 0; i < 32; i++)
        o->q[i] = (int8_t)q6_k_at(b, group, i);
}

#endif
