/* exp2.h - 2^x in single precision, the definition that vector code repeats step by step.
 *
 * x is split into the nearest integer n and a rest f in [-1/2, 1/2]; 2^f is a polynomial of degree
 * 6 (Taylor's, relative error 2.2e-7 in all), 2^n goes into the exponent bits. Below -126 the
 * result is 0 and above 127.49 it stays there, so that no result is subnormal or infinite: flushing
 * of subnormals changes nothing. NaN stays NaN. In vectors: max/min with x as second operand. */
#ifndef KERNELS_CPU_EXP2_H
#define KERNELS_CPU_EXP2_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#define EXP2_LOW   -126.0f
#define EXP2_HIGH  127.49f
#define EXP2_LOG2E 1.44269504f
/* clang-format off */
#define EXP2_POLY {1.54035304e-4f, 1.33335581e-3f, 9.61812911e-3f, 5.55041087e-2f,               \
                   2.40226507e-1f, 6.93147181e-1f, 1.0f}
/* clang-format on */
#define EXP2_ROUND 0x1.8p23f /* x + this - this is the nearest integer, ties to even */

/* fmaf for results that are not subnormal. Where the compiler may not use FMA instructions fmaf is
 * a call, six of them a power; but a product of two floats is exact as a double, and rounding its
 * sum to 53 bits before 24 changes the result only when it then lies half way between two floats:
 * once in 2^29, and that is what the call is left for. */
#ifdef __FMA__
static inline float exp2_fma(float a, float b, float c)
{
    return fmaf(a, b, c);
}
#else
static inline float exp2_fma(float a, float b, float c)
{
    double sum = (double)a * (double)b + (double)c;
    uint64_t u;
    memcpy(&u, &sum, 8);
    return __builtin_expect((u & 0x1fffffff) == 0x10000000, 0) ? fmaf(a, b, c) : (float)sum;
}
#endif

static inline float cpu_exp2(float x)
{
    static const float c[] = EXP2_POLY;
    if (x < EXP2_LOW)
        return 0;
    x = x > EXP2_HIGH ? EXP2_HIGH : x;
    float t = x + EXP2_ROUND, f = x - (t - EXP2_ROUND), p = c[0], scale;
    for (int i = 1; i < 7; i++)
        p = exp2_fma(p, f, c[i]);
    uint32_t u;
    memcpy(&u, &t, 4);
    u = (u << 23) + (127u << 23); /* the low bits of t are n */
    memcpy(&scale, &u, 4);
    return p * scale;
}

#endif
