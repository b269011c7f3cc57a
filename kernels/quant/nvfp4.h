/* nvfp4.h - 64 weights in 36 bytes: an unsigned E4M3 scale for each 16 | 32 bytes of nibbles, each
 * 16 weights in 8 bytes, the first 8 low;  w = scale / 2 * value[nibble], the values of E2M1
 * doubled
 *
 * scale / 2 is a whole number of 2^-10. Such numbers are too large to weigh exact sums, so the
 * halves stay apart. 0x7f is no number and counts as 0. */
#ifndef KERNELS_QUANT_NVFP4_H
#define KERNELS_QUANT_NVFP4_H

#include "kernels/quant/values.h"

enum { NVFP4_BLOCK = 64, NVFP4_BYTES = 36 };

QUANT_FN int nvfp4_scale(int x) /* in 2^-10 */
{
    int e = x >> 3 & 15, m = x & 7;
    return x == 0x7f ? 0 : e == 0 ? m : (8 + m) << (e - 1);
}

QUANT_FN void nvfp4_ints(const uint8_t *b, int group, struct quant_ints *o)
{
    quant_set(o, 0x1p-10f, QUANT_APART);
    for (int h = 0; h < 2; h++) {
        const uint8_t *q = b + 4 + (2 * group + h) * 8;
        o->sc[h] = nvfp4_scale(b[2 * group + h]);
        for (int i = 0; i < 8; i++) {
            o->q[16 * h + i] = (int8_t)fp4_value(q[i] & 15);
            o->q[16 * h + 8 + i] = (int8_t)fp4_value(q[i] >> 4);
        }
    }
}

#endif
