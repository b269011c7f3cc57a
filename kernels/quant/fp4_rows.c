/* fp4_rows.c - see fp4_rows.h. */
#include "kernels/quant/fp4_rows.h"

#include <math.h>

#include "kernels/quant/f8_e4m3.h"

/* The largest |x|; infinite where some x is no finite number. */
static float top_of(const float *x, int64_t k)
{
    float top = 0;
    for (int64_t i = 0; i < k; i++)
        top = fmaxf(top, isfinite(x[i]) ? fabsf(x[i]) : INFINITY);
    return top;
}

static float row_scale(enum fp4_kind kind, float top)
{
    if (!isfinite(top))
        return NAN;
    if (kind == FP4_MXFP4)
        return 1;
    return top >= 0x1p-100f ? top / 2688 : 0;
}

/* At most 32 numbers, which `inv` multiplies before; the block's scale. */
static uint8_t encode_block(enum fp4_kind kind, const float *x, int64_t n, float inv, uint8_t *code)
{
    float v[32], top = 0, down = 1, over = 1;
    uint32_t e;
    for (int64_t i = 0; i < n; i++) {
        v[i] = x[i] * inv;
        top = fmaxf(top, fabsf(v[i]));
    }
    if (kind == FP4_NVFP4) {
        e = (uint32_t)f8_e4m3_code(fminf(top / 6, 448));
        over = f8_e4m3_value((int)e);
    } else {
        e = fp4_e8m0(top);
        down = fp4_down(e);
    }
    for (int64_t i = 0; i < n; i++)
        code[i] = (uint8_t)(over > 0 ? fp4_code(v[i] * down / over) : 0);
    return (uint8_t)e;
}

float fp4_row_encode(enum fp4_kind kind, const float *x, int64_t k, uint8_t *code, uint8_t *scale)
{
    const int block = fp4_block(kind);
    const float top = top_of(x, k), row = row_scale(kind, top);
    const float inv = isnan(row) ? 0 : kind == FP4_MXFP4 ? 1 : fp4_row_down(top);
    for (int64_t at = 0; at < k; at += block)
        scale[at / block] =
            encode_block(kind, x + at, k - at < block ? k - at : block, inv, code + at);
    return row;
}

void fp4_row_round(enum fp4_kind kind, const float *x, int64_t k, float *out)
{
    const int block = fp4_block(kind);
    const float top = top_of(x, k), row = row_scale(kind, top);
    const float inv = isnan(row) ? 0 : kind == FP4_MXFP4 ? 1 : fp4_row_down(top);
    for (int64_t at = 0; at < k; at += block) {
        const int64_t n = k - at < block ? k - at : block;
        uint8_t code[32];
        const int e = encode_block(kind, x + at, n, inv, code);
        const float half = kind == FP4_NVFP4 ? f8_e4m3_value(e) / 2 : ldexpf(1, e - 128);
        for (int64_t i = 0; i < n; i++)
            out[at + i] = row * (half * (float)fp4_value(code[i]));
    }
}
