/* iq.h - what the IQ formats share: 8 or 4 weights are one entry of a grid, a codebook of the
 * points that are used most, and signs.
 *
 * An entry holds its values as fields of 2 or 3 bits, the first in the lowest. The tables are
 * iq_tables.h, made by tests/tools/gen_grids.py; device code has its own copy of them. */
#ifndef KERNELS_QUANT_IQ_H
#define KERNELS_QUANT_IQ_H

#include "kernels/quant/quant.h"

extern const uint16_t iq1_grid[2048];                                        /* 8 x 2 bits */
extern const uint16_t iq2_xxs_grid[256], iq2_xs_grid[512], iq2_s_grid[1024]; /* 8 x 2 bits */
extern const uint16_t iq3_xxs_grid[256], iq3_s_grid[512];                    /* 4 x 3 bits */

#ifdef __CUDACC__
#define IQ_TABLE(name, n) static __device__ const uint16_t name##_gpu[n]
#include "kernels/quant/iq_tables.h"
#undef IQ_TABLE
#endif
#ifdef __CUDA_ARCH__
#define IQ_GRID(name) name##_gpu
#else
#define IQ_GRID(name) name
#endif

/* 7 stored signs; the eighth makes their number even. */
QUANT_FN int iq_signs(uint32_t seven)
{
    uint32_t s = seven & 127, odd = s ^ s >> 4;
    odd ^= odd >> 2;
    odd ^= odd >> 1;
    return (int)(s | (odd & 1) << 7);
}

/* 8 weights of IQ1: fields are grid + 1. */
QUANT_FN void iq1_put(int index, int delta, int8_t *q)
{
    for (int i = 0; i < 8; i++)
        q[i] = (int8_t)(8 * ((IQ_GRID(iq1_grid)[index] >> 2 * i & 3) - 1) + delta);
}

/* 8 weights of IQ2: the fields mean 8, 25 and 43. */
QUANT_FN void iq2_put(int entry, int signs, int8_t *q)
{
    for (int i = 0; i < 8; i++) {
        int code = entry >> 2 * i & 3, v = code == 0 ? 8 : code == 1 ? 25 : 43;
        q[i] = (int8_t)(signs >> i & 1 ? -v : v);
    }
}

QUANT_FN int iq3_xxs_value(int code)
{
    return code == 7 ? 62 : 8 * code + 4;
}

#endif
