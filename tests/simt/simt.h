/* simt.h - runs CUDA kernel sources on the CPU, for tests.
 *
 * Force-included when a .cu file is compiled with a host compiler:
 *     g++ -std=c++17 -x c++ -include tests/simt/simt.h -I. -I$CUDA/include kernel.cu
 * and linked with the .cc files beside it (scheduler, runtime API). The toolkit's own
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

int sm(); /* compute capability of the device, 89 for 8.9 */
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
/* Sums of floats have an order: a kernel that lets blocks race for one does not compile. */
float atomicAdd(float *p, float v) = delete;
double atomicAdd(double *p, double v) = delete;
__half2 atomicAdd(__half2 *p, __half2 v) = delete;
__nv_bfloat162 atomicAdd(__nv_bfloat162 *p, __nv_bfloat162 v) = delete;
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

#include "tests/simt/simt_math.h"

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
