/* simt_math.h - the part of simt.h that a kernel computes with: math and bit intrinsics, and
 * conversions.
 * Included by simt.h alone. */
#ifndef TESTS_SIMT_SIMT_MATH_H
#define TESTS_SIMT_SIMT_MATH_H

using std::max;
using std::min;
inline unsigned min(unsigned a, int b)
{
    return a < (unsigned)b ? a : (unsigned)b;
}
inline unsigned max(unsigned a, int b)
{
    return a > (unsigned)b ? a : (unsigned)b;
}
inline float __expf(float x)
{
    return std::exp(x);
}
inline float __exp10f(float x)
{
    return std::pow(10.f, x);
}
inline float __logf(float x)
{
    return std::log(x);
}
inline float __log2f(float x)
{
    return std::log2(x);
}
inline float __powf(float x, float y)
{
    return std::pow(x, y);
}
inline float __sinf(float x)
{
    return std::sin(x);
}
inline float __cosf(float x)
{
    return std::cos(x);
}
inline void __sincosf(float x, float *s, float *c)
{
    *s = std::sin(x);
    *c = std::cos(x);
}
inline float __tanhf(float x)
{
    return std::tanh(x);
}
inline float __fdividef(float a, float b)
{
    return a / b;
}
inline float __frcp_rn(float a)
{
    return 1.f / a;
}
inline float __fsqrt_rn(float a)
{
    return std::sqrt(a);
}
inline float __frsqrt_rn(float a)
{
    return 1.f / std::sqrt(a);
}
inline float __fmaf_rn(float a, float b, float c)
{
    return std::fma(a, b, c);
}
inline float __fadd_rn(float a, float b)
{
    return a + b;
}
inline double __dadd_rn(double a, double b)
{
    return a + b;
}
inline double __dmul_rn(double a, double b)
{
    return a * b;
}
inline float __fsub_rn(float a, float b)
{
    return a - b;
}
inline float __fmul_rn(float a, float b)
{
    return a * b;
}
inline float __fdiv_rn(float a, float b)
{
    return a / b;
}
inline float __saturatef(float a)
{
    return a < 0.f ? 0.f : (a > 1.f ? 1.f : (a == a ? a : 0.f));
}
inline float rsqrtf(float a)
{
    return 1.f / std::sqrt(a);
}
inline double rsqrt(double a)
{
    return 1. / std::sqrt(a);
}
inline float rcbrtf(float a)
{
    return 1.f / std::cbrt(a);
}
inline float normcdff(float a)
{
    return 0.5f * std::erfc(-a * 0.70710678f);
}
inline int __float2int_rn(float x)
{
    return x != x               ? 0
           : x >= 2147483647.f  ? INT_MAX
           : x <= -2147483648.f ? INT_MIN
                                : (int)std::nearbyint(x);
}
inline int __float2int_rz(float x)
{
    return x != x ? 0 : x >= 2147483647.f ? INT_MAX : x <= -2147483648.f ? INT_MIN : (int)x;
}
inline int __float2int_rd(float x)
{
    return __float2int_rz(std::floor(x));
}
inline int __float2int_ru(float x)
{
    return __float2int_rz(std::ceil(x));
}
inline unsigned __float2uint_rn(float x)
{
    return x != x || x <= 0.f ? 0u : x >= 4294967295.f ? UINT_MAX : (unsigned)std::nearbyint(x);
}
inline unsigned long long __float2ull_rn(float x)
{
    return x != x || x <= 0.f ? 0u : x >= 0x1p64f ? ~0ull : (unsigned long long)std::nearbyint(x);
}
inline float __int2float_rn(int x)
{
    return (float)x;
}
inline float __uint2float_rn(unsigned x)
{
    return (float)x;
}
inline int __float_as_int(float f)
{
    int i;
    std::memcpy(&i, &f, 4);
    return i;
}
inline unsigned __float_as_uint(float f)
{
    unsigned i;
    std::memcpy(&i, &f, 4);
    return i;
}
inline float __int_as_float(int i)
{
    float f;
    std::memcpy(&f, &i, 4);
    return f;
}
inline float __uint_as_float(unsigned i)
{
    float f;
    std::memcpy(&f, &i, 4);
    return f;
}
inline int __popc(unsigned x)
{
    return __builtin_popcount(x);
}
inline int __popcll(unsigned long long x)
{
    return __builtin_popcountll(x);
}
inline int __clz(int x)
{
    return x ? __builtin_clz((unsigned)x) : 32;
}
inline int __ffs(int x)
{
    return __builtin_ffs(x);
}
inline unsigned __brev(unsigned x)
{
    unsigned r = 0;
    for (int i = 0; i < 32; i++)
        r |= ((x >> i) & 1u) << (31 - i);
    return r;
}
inline int __mul24(int a, int b)
{
    return a * b;
}
inline int __mulhi(int a, int b)
{
    return (int)(((long long)a * b) >> 32);
}
inline unsigned __umulhi(unsigned a, unsigned b)
{
    return (unsigned)(((unsigned long long)a * b) >> 32);
}
inline unsigned __funnelshift_r(unsigned lo, unsigned hi, unsigned s)
{
    return (unsigned)(((((unsigned long long)hi) << 32) | lo) >> (s & 31));
}
inline unsigned __funnelshift_l(unsigned lo, unsigned hi, unsigned s)
{
    return (unsigned)((((((unsigned long long)hi) << 32) | lo) << (s & 31)) >> 32);
}
inline unsigned __byte_perm(unsigned a, unsigned b, unsigned s)
{
    uint64_t v = ((uint64_t)b << 32) | a;
    unsigned r = 0;
    for (int i = 0; i < 4; i++) {
        unsigned n = (s >> (4 * i)) & 0xf, by = (unsigned)(v >> (8 * (n & 7))) & 0xff;
        if (n & 8)
            by = (by & 0x80) ? 0xff : 0;
        r |= by << (8 * i);
    }
    return r;
}
inline int __dp4a(int a, int b, int c)
{
    for (int i = 0; i < 4; i++)
        c += (int)(int8_t)(a >> (8 * i)) * (int)(int8_t)(b >> (8 * i));
    return c;
}
inline unsigned __dp4a(unsigned a, unsigned b, unsigned c)
{
    for (int i = 0; i < 4; i++)
        c += ((a >> (8 * i)) & 0xff) * ((b >> (8 * i)) & 0xff);
    return c;
}
inline unsigned __vsub4(unsigned a, unsigned b)
{
    unsigned r = 0;
    for (int i = 0; i < 32; i += 8)
        r |= (((a >> i) - (b >> i)) & 0xffu) << i;
    return r;
}
inline unsigned __vadd4(unsigned a, unsigned b)
{
    unsigned r = 0;
    for (int i = 0; i < 32; i += 8)
        r |= (((a >> i) + (b >> i)) & 0xffu) << i;
    return r;
}
inline unsigned __vsubss4(unsigned a, unsigned b)
{
    unsigned r = 0;
    for (int i = 0; i < 32; i += 8) {
        int d = (int8_t)(a >> i) - (int8_t)(b >> i);
        d = d > 127 ? 127 : d < -128 ? -128 : d;
        r |= ((unsigned)d & 0xffu) << i;
    }
    return r;
}
inline long long clock64()
{
    return (long long)__builtin_ia32_rdtsc();
}

// Toolkit functions that cuda_fp16.h/cuda_bf16.h (13.0) declare only under nvcc.
inline __half __hfma(__half a, __half b, __half c)
{
    return __float2half_rn(
        (float)((double)__half2float(a) * __half2float(b) + (double)__half2float(c)));
}
inline __half2 __hfma2(__half2 a, __half2 b, __half2 c)
{
    return __halves2half2(__hfma(a.x, b.x, c.x), __hfma(a.y, b.y, c.y));
}
inline __nv_bfloat16 __hfma(__nv_bfloat16 a, __nv_bfloat16 b, __nv_bfloat16 c)
{
    return __float2bfloat16_rn(
        (float)((double)__bfloat162float(a) * __bfloat162float(b) + (double)__bfloat162float(c)));
}
inline __nv_bfloat162 __hfma2(__nv_bfloat162 a, __nv_bfloat162 b, __nv_bfloat162 c)
{
    return __halves2bfloat162(__hfma(a.x, b.x, c.x), __hfma(a.y, b.y, c.y));
}
inline __half hexp(__half a)
{
    return __float2half_rn(std::exp(__half2float(a)));
}
inline __half hrsqrt(__half a)
{
    return __float2half_rn(1.f / std::sqrt(__half2float(a)));
}

#endif
