/* fp4_rows.h - rows of activations as e2m1 with a scale a block, for tensor cores that multiply
 * fp4 on both sides (kernels/cuda/quant_fp4.cu), and the same on the CPU.
 *
 *     NVFP4  16 numbers a block, its scale an e4m3, and one float a row:
 *            row = top / 2688, where top is the row's largest |x| and 2688 is 448 * 6;
 *            v = x * (2688 / top), e = e4m3(largest |v| of the block / 6), code = e2m1(v / e)
 *     MXFP4  32 numbers a block, its scale a power of two: 2^(floor(log2 top) - 2), or the next
 *            where top is 7 times that or more, so that 6 stands for at most 7; row 1
 *
 * x is about row * scale * value[code]. All rounding is to nearest, ties to even, in f32. A row
 * with top below 2^-100 is zeros in NVFP4; one with infinities or NaN has the row scale NaN, in
 * both: its products are no numbers then, as they would be with x as it is. */
#ifndef KERNELS_QUANT_FP4_ROWS_H
#define KERNELS_QUANT_FP4_ROWS_H

#include <stdint.h>

#include "kernels/quant/values.h"

enum fp4_kind { FP4_NVFP4, FP4_MXFP4 };

/* Numbers with one scale. */
QUANT_FN int fp4_block(enum fp4_kind kind)
{
    return kind == FP4_NVFP4 ? 16 : 32;
}

/* The nearest of 0 .5 1 1.5 2 3 4 6, ties to the even code; bit 3 is the sign. */
QUANT_FN uint32_t fp4_code(float v)
{
    const float a = v < 0 ? -v : v;
    return (uint32_t)(a > 0.25f) + (a >= 0.75f) + (a > 1.25f) + (a >= 1.75f) + (a > 2.5f) +
           (a >= 3.5f) + (a > 5) + (v < 0 ? 8u : 0u);
}

/* MXFP4: the scale of a block with this largest number, 2^(e - 127); and what it is divided by. */
QUANT_FN uint32_t fp4_e8m0(float top)
{
    union {
        float f;
        uint32_t u;
    } x = {top};
    const uint32_t up = (x.u + 0x200000) >> 23; /* beyond 1.75 the next power */
    return up < 2 ? 0 : up - 2;
}

QUANT_FN float fp4_down(uint32_t e)
{
    return quant_f32((254 - e) << 23);
}

/* NVFP4: what x of a row with this largest number is multiplied by; 0: the row is zeros. */
QUANT_FN float fp4_row_down(float top)
{
    return top >= 0x1p-100f ? 2688 / top : 0;
}

/* k numbers as codes, one a byte, and (k + block - 1) / block scales; the row's scale. */
float fp4_row_encode(enum fp4_kind kind, const float *x, int64_t k, uint8_t *code, uint8_t *scale);
/* What k numbers become: row * (scale * value[code]). `out` may be x. */
void fp4_row_round(enum fp4_kind kind, const float *x, int64_t k, float *out);

#endif
