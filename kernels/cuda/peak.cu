/* peak.cu - kernels that do one thing as fast as the GPU can: read, copy, multiply, start. What
 * they reach are the ceilings of the cost model and of the roofline.
 *
 * Shapes: whole buffers; a launch of peak_mma is CHAINS products a warp and turn, in registers.
 * Bytes: as their names say.
 * The trick: eight loads of 16 bytes in flight a thread, eight independent accumulators a warp, so
 * that neither latency counts; results go to a sink that hardly ever is written.
 * Expected (not measured): 90 % of a data sheet's memory rate, 80 % of its tensor rate where
 * mma.sync is native. */
#include "kernels/cuda/gpu.cuh"

#include "kernels/cuda/peak.h"

enum { THREADS = 256, UNROLL = 8, CHAINS = 8, SMALL_THREADS = 128 };

__global__ void __launch_bounds__(THREADS) copy_kernel(uint4 *to, const uint4 *from, size_t n)
{
    const size_t step = static_cast<size_t>(gridDim.x) * THREADS;
    for (size_t i = static_cast<size_t>(blockIdx.x) * THREADS + threadIdx.x; i < n; i += step)
        to[i] = from[i];
}

/* Each block reads `n` pieces of 16 bytes, `turns` times, UNROLL of them in flight in a thread. */
__global__ void __launch_bounds__(THREADS)
    read_kernel(const uint4 *from, size_t n, int turns, uint32_t *sink)
{
    const size_t step = static_cast<size_t>(gridDim.x) * THREADS;
    uint32_t sum = 0;
    for (int t = 0; t < turns; t++)
        for (size_t i = static_cast<size_t>(blockIdx.x) * THREADS + threadIdx.x; i < n;
             i += step * UNROLL) {
            uint4 v[UNROLL];
            GPU_UNROLL
            for (int k = 0; k < UNROLL; k++)
                v[k] = i + k * step < n ? from[i + k * step] : make_uint4(0, 0, 0, 0);
            GPU_UNROLL
            for (int k = 0; k < UNROLL; k++)
                sum += v[k].x ^ v[k].y ^ v[k].z ^ v[k].w;
        }
    if (sum == 0x12345678u) /* hardly ever, and the compiler cannot know */
        sink[0] = sum;
}

/* --- arithmetic: CHAINS independent accumulators a warp, so that latency does not count */

GPU_FN uint32_t scramble(uint32_t x)
{
    x ^= x >> 16;
    x *= 0x7feb352du;
    x ^= x >> 15;
    x *= 0x846ca68bu;
    return x ^ x >> 16;
}

/* Bits that are numbers around 1 in the format: bf16 and f16 in pairs, fp8 in fours. */
enum math { BF16, F16, INT8, FP8 };
template <math M> GPU_FN uint32_t operand(uint32_t seed)
{
    const uint32_t r = scramble(seed * 32 + threadIdx.x);
    return M == BF16   ? (r & 0x807f807fu) | 0x3f003f00u
           : M == F16  ? (r & 0x83ff83ffu) | 0x38003800u
           : M == INT8 ? r
                       : (r & 0x87878787u) | 0x30303030u;
}

#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 890
#define MULTIPLY_FP8(c, a, w) gpu_mma_e4m3(c, a, w, c)
#else
#define MULTIPLY_FP8(c, a, w)
#endif

template <math M> struct accumulator {
    float v[4];
};
template <> struct accumulator<INT8> {
    int v[4];
};

/* One product; of fp8 only where the tensor cores have it. */
template <math M>
GPU_FN void multiply(accumulator<M> &c, const uint32_t (&a)[4], const uint32_t (&w)[2])
{
    if constexpr (M == BF16)
        gpu_mma_bf16(c.v, a, w, c.v);
    else if constexpr (M == F16)
        gpu_mma_f16(c.v, a, w, c.v);
    else if constexpr (M == INT8)
        gpu_mma_s8(c.v, a, w, c.v);
    else
        MULTIPLY_FP8(c.v, a, w);
}

template <math M> __global__ void __launch_bounds__(THREADS) mma_kernel(int loops, uint32_t *sink)
{
    uint32_t a[2][4], w[2][2];
    accumulator<M> c[CHAINS] = {};
    GPU_UNROLL
    for (int k = 0; k < 2; k++) {
        GPU_UNROLL
        for (int i = 0; i < 4; i++)
            a[k][i] = operand<M>(k * 8 + i);
        GPU_UNROLL
        for (int i = 0; i < 2; i++)
            w[k][i] = operand<M>(k * 8 + 4 + i);
    }
    for (int l = 0; l < loops; l++) {
        GPU_UNROLL
        for (int i = 0; i < CHAINS; i++)
            multiply<M>(c[i], a[i & 1], w[i & 1]);
    }
    float sum = 0;
    GPU_UNROLL
    for (int i = 0; i < CHAINS; i++)
        sum += static_cast<float>(c[i].v[0]) + static_cast<float>(c[i].v[3]);
    if (sum == 0.125f)
        sink[1] = 1;
}

/* --- launches: the time from one small kernel to the next */

__global__ void small_kernel(uint32_t *sink)
{
    if (threadIdx.x == 0)
        sink[3 + blockIdx.x % 4] = blockIdx.x;
}

#ifdef __CUDACC__
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900
#define WAIT_FOR_LAUNCH_BEFORE                                                                     \
    cudaTriggerProgrammaticLaunchCompletion();                                                     \
    cudaGridDependencySynchronize()
#else
#define WAIT_FOR_LAUNCH_BEFORE
#endif
__global__ void overlapping_kernel(uint32_t *sink)
{
    WAIT_FOR_LAUNCH_BEFORE;
    if (threadIdx.x == 0)
        sink[3 + blockIdx.x % 4] = blockIdx.x;
}

/* Programmatic dependent launch: the next kernel's blocks are there before this one has ended. */
static cudaError_t overlapping(int cc, int blocks, uint32_t *sink, cudaStream_t stream)
{
    cudaLaunchAttribute overlap = {};
    overlap.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    overlap.val.programmaticStreamSerializationAllowed = 1;
    cudaLaunchConfig_t c = {};
    c.gridDim = dim3(blocks);
    c.blockDim = dim3(SMALL_THREADS);
    c.stream = stream;
    c.attrs = &overlap;
    c.numAttrs = cc >= 90;
    return cudaLaunchKernelEx(&c, overlapping_kernel, sink);
}
#else /* the emulator: no launch overlaps */
static cudaError_t overlapping(int, int blocks, uint32_t *sink, cudaStream_t stream)
{
    return gpu_launch(small_kernel, blocks, SMALL_THREADS, 0, stream, sink);
}
#endif

/* --- host */

static const uint4 *words(const void *p)
{
    return static_cast<const uint4 *>(p);
}

cudaError_t peak_copy(const struct peak *p, void *to, const void *from, size_t bytes)
{
    return gpu_launch(copy_kernel, p->sms * 8, THREADS, 0, p->stream, static_cast<uint4 *>(to),
                      words(from), bytes / sizeof(uint4));
}

cudaError_t peak_read(const struct peak *p, const void *from, size_t bytes, int turns)
{
    return gpu_launch(read_kernel, p->sms * 8, THREADS, 0, p->stream, words(from),
                      bytes / sizeof(uint4), turns, p->sink);
}

bool peak_has(int cc, enum peak_math m)
{
    return m == PEAK_FP8 ? cc >= 89 : m == PEAK_BF16 ? cc >= 80 : true;
}

cudaError_t peak_mma(const struct peak *p, enum peak_math m, int blocks, int loops, double *ops)
{
    *ops = 2.0 * 16 * 8 * (m >= PEAK_INT8 ? 32 : 16) * CHAINS * loops * (THREADS / 32) * blocks;
    switch (m) {
    case PEAK_F16:
        return gpu_launch(mma_kernel<F16>, blocks, THREADS, 0, p->stream, loops, p->sink);
    case PEAK_BF16:
        return gpu_launch(mma_kernel<BF16>, blocks, THREADS, 0, p->stream, loops, p->sink);
    case PEAK_INT8:
        return gpu_launch(mma_kernel<INT8>, blocks, THREADS, 0, p->stream, loops, p->sink);
    default:
        return gpu_launch(mma_kernel<FP8>, blocks, THREADS, 0, p->stream, loops, p->sink);
    }
}

cudaError_t peak_start(const struct peak *p, bool early)
{
    return early ? overlapping(p->cc, p->sms, p->sink, p->stream)
                 : gpu_launch(small_kernel, p->sms, SMALL_THREADS, 0, p->stream, p->sink);
}
