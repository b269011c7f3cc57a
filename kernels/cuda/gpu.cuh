/* gpu.cuh - the few constructs that are spelled differently for nvcc and for the emulator of
 * tests/simt: launches, dynamic shared memory, cp.async, ldmatrix, mma.sync, named barriers.
 *
 * Every `asm` of the CUDA backend stands here beside its emulated twin, so kernels hold none and
 * compile with both. What a GPU lacks is made of what it has (gpu_75.cuh): sm_75 copies at once
 * instead of by cp.async and multiplies bf16 by shuffles and FMAs; correct everywhere, fast from
 * sm_80 on.
 * Fragment layouts are those of the PTX ISA, "Matrix fragments for mma.m16n8k16 / m16n8k32". */
#ifndef KERNELS_CUDA_GPU_CUH
#define KERNELS_CUDA_GPU_CUH

#include <cuda_runtime.h>

#include <cstdint>
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_fp8.h>

#define GPU_ALL 0xffffffffu /* every lane of a warp */

/* Where a kernel goes, and whether it may begin before the one before it has ended. */
struct gpu_after {
    cudaStream_t stream;
    bool early;
};

#ifdef __CUDACC__
/* --- nvcc */

#define GPU_FN           static __device__ __forceinline__
#define GPU_APART        static __device__ __noinline__
#define GPU_BOTH         static __host__ __device__ __forceinline__ /* for launchers too */
#define GPU_UNROLL       _Pragma("unroll")
#define GPU_PRAGMA(text) _Pragma(#text)
#define GPU_UNROLL_BY(n) GPU_PRAGMA(unroll n)
#define GPU_DYN_SHARED(T, name)                                                                    \
    extern __shared__ __align__(16) unsigned char gpu_dyn_smem_[];                                 \
    T *name = reinterpret_cast<T *>(gpu_dyn_smem_)

template <class... P, class... A>
static inline cudaError_t gpu_launch(void (*k)(P...), dim3 grid, dim3 block, size_t smem,
                                     cudaStream_t s, A &&...a)
{
    k<<<grid, block, smem, s>>>(static_cast<P>(a)...);
    return cudaGetLastError();
}

/* Programmatic dependent launch: with `early` the kernel may begin before the one before it in the
 * stream has ended, as soon as all of that one's blocks called gpu_let_next or ended. Until a
 * thread has called gpu_wait_earlier it reads nothing that a kernel wrote, and writes nothing to
 * device memory; every thread calls it, or the end of this kernel would not tell of the one before.
 */
template <class... P, class... A>
static inline cudaError_t gpu_launch_early(gpu_after after, void (*k)(P...), dim3 grid, dim3 block,
                                           size_t smem, A &&...a)
{
    cudaLaunchAttribute attribute = {};
    attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attribute.val.programmaticStreamSerializationAllowed = 1;
    cudaLaunchConfig_t c = {};
    c.gridDim = grid;
    c.blockDim = block;
    c.dynamicSmemBytes = smem;
    c.stream = after.stream;
    c.attrs = &attribute;
    c.numAttrs = after.early ? 1 : 0;
    return cudaLaunchKernelEx(&c, k, static_cast<P>(a)...);
}

#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900
GPU_FN void gpu_wait_earlier()
{
    asm volatile("griddepcontrol.wait;" ::: "memory");
}
GPU_FN void gpu_let_next()
{
    asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
}
#else
GPU_FN void gpu_wait_earlier()
{
}
GPU_FN void gpu_let_next()
{
}
#endif

GPU_FN uint32_t gpu_smem(const void *p)
{
    return static_cast<uint32_t>(__cvta_generic_to_shared(p));
}

/* What sm_75 has instead of the products below; s += a b. */
GPU_FN void gpu_75_f16(float (&s)[4], uint32_t a0, uint32_t a1, uint32_t b)
{
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 "
                 "{%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};"
                 : "+f"(s[0]), "+f"(s[1]), "+f"(s[2]), "+f"(s[3])
                 : "r"(a0), "r"(a1), "r"(b));
}
GPU_FN void gpu_75_s8(int &s0, int &s1, uint32_t a, uint32_t b)
{
    asm volatile("mma.sync.aligned.m8n8k16.row.col.s32.s8.s8.s32 {%0,%1}, {%2}, {%3}, {%0,%1};"
                 : "+r"(s0), "+r"(s1)
                 : "r"(a), "r"(b));
}

#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
/* N bytes (4 or 16) global -> shared, some time before the wait; bytes past src_bytes are written
 * as zero. */
GPU_FN void gpu_cp_async16(void *smem, const void *gmem, int src_bytes = 16)
{
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(gpu_smem(smem)), "l"(gmem),
                 "r"(src_bytes)
                 : "memory");
}
GPU_FN void gpu_cp_async4(void *smem, const void *gmem, int src_bytes = 4)
{
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(gpu_smem(smem)), "l"(gmem),
                 "r"(src_bytes)
                 : "memory");
}
GPU_FN void gpu_cp_async_commit()
{
    asm volatile("cp.async.commit_group;" ::: "memory");
}
/* Waits until at most N committed groups of this thread are under way. */
template <int N> GPU_FN void gpu_cp_async_wait()
{
    asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
}
#else
#include "kernels/cuda/gpu_75.cuh"
GPU_FN void gpu_cp_async16(void *smem, const void *gmem, int src_bytes = 16)
{
    gpu_75_copy16(smem, gmem, src_bytes);
}
GPU_FN void gpu_cp_async4(void *smem, const void *gmem, int src_bytes = 4)
{
    gpu_75_copy4(smem, gmem, src_bytes);
}
GPU_FN void gpu_cp_async_commit()
{
}
template <int N> GPU_FN void gpu_cp_async_wait()
{
}
#endif

GPU_FN void gpu_ldmatrix_x4(uint32_t (&r)[4], const void *row)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(gpu_smem(row))
                 : "memory");
}
GPU_FN void gpu_ldmatrix_x4_trans(uint32_t (&r)[4], const void *row)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(gpu_smem(row))
                 : "memory");
}
GPU_FN void gpu_ldmatrix_x2(uint32_t (&r)[2], const void *row)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0,%1}, [%2];"
                 : "=r"(r[0]), "=r"(r[1])
                 : "r"(gpu_smem(row))
                 : "memory");
}

/* d = a b + c for one warp: a 16 x 16, b 16 x 8, c and d 16 x 8 in f32. */
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
#define GPU_MMA_16816(name, type)                                                                  \
    GPU_FN void name(float(&d)[4], const uint32_t(&a)[4], const uint32_t(&b)[2],                   \
                     const float(&c)[4])                                                           \
    {                                                                                              \
        asm volatile("mma.sync.aligned.m16n8k16.row.col.f32." type "." type ".f32 "                \
                     "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%10,%11,%12,%13};"                   \
                     : "=f"(d[0]), "=f"(d[1]), "=f"(d[2]), "=f"(d[3])                              \
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]),           \
                       "f"(c[0]), "f"(c[1]), "f"(c[2]), "f"(c[3]));                                \
    }
GPU_MMA_16816(gpu_mma_bf16, "bf16")
GPU_MMA_16816(gpu_mma_f16, "f16")
#undef GPU_MMA_16816

/* a 16 x 32, b 32 x 8 of int8; c and d in int32. */
GPU_FN void gpu_mma_s8(int (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2],
                       const int (&c)[4])
{
    asm volatile("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 "
                 "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%10,%11,%12,%13};"
                 : "=r"(d[0]), "=r"(d[1]), "=r"(d[2]), "=r"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]), "r"(c[0]),
                   "r"(c[1]), "r"(c[2]), "r"(c[3]));
}
/* a 16 x 16, b 16 x 8: the first half of the fragments above. */
GPU_FN void gpu_mma_s8_k16(int (&d)[4], const uint32_t (&a)[2], uint32_t b, const int (&c)[4])
{
    asm volatile("mma.sync.aligned.m16n8k16.row.col.s32.s8.s8.s32 "
                 "{%0,%1,%2,%3}, {%4,%5}, {%6}, {%7,%8,%9,%10};"
                 : "=r"(d[0]), "=r"(d[1]), "=r"(d[2]), "=r"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(b), "r"(c[0]), "r"(c[1]), "r"(c[2]), "r"(c[3]));
}
#else
GPU_FN void gpu_mma_f16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2],
                        const float (&c)[4])
{
    gpu_75_mma_f16(d, a, b, c);
}
GPU_FN void gpu_mma_bf16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2],
                         const float (&c)[4])
{
    gpu_75_mma_bf16(d, a, b, c);
}
GPU_FN void gpu_mma_s8(int (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2],
                       const int (&c)[4])
{
    gpu_75_mma_s8(d, a, b, c);
}
GPU_FN void gpu_mma_s8_k16(int (&d)[4], const uint32_t (&a)[2], uint32_t b, const int (&c)[4])
{
    gpu_75_mma_s8_k16(d, a, b, c);
}
#endif

#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 890
GPU_FN void gpu_mma_e4m3(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2],
                         const float (&c)[4])
{
    asm volatile("mma.sync.aligned.m16n8k32.row.col.f32.e4m3.e4m3.f32 "
                 "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%10,%11,%12,%13};"
                 : "=f"(d[0]), "=f"(d[1]), "=f"(d[2]), "=f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]), "f"(c[0]),
                   "f"(c[1]), "f"(c[2]), "f"(c[3]));
}
#else
/* Older ones have no such numbers; kernels that want them are left out. */
GPU_FN void gpu_mma_e4m3(float (&)[4], const uint32_t (&)[4], const uint32_t (&)[2],
                         const float (&)[4])
{
    __trap();
}
#endif

/* a 16 x 64, b 64 x 8 of e2m1, eight in a register, the least bits first. scales: of a's rows in
 * lanes 4 g (row g) and 4 g + 1 (row g + 8), of b's columns in lanes 4 g. nvf4: four e4m3, one for
 * 16 numbers; mxf4: two exponents of two in the low half, one for 32. sm_120's family alone. */
#if defined(__CUDA_ARCH_FAMILY_SPECIFIC__) && __CUDA_ARCH_FAMILY_SPECIFIC__ >= 1200
#define GPU_MMA_E2M1(name, kind)                                                                   \
    GPU_FN void name(float(&d)[4], const uint32_t(&a)[4], const uint32_t(&b)[2],                   \
                     const float(&c)[4], const uint32_t(&scales)[2])                               \
    {                                                                                              \
        asm volatile("mma.sync.aligned.m16n8k64.row.col.kind::mxf4nvf4.block_scale." kind " "      \
                     "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%10,%11,%12,%13}, "                  \
                     "{%14}, {%16,%16}, {%15}, {%16,%16};"                                         \
                     : "=f"(d[0]), "=f"(d[1]), "=f"(d[2]), "=f"(d[3])                              \
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]),           \
                       "f"(c[0]), "f"(c[1]), "f"(c[2]), "f"(c[3]), "r"(scales[0]), "r"(scales[1]), \
                       "h"(static_cast<uint16_t>(0)));                                             \
    }
GPU_MMA_E2M1(gpu_mma_nvf4, "scale_vec::4X.f32.e2m1.e2m1.f32.ue4m3")
GPU_MMA_E2M1(gpu_mma_mxf4, "scale_vec::2X.f32.e2m1.e2m1.f32.ue8m0")
#undef GPU_MMA_E2M1
#else
GPU_FN void gpu_mma_nvf4(float (&)[4], const uint32_t (&)[4], const uint32_t (&)[2],
                         const float (&)[4], const uint32_t (&)[2])
{
    __trap();
}
GPU_FN void gpu_mma_mxf4(float (&)[4], const uint32_t (&)[4], const uint32_t (&)[2],
                         const float (&)[4], const uint32_t (&)[2])
{
    __trap();
}
#endif

/* v, of which the compiler knows nothing: what is computed from it is not moved out of a loop,
 * where it would hold registers. */
GPU_FN int gpu_opaque(int v)
{
    asm volatile("" : "+r"(v));
    return v;
}

GPU_FN void gpu_arrived(const void *ticket, bool last)
{
    (void)ticket;
    (void)last;
}

/* Named barriers 1 to 15, for kernels whose warps have different parts. */
GPU_FN void gpu_bar_sync(int id, int threads)
{
    asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
}
GPU_FN void gpu_bar_arrive(int id, int threads)
{
    asm volatile("bar.arrive %0, %1;" ::"r"(id), "r"(threads) : "memory");
}

#elif defined(SIMT_EMU)
/* --- the emulator: every wrapper knows its call site, for the reports */

#define GPU_FN    static inline
#define GPU_APART static inline
#define GPU_BOTH  static inline
#define GPU_UNROLL
#define GPU_UNROLL_BY(n)
#define GPU_DYN_SHARED(T, name) T *name = reinterpret_cast<T *>(::simt::dyn_shared())

namespace simt
{
template <class... P> struct Closure {
    void (*k)(P...);
    std::tuple<std::decay_t<P>...> args;
    static void call(const void *c)
    {
        auto *x = static_cast<const Closure *>(c);
        std::apply(x->k, x->args);
    }
    static void destroy(void *c)
    {
        static_cast<Closure *>(c)->~Closure();
    }
};
} // namespace simt

template <class... P, class... A>
static inline cudaError_t gpu_launch_early(gpu_after after, void (*k)(P...), dim3 grid, dim3 block,
                                           size_t smem, A &&...a)
{
    static_assert(sizeof...(P) == sizeof...(A), "kernel argument count");
    static_assert((std::is_trivially_copyable<std::decay_t<P>>::value && ...), "copied as bytes");
    using C = simt::Closure<P...>;
    C c{k, std::tuple<std::decay_t<P>...>(static_cast<P>(a)...)};
    simt::submit_kernel(after.stream, {(const void *)k, grid, block, smem, after.early}, &C::call,
                        &c, sizeof(C), &C::destroy);
    return cudaGetLastError();
}
template <class... P, class... A>
static inline cudaError_t gpu_launch(void (*k)(P...), dim3 grid, dim3 block, size_t smem,
                                     cudaStream_t s, A &&...a)
{
    return gpu_launch_early({s, false}, k, grid, block, smem, static_cast<A &&>(a)...);
}
GPU_FN void gpu_wait_earlier()
{
    simt::wait_earlier();
}
GPU_FN void gpu_let_next()
{
}

/* Their upper half of k (f16), or all but the first quarter (int8), zero. */
GPU_FN void gpu_75_f16(float (&s)[4], uint32_t a0, uint32_t a1, uint32_t b, SIMT_HERE)
{
    const uint32_t a4[4] = {a0, a1, 0, 0}, b2[2] = {b, 0};
    simt::mma_16816(s, a4, b2, s, simt::K_MMA_F16, SIMT_PASS);
}
GPU_FN void gpu_75_s8(int &s0, int &s1, uint32_t a, uint32_t b, SIMT_HERE)
{
    const uint32_t a4[4] = {a, 0, 0, 0}, b2[2] = {b, 0};
    int s[4] = {s0, s1, 0, 0};
    simt::mma_16832_s8(s, a4, b2, s, SIMT_PASS);
    s0 = s[0], s1 = s[1];
}
#include "kernels/cuda/gpu_75.cuh"

GPU_FN void gpu_cp_async16(void *smem, const void *gmem, int src_bytes = 16)
{
    if (simt::sm() < 80)
        gpu_75_copy16(smem, gmem, src_bytes);
    else
        simt::cp_async(smem, gmem, 16, src_bytes);
}
GPU_FN void gpu_cp_async4(void *smem, const void *gmem, int src_bytes = 4)
{
    if (simt::sm() < 80)
        gpu_75_copy4(smem, gmem, src_bytes);
    else
        simt::cp_async(smem, gmem, 4, src_bytes);
}
GPU_FN void gpu_cp_async_commit()
{
    simt::cp_async_commit();
}
template <int N> GPU_FN void gpu_cp_async_wait()
{
    simt::cp_async_wait(N);
}
GPU_FN void gpu_ldmatrix_x4(uint32_t (&r)[4], const void *row, SIMT_HERE)
{
    simt::ldmatrix(r, 4, false, row, SIMT_PASS);
}
GPU_FN void gpu_ldmatrix_x4_trans(uint32_t (&r)[4], const void *row, SIMT_HERE)
{
    simt::ldmatrix(r, 4, true, row, SIMT_PASS);
}
GPU_FN void gpu_ldmatrix_x2(uint32_t (&r)[2], const void *row, SIMT_HERE)
{
    simt::ldmatrix(r, 2, false, row, SIMT_PASS);
}
GPU_FN void gpu_mma_bf16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2],
                         const float (&c)[4], SIMT_HERE)
{
    if (simt::sm() < 80)
        gpu_75_mma_bf16(d, a, b, c);
    else
        simt::mma_16816(d, a, b, c, simt::K_MMA_BF16, SIMT_PASS);
}
GPU_FN void gpu_mma_f16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2],
                        const float (&c)[4], SIMT_HERE)
{
    if (simt::sm() < 80)
        gpu_75_mma_f16(d, a, b, c);
    else
        simt::mma_16816(d, a, b, c, simt::K_MMA_F16, SIMT_PASS);
}
GPU_FN void gpu_mma_s8(int (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2],
                       const int (&c)[4], SIMT_HERE)
{
    if (simt::sm() < 80)
        gpu_75_mma_s8(d, a, b, c);
    else
        simt::mma_16832_s8(d, a, b, c, SIMT_PASS);
}
GPU_FN void gpu_mma_s8_k16(int (&d)[4], const uint32_t (&a)[2], uint32_t b, const int (&c)[4],
                           SIMT_HERE)
{
    const uint32_t a4[4] = {a[0], a[1], 0, 0}, b2[2] = {b, 0};
    if (simt::sm() < 80)
        gpu_75_mma_s8_k16(d, a, b, c);
    else
        simt::mma_16832_s8(d, a4, b2, c, SIMT_PASS);
}
GPU_FN void gpu_mma_e4m3(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2],
                         const float (&c)[4], SIMT_HERE)
{
    simt::mma_16832(d, a, b, c, SIMT_PASS);
}
GPU_FN void gpu_mma_nvf4(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2],
                         const float (&c)[4], const uint32_t (&scales)[2], SIMT_HERE)
{
    simt::mma_16864_e2m1(d, a, b, c, scales, 16, SIMT_PASS);
}
GPU_FN void gpu_mma_mxf4(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2],
                         const float (&c)[4], const uint32_t (&scales)[2], SIMT_HERE)
{
    simt::mma_16864_e2m1(d, a, b, c, scales, 32, SIMT_PASS);
}
GPU_FN int gpu_opaque(int v)
{
    return v;
}
GPU_FN void gpu_arrived(const void *ticket, bool last)
{
    simt::arrived(ticket, last);
}
GPU_FN void gpu_bar_sync(int id, int threads, SIMT_HERE)
{
    simt::bar_sync(id, threads, SIMT_PASS);
}
GPU_FN void gpu_bar_arrive(int id, int threads, SIMT_HERE)
{
    simt::bar_arrive(id, threads, SIMT_PASS);
}

#else
#error "compile .cu files with nvcc, or with g++ and -include tests/simt/simt.h"
#endif

/* True, for every thread, in the last of `blocks` blocks that come here with one ticket: it sees,
 * by __ldcg (L1 does not), what the others wrote before. The ticket is 0 before and after. */
GPU_FN bool gpu_last_block(unsigned *ticket, unsigned blocks)
{
    bool last = false;
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0) {
        last = atomicAdd(ticket, 1u) == blocks - 1;
        if (last)
            atomicExch(ticket, 0u);
        gpu_arrived(ticket, last);
    }
    last = __syncthreads_or(last);
    if (last)
        __threadfence();
    return last;
}
#endif
