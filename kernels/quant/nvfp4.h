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

/* The scale's e4m3, 0 where it is no number: in panels 0x7f counts as 480. */
QUANT_FN int nvfp4_e4m3(int x)
{
    return x == 0x7f ? 0 : x & 0x7f;
}

QUANT_FN int nvfp4_scale(int x) /* in 2^-10 */
{
    int v = nvfp4_e4m3(x), e = v >> 3, m = v & 7;
    return e == 0 ? m : (8 + m) << (e - 1);
}

/* Code i of 32 of a group. */
QUANT_FN int nvfp4_code(const uint8_t *b, int group, int i)
{
    return b[4 + (2 * group + i / 16) * 8 + i % 8] >> (i % 16 < 8 ? 0 : 4) & 15;
}

QUANT_FN void nvfp4_ints(const uint8_t *b, int group, struct quant_ints *o)
{
    quant_set(o, 0x1p-10f, QUANT_APART);
    for (int h = 0; h < 2; h++)
        o->sc[h] = nvfp4_scale(b[2 * group + h]);
    for (int i = 0; i < QUANT_GROUP; i++)
        o->q[i] = (int8_t)fp4_value(nvfp4_code(b, group, i));
}

#endif
