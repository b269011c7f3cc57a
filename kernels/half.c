/* half.c - the conversions in integer arithmetic, so that they need no instruction set and agree
 * with F16C and AVX512_BF16 hardware on every value. */
#include "kernels/half.h"

#include <string.h>

static uint32_t bits_of(float f)
{
    uint32_t u;
    memcpy(&u, &f, 4);
    return u;
}

static float float_of(uint32_t u)
{
    float f;
    memcpy(&f, &u, 4);
    return f;
}

float half_f16(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, exp = h >> 10 & 31, man = h & 1023;
    if (exp == 31 && man != 0) /* NaN: made quiet, as F16C does */
        return float_of(sign | 0x7fc00000 | man << 13);
    if (exp == 31)
        return float_of(sign | 0x7f800000);
    if (exp > 0)
        return float_of(sign | (exp + 112) << 23 | man << 13);
    /* Subnormal: man * 2^-24, exact in f32. */
    return float_of(sign | bits_of((float)man * 0x1p-24f));
}

uint16_t half_to_f16(float f)
{
    uint32_t u = bits_of(f), sign = u >> 16 & 0x8000, mag = u & 0x7fffffff;
    if (mag > 0x7f800000) /* NaN: quiet, the upper bits of its payload kept */
        return (uint16_t)(sign | 0x7e00 | (mag >> 13 & 0x3ff));
    if (mag >= 0x477ff000) /* 65520 and above round to infinity */
        return (uint16_t)(sign | 0x7c00);
    if (mag >= 0x38800000) { /* normal: rebias, then nearest even on the 13 bits that fall */
        mag -= 112u << 23;
        return (uint16_t)(sign | (mag + 0xfff + (mag >> 13 & 1)) >> 13);
    }
    /* Subnormal: adding 0.5 leaves man * 2^-24 in the low bits of the sum, rounded to nearest
     * even. */
    float sum = float_of(mag) + 0.5f;
    return (uint16_t)(sign | (bits_of(sum) - 0x3f000000));
}

float half_bf16(uint16_t h)
{
    return float_of((uint32_t)h << 16);
}

uint16_t half_to_bf16(float f)
{
    uint32_t u = bits_of(f);
    if ((u & 0x7fffffff) > 0x7f800000)
        return (uint16_t)(u >> 16 | 64);
    return (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}
