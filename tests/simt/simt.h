/* simt.h - runs CUDA kernel sources on the CPU, for tests.
 *
 * Force-included when a .cu file is compiled with a host compiler:
 *     g++ -std=c++17 -x c++ -include tests/simt/simt.h -I. -I$CUDA/include kernel.cu
 * and linked with fiber.cc, warp.cc (scheduler) and cudart.cc (runtime API). The toolkit's own
 * headers supply the types (float4, __half, cudaStream_t ...), so host code is compiled against the
 * real declarations.
 *
 * Every CUDA thread of a block is a fiber with its own stack; all fibers of a block run on one OS
 * thread and switch only at a warp or block collective. That is the weakest ordering CUDA promises,
 * so code that relies on lockstep execution of a warp fails here even where it happens to work on a
 * GPU. What kernels must keep to is written in docs/cuda.md. */
#ifndef TESTS_SIMT_SIMT_H
#define TESTS_SIMT_SIMT_H
#if defined(__CUDACC__)
#error "simt.h is for host compilers; nvcc has the real thing"
#endif
#ifndef SIMT_EMU
#define SIMT_EMU 1
#endif

#include <cuda_runtime.h>
#include <cuda_fp16.h>
#include <cuda_bf16.h>
#include <cuda_fp8.h>

#include <climits>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <algorithm>
#include <tuple>
#include <type_traits>
#include <utility>

/* --- keywords */
#undef __global__
#undef __device__
#undef __host__
#undef __shared__
#undef __constant__
#undef __managed__
#undef __launch_bounds__
#undef __grid_constant__
#undef __cluster_dims__
#undef __maxnreg__
#undef __forceinline__
#define __global__
#define __device__
#define __host__
#define __constant__
#define __managed__
#define __launch_bounds__(...)
#define __cluster_dims__(...)
#define __maxnreg__(n)
#define __grid_constant__
#define __forceinline__ inline __attribute__((always_inline))
// (No __noinline__: libstdc++ writes __attribute__((__noinline__)), which the macro would break.)

// Static shared memory.  One OS thread runs one block at a time, so a thread_local
// static is "one per running block".  AddressSanitizer puts no redzones round
// thread_local objects: in that build it is a plain static and the runtime uses a
// single OS thread (SIMT_ONE_OS_THREAD).
#if defined(__SANITIZE_ADDRESS__)
#define SIMT_HAS_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SIMT_HAS_ASAN 1
#endif
#endif
#ifdef SIMT_HAS_ASAN
#define __shared__ static
#else
#define __shared__ static thread_local
#endif

namespace simt
{

/* --- thread state */
struct Thread; // one CUDA thread; full type in simt_internal.h
struct BlockView {
    unsigned char *dyn_smem;
    size_t dyn_bytes;
};
struct ThreadView {
    uint3 tidx;
    uint32_t lane;
};

// __thread, not thread_local: no lazy-initialisation wrapper on each access.
extern __thread ThreadView *self;
extern __thread BlockView *blk;

inline void *dyn_shared()
{
    return blk->dyn_smem;
}

/* --- collectives */
enum Kind : uint32_t {
    K_SYNCWARP = 1,
    K_SHFL,
    K_VOTE_BALLOT,
    K_VOTE_ANY,
    K_VOTE_ALL,
    K_MATCH_ANY,
    K_REDUCE,
    K_LDMATRIX,
    K_LDMATRIX_T,
    K_MMA_BF16,
    K_MMA_F16,
    K_MMA_S8,
    K_MMA_E4M3,
    K_MMA_E2M1,
};
#define SIMT_HERE const char *file_ = __builtin_FILE(), int line_ = __builtin_LINE()
#define SIMT_PASS file_, line_

uint64_t shfl_bits(uint32_t mask, uint64_t v, int src_lane, const char *file, int line);
uint32_t vote(Kind k, uint32_t mask, bool pred, const char *file, int line);
uint32_t match_any(uint32_t mask, uint64_t v, const char *file, int line);
int64_t warp_reduce(uint32_t mask, int64_t v, int op, const char *file, int line);
void sync_warp(uint32_t mask, const char *file, int line);
int sync_block(int pred, int op, const char *file, int line);      // op: 0 none 1 count 2 and 3 or
void bar_sync(int id, int nthreads, const char *file, int line);   // bar.sync id, n
void bar_arrive(int id, int nthreads, const char *file, int line); // bar.arrive id, n
uint32_t active_mask();
void yield_spin(); // for spin loops
[[noreturn]] void trap(const char *what, const char *file, int line);

void ldmatrix(uint32_t *r, int n, bool trans, const void *row, const char *file, int line);
void mma_16816(float *d, const uint32_t *a, const uint32_t *b, const float *c, Kind k,
               const char *file, int line);
void mma_16832(float *d, const uint32_t *a, const uint32_t *b, const float *c, const char *file,
               int line);
void mma_16864_e2m1(float *d, const uint32_t *a, const uint32_t *b, const float *c,
                    const uint32_t *scales, int block, const char *file, int line);
void mma_16832_s8(int *d, const uint32_t *a, const uint32_t *b, const int *c, const char *file,
                  int line);
void cp_async(void *smem, const void *gmem, int bytes, int src_bytes);
void cp_async_commit();
void cp_async_wait(int pending_groups);
void arrived(const void *ticket, bool last); /* of gpu_last_block, for the race checker */

template <class T> inline uint64_t to_bits(T v)
{
    static_assert(sizeof(T) <= 8 && std::is_trivially_copyable<T>::value, "shuffle operand");
    uint64_t b = 0;
    std::memcpy(&b, &v, sizeof(T));
    return b;
}
template <class T> inline T from_bits(uint64_t b)
{
    T v;
    std::memcpy(&v, &b, sizeof(T));
    return v;
}

/* --- launching */
// Runs `thunk(closure)` once per CUDA thread of the grid, in stream order.
struct LaunchDesc {
    const void *fn;
    dim3 grid, block;
    size_t smem;
    bool early; /* it may begin before the kernel before it has ended: gpu_launch_early */
    bool overlaps = false; /* and there is one: nothing else came between */
};
void wait_earlier();
void run_grid(const LaunchDesc &d, void (*thunk)(const void *), const void *closure);
void submit_kernel(cudaStream_t s, const LaunchDesc &d, void (*thunk)(const void *),
                   const void *closure, size_t closure_size, void (*destroy)(void *));
} // namespace simt

// Real variables, not macros: cudaLaunchConfig_t and cudaDeviceProp have members with these
// names.  The scheduler sets threadIdx at each switch, the others once per block.
extern __thread uint3 threadIdx, blockIdx;
extern __thread dim3 blockDim, gridDim;
constexpr int warpSize = 32;

/* --- warp and block primitives */
inline void __syncthreads(SIMT_HERE)
{
    simt::sync_block(0, 0, SIMT_PASS);
}
inline int __syncthreads_count(int p, SIMT_HERE)
{
    return simt::sync_block(p, 1, SIMT_PASS);
}
inline int __syncthreads_and(int p, SIMT_HERE)
{
    return simt::sync_block(p, 2, SIMT_PASS);
}
inline int __syncthreads_or(int p, SIMT_HERE)
{
    return simt::sync_block(p, 3, SIMT_PASS);
}
inline void __syncwarp(unsigned m = 0xffffffffu, SIMT_HERE)
{
    simt::sync_warp(m, SIMT_PASS);
}
inline void __threadfence()
{
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}
inline void __threadfence_block()
{
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
}
inline void __threadfence_system()
{
    __threadfence();
}
inline unsigned __activemask()
{
    return simt::active_mask();
}
inline unsigned __ballot_sync(unsigned m, int p, SIMT_HERE)
{
    return simt::vote(simt::K_VOTE_BALLOT, m, p != 0, SIMT_PASS);
}
inline int __any_sync(unsigned m, int p, SIMT_HERE)
{
    return (int)simt::vote(simt::K_VOTE_ANY, m, p != 0, SIMT_PASS);
}
inline int __all_sync(unsigned m, int p, SIMT_HERE)
{
    return (int)simt::vote(simt::K_VOTE_ALL, m, p != 0, SIMT_PASS);
}
template <class T> inline unsigned __match_any_sync(unsigned m, T v, SIMT_HERE)
{
    return simt::match_any(m, simt::to_bits(v), SIMT_PASS);
}

// Source lane per the PTX definition of shfl: out of the segment = own value.
template <class T> inline T __shfl_sync(unsigned m, T v, int src, int width = 32, SIMT_HERE)
{
    int lane = (int)simt::self->lane;
    return simt::from_bits<T>(simt::shfl_bits(
        m, simt::to_bits(v), (lane & ~(width - 1)) | (src & (width - 1)), SIMT_PASS));
}
template <class T> inline T __shfl_xor_sync(unsigned m, T v, int x, int width = 32, SIMT_HERE)
{
    int lane = (int)simt::self->lane, s = lane ^ x;
    if (s > (lane | (width - 1)))
        s = lane;
    return simt::from_bits<T>(simt::shfl_bits(m, simt::to_bits(v), s, SIMT_PASS));
}
template <class T> inline T __shfl_down_sync(unsigned m, T v, unsigned d, int width = 32, SIMT_HERE)
{
    int lane = (int)simt::self->lane, s = lane + (int)d;
    if (s > (lane | (width - 1)))
        s = lane;
    return simt::from_bits<T>(simt::shfl_bits(m, simt::to_bits(v), s, SIMT_PASS));
}
template <class T> inline T __shfl_up_sync(unsigned m, T v, unsigned d, int width = 32, SIMT_HERE)
{
    int lane = (int)simt::self->lane, s = lane - (int)d;
    if (s < (lane & ~(width - 1)))
        s = lane;
    return simt::from_bits<T>(simt::shfl_bits(m, simt::to_bits(v), s, SIMT_PASS));
}
inline int __reduce_add_sync(unsigned m, int v, SIMT_HERE)
{
    return (int)simt::warp_reduce(m, v, 0, SIMT_PASS);
}
inline unsigned __reduce_add_sync(unsigned m, unsigned v, SIMT_HERE)
{
    return (unsigned)simt::warp_reduce(m, v, 0, SIMT_PASS);
}
inline int __reduce_min_sync(unsigned m, int v, SIMT_HERE)
{
    return (int)simt::warp_reduce(m, v, 1, SIMT_PASS);
}
inline unsigned __reduce_min_sync(unsigned m, unsigned v, SIMT_HERE)
{
    return (unsigned)simt::warp_reduce(m, v, 1, SIMT_PASS);
}
inline int __reduce_max_sync(unsigned m, int v, SIMT_HERE)
{
    return (int)simt::warp_reduce(m, v, 2, SIMT_PASS);
}
inline unsigned __reduce_max_sync(unsigned m, unsigned v, SIMT_HERE)
{
    return (unsigned)simt::warp_reduce(m, v, 2, SIMT_PASS);
}
inline unsigned __reduce_or_sync(unsigned m, unsigned v, SIMT_HERE)
{
    return (unsigned)simt::warp_reduce(m, v, 3, SIMT_PASS);
}
inline unsigned __reduce_and_sync(unsigned m, unsigned v, SIMT_HERE)
{
    return (unsigned)simt::warp_reduce(m, v, 4, SIMT_PASS);
}
inline void __nanosleep(unsigned)
{
    simt::yield_spin();
}
inline void __trap(SIMT_HERE)
{
    simt::trap("__trap()", SIMT_PASS);
}

/* --- memory: cached loads, atomics */
template <class T> inline T __ldg(const T *p)
{
    return *p;
}
template <class T> inline T __ldcs(const T *p)
{
    return *p;
}
template <class T> inline T __ldcg(const T *p)
{
    return *p;
}
template <class T> inline T __ldca(const T *p)
{
    return *p;
}
template <class T> inline T __ldcv(const T *p)
{
    return *(const volatile T *)p;
}
template <class T> inline void __stcs(T *p, T v)
{
    *p = v;
}
template <class T> inline void __stcg(T *p, T v)
{
    *p = v;
}
template <class T> inline void __stwt(T *p, T v)
{
    *p = v;
}
inline size_t __cvta_generic_to_shared(const void *p)
{
    return (size_t)((const unsigned char *)p - simt::blk->dyn_smem);
}

namespace simt
{
template <class T> struct Ident {
    using type = T;
};
template <class T> using ident_t = typename Ident<T>::type;
template <class T, class U, class F> inline T cas_loop(T *p, F f)
{ // generic read-modify-write
    U old;
    __atomic_load(reinterpret_cast<U *>(p), &old, __ATOMIC_RELAXED);
    for (;;) {
        T o;
        std::memcpy((void *)&o, &old, sizeof o);
        T n = f(o);
        U nu;
        std::memcpy(&nu, &n, sizeof nu);
        if (__atomic_compare_exchange(reinterpret_cast<U *>(p), &old, &nu, false, __ATOMIC_RELAXED,
                                      __ATOMIC_RELAXED))
            return o;
    }
}
} // namespace simt
inline float atomicAdd(float *p, float v)
{
    return simt::cas_loop<float, uint32_t>(p, [=](float o) { return o + v; });
}
inline double atomicAdd(double *p, double v)
{
    return simt::cas_loop<double, uint64_t>(p, [=](double o) { return o + v; });
}
inline int atomicAdd(int *p, int v)
{
    return __atomic_fetch_add(p, v, __ATOMIC_RELAXED);
}
inline unsigned atomicAdd(unsigned *p, unsigned v)
{
    return __atomic_fetch_add(p, v, __ATOMIC_RELAXED);
}
inline unsigned long long atomicAdd(unsigned long long *p, unsigned long long v)
{
    return __atomic_fetch_add(p, v, __ATOMIC_RELAXED);
}
inline __half2 atomicAdd(__half2 *p, __half2 v)
{
    return simt::cas_loop<__half2, uint32_t>(p, [=](__half2 o) { return __hadd2(o, v); });
}
inline __nv_bfloat162 atomicAdd(__nv_bfloat162 *p, __nv_bfloat162 v)
{
    return simt::cas_loop<__nv_bfloat162, uint32_t>(
        p, [=](__nv_bfloat162 o) { return __hadd2(o, v); });
}
inline int atomicSub(int *p, int v)
{
    return __atomic_fetch_sub(p, v, __ATOMIC_RELAXED);
}
inline unsigned atomicSub(unsigned *p, unsigned v)
{
    return __atomic_fetch_sub(p, v, __ATOMIC_RELAXED);
}
inline int atomicMax(int *p, int v)
{
    return simt::cas_loop<int, uint32_t>(p, [=](int o) { return o > v ? o : v; });
}
inline unsigned atomicMax(unsigned *p, unsigned v)
{
    return simt::cas_loop<unsigned, uint32_t>(p, [=](unsigned o) { return o > v ? o : v; });
}
inline unsigned long long atomicMax(unsigned long long *p, unsigned long long v)
{
    return simt::cas_loop<unsigned long long, uint64_t>(
        p, [=](unsigned long long o) { return o > v ? o : v; });
}
inline int atomicMin(int *p, int v)
{
    return simt::cas_loop<int, uint32_t>(p, [=](int o) { return o < v ? o : v; });
}
inline unsigned atomicMin(unsigned *p, unsigned v)
{
    return simt::cas_loop<unsigned, uint32_t>(p, [=](unsigned o) { return o < v ? o : v; });
}
inline unsigned atomicInc(unsigned *p, unsigned m)
{
    return simt::cas_loop<unsigned, uint32_t>(p, [=](unsigned o) { return o >= m ? 0u : o + 1; });
}
inline int atomicExch(int *p, int v)
{
    return __atomic_exchange_n(p, v, __ATOMIC_RELAXED);
}
inline unsigned atomicExch(unsigned *p, unsigned v)
{
    return __atomic_exchange_n(p, v, __ATOMIC_RELAXED);
}
inline float atomicExch(float *p, float v)
{
    return simt::cas_loop<float, uint32_t>(p, [=](float) { return v; });
}
inline unsigned short atomicCAS(unsigned short *p, unsigned short c, unsigned short v)
{
    __atomic_compare_exchange_n(p, &c, v, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
    return c;
}
inline int atomicCAS(int *p, int c, int v)
{
    __atomic_compare_exchange_n(p, &c, v, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
    return c;
}
inline unsigned atomicCAS(unsigned *p, unsigned c, unsigned v)
{
    __atomic_compare_exchange_n(p, &c, v, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
    return c;
}
inline unsigned long long atomicCAS(unsigned long long *p, unsigned long long c,
                                    unsigned long long v)
{
    __atomic_compare_exchange_n(p, &c, v, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
    return c;
}
inline int atomicOr(int *p, int v)
{
    return __atomic_fetch_or(p, v, __ATOMIC_RELAXED);
}
inline unsigned atomicOr(unsigned *p, unsigned v)
{
    return __atomic_fetch_or(p, v, __ATOMIC_RELAXED);
}
inline unsigned atomicAnd(unsigned *p, unsigned v)
{
    return __atomic_fetch_and(p, v, __ATOMIC_RELAXED);
}

/* --- math and bit intrinsics */
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

template <class S>
inline cudaError_t cudaMemcpyToSymbol(S &sym, const void *src, size_t n, size_t off = 0,
                                      cudaMemcpyKind = cudaMemcpyHostToDevice)
{
    std::memcpy((char *)&sym + off, src, n);
    return cudaSuccess;
}
template <class S> inline cudaError_t cudaGetSymbolAddress(void **p, S &sym)
{
    *p = (void *)&sym;
    return cudaSuccess;
}
template <class F> inline cudaError_t cudaFuncGetAttributes(cudaFuncAttributes *a, F *f)
{
    return ::cudaFuncGetAttributes(a, (const void *)f);
}
template <class F> inline cudaError_t cudaFuncSetAttribute(F *f, cudaFuncAttribute a, int v)
{
    return ::cudaFuncSetAttribute((const void *)f, a, v);
}

#endif
