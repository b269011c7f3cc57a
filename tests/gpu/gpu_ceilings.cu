/* gpu_ceilings.cu - what a GPU can do at most: memory, L2, tensor cores, conversion, launches, bus.
 *
 *     gpu_ceilings [--seconds N] [--cublaslt FILE] [--facts] [--tiny]
 *
 * First line: what the GPU is (--facts: no more). Then one line a ceiling. Data is random, because
 * a GPU is faster on zeros. --tiny measures nothing worth knowing: it is for the emulator. */
#include "kernels/cuda/gpu.cuh"

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "tests/gpu/lt_peak.h"
#include "tests/gpu/measure.h"

enum { THREADS = 256, UNROLL = 8, CHAINS = 8 };

struct bench {
    cudaStream_t stream;
    cudaDeviceProp prop;
    bool tiny;
    effort e;
    size_t bytes; /* of a buffer that no cache holds */
    char *a, *b;
    uint32_t *sink; /* results go here, so that nothing is left out */
    int loops;      /* of the kernels that only compute */
};

/* Measures what `run` submits. */
template <class F> static figure time_of(const bench &b, F run)
{
    return measure(
        b.stream, &b.e, [](void *f) { (*static_cast<F *>(f))(); }, &run);
}

/* --- memory */

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

static void measure_memory(const bench &b)
{
    const size_t n = b.bytes / sizeof(uint4);
    const int blocks = b.prop.multiProcessorCount * 8;
    auto *from = reinterpret_cast<const uint4 *>(b.a);
    auto *to = reinterpret_cast<uint4 *>(b.b);
    print_rate("copy_gbs", 2.0 * b.bytes, time_of(b, [&] {
                   cudaMemcpyAsync(b.b, b.a, b.bytes, cudaMemcpyDeviceToDevice, b.stream);
               }));
    print_rate("copy_kernel_gbs", 2.0 * b.bytes, time_of(b, [&] {
                   gpu_launch(copy_kernel, blocks, THREADS, 0, b.stream, to, from, n);
               }));
    print_rate("read_gbs", b.bytes, time_of(b, [&] {
                   gpu_launch(read_kernel, blocks, THREADS, 0, b.stream, from, n, 1, b.sink);
               }));
    /* A quarter of the L2, so that it stays there whatever the hash of addresses. */
    const size_t l2 = b.prop.l2CacheSize > 0 ? b.prop.l2CacheSize / 4 / sizeof(uint4) : n;
    const size_t few = l2 < n ? l2 : n;
    const int turns = b.tiny ? 2 : 50;
    print_rate("l2_gbs", 1.0 * turns * few * sizeof(uint4), time_of(b, [&] {
                   gpu_launch(read_kernel, blocks, THREADS, 0, b.stream, from, few, turns, b.sink);
               }));
}

/* --- the bus */

static void measure_bus(const bench &b)
{
    const size_t bytes = b.tiny ? 4096 : 256 << 20;
    void *host;
    must(cudaMallocHost(&host, bytes), "pinned memory");
    memset(host, 0x5a, bytes);
    print_rate("upload_gbs", bytes, time_of(b, [&] {
                   cudaMemcpyAsync(b.a, host, bytes, cudaMemcpyHostToDevice, b.stream);
               }));
    print_rate("download_gbs", bytes, time_of(b, [&] {
                   cudaMemcpyAsync(host, b.a, bytes, cudaMemcpyDeviceToHost, b.stream);
               }));
    must(cudaFreeHost(host), "pinned memory");
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

/* Four fp8 to four f16 and back into the input, as weights are decoded. */
__global__ void __launch_bounds__(THREADS) cvt_kernel(int loops, uint32_t *sink)
{
    uint32_t v[CHAINS];
    GPU_UNROLL
    for (int i = 0; i < CHAINS; i++)
        v[i] = operand<FP8>(i);
    for (int l = 0; l < loops; l++)
        GPU_UNROLL
    for (int i = 0; i < CHAINS; i++) {
        const __half2_raw lo =
            __nv_cvt_fp8x2_to_halfraw2(static_cast<__nv_fp8x2_storage_t>(v[i]), __NV_E4M3);
        const __half2_raw hi =
            __nv_cvt_fp8x2_to_halfraw2(static_cast<__nv_fp8x2_storage_t>(v[i] >> 16), __NV_E4M3);
        v[i] = (lo.x ^ hi.y) | static_cast<uint32_t>(lo.y ^ hi.x) << 16;
    }
    uint32_t sum = 0;
    GPU_UNROLL
    for (int i = 0; i < CHAINS; i++)
        sum += v[i];
    if (sum == 0x12345678u)
        sink[2] = sum;
}

template <math M> static void measure_mma(const bench &b, const char *name, double flops)
{
    const int blocks = b.prop.multiProcessorCount * (b.tiny ? 1 : 4);
    const double all = flops * CHAINS * b.loops * (THREADS / 32) * blocks;
    print_rate(name, all * 1e-3, time_of(b, [&] { /* in 10^12 a second */
                                                  gpu_launch(mma_kernel<M>, blocks, THREADS, 0,
                                                             b.stream, b.loops, b.sink);
               }));
}

static void measure_math(const bench &b)
{
    const int blocks = b.prop.multiProcessorCount * (b.tiny ? 1 : 4);
    const int cc = b.prop.major * 10 + b.prop.minor;
    measure_mma<F16>(b, "mma_f16_tflops", 2.0 * 16 * 8 * 16);
    if (cc >= 80)
        measure_mma<BF16>(b, "mma_bf16_tflops", 2.0 * 16 * 8 * 16);
    measure_mma<INT8>(b, "mma_int8_tops", 2.0 * 16 * 8 * 32);
    if (cc >= 89)
        measure_mma<FP8>(b, "mma_fp8_tflops", 2.0 * 16 * 8 * 32);
    print_rate("cvt_e4m3_g", 4.0 * CHAINS * b.loops * THREADS * blocks, time_of(b, [&] {
                   gpu_launch(cvt_kernel, blocks, THREADS, 0, b.stream, b.loops, b.sink);
               }));
}

static void measure_library(const bench &b, const char *file)
{
    static const struct {
        const char *name;
        cudaDataType type;
    } types[] = {{"lt_bf16_tflops", CUDA_R_16BF},
                 {"lt_fp8_tflops", CUDA_R_8F_E4M3},
                 {"lt_int8_tops", CUDA_R_8I}};
    lt_peak *p = lt_peak_open(file);
    for (auto &t : types) {
        const int n = b.tiny ? 16 : 8192;
        figure f;
        if (p && lt_peak_measure(p, t.type, n, b.stream, &b.e, &f))
            print_rate(t.name, 2e-3 * n * n * n, f);
    }
    lt_peak_close(p);
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
static cudaError_t launch_overlapping(const bench &b, int blocks)
{
    cudaLaunchAttribute overlap = {};
    overlap.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    overlap.val.programmaticStreamSerializationAllowed = 1;
    cudaLaunchConfig_t c = {};
    c.gridDim = dim3(blocks);
    c.blockDim = dim3(128);
    c.stream = b.stream;
    c.attrs = &overlap;
    c.numAttrs = b.prop.major >= 9;
    return cudaLaunchKernelEx(&c, overlapping_kernel, b.sink);
}

/* `turns` barriers over the grid; all blocks run at once, as one a multiprocessor does. */
__global__ void barrier_kernel(uint32_t *count, int turns)
{
    for (int t = 1; t <= turns; t++) {
        __syncthreads();
        if (threadIdx.x == 0) {
            __threadfence();
            atomicAdd(count, 1u);
            while (*static_cast<volatile uint32_t *>(count) < t * gridDim.x) {
            }
            __threadfence();
        }
        __syncthreads();
    }
}

static void measure_barrier(const bench &b)
{
    const int turns = 1000, blocks = b.prop.multiProcessorCount;
    figure f = time_of(b, [&] {
        cudaMemsetAsync(b.sink + 8, 0, sizeof *b.sink, b.stream);
        gpu_launch(barrier_kernel, blocks, 128, 0, b.stream, b.sink + 8, turns);
    });
    print_time("grid_barrier_us", {f.us / turns, f.lo / turns, f.hi / turns});
}
#else /* the emulator: no block waits for another, no launch overlaps */
static cudaError_t launch_overlapping(const bench &b, int blocks)
{
    return gpu_launch(small_kernel, blocks, 128, 0, b.stream, b.sink);
}
static void measure_barrier(const bench &)
{
}
#endif

/* `launch`, n times in a graph: microseconds a kernel. */
template <class F> static void measure_graph(const bench &b, const char *name, int n, F launch)
{
    cudaGraph_t g;
    cudaGraphExec_t x;
    must(cudaStreamBeginCapture(b.stream, cudaStreamCaptureModeThreadLocal), "capture");
    for (int i = 0; i < n; i++)
        must(launch(), "launch");
    must(cudaStreamEndCapture(b.stream, &g), "capture");
    must(cudaGraphInstantiate(&x, g, 0), "graph");
    figure f = time_of(b, [&] { cudaGraphLaunch(x, b.stream); });
    print_time(name, {f.us / n, f.lo / n, f.hi / n});
    cudaGraphExecDestroy(x);
    cudaGraphDestroy(g);
}

static void measure_launches(const bench &b)
{
    const int n = b.tiny ? 4 : 1000, blocks = b.prop.multiProcessorCount;
    auto one = [&] { return gpu_launch(small_kernel, blocks, 128, 0, b.stream, b.sink); };
    figure f = time_of(b, [&] {
        for (int i = 0; i < n; i++)
            one();
    });
    print_time("launch_gap_us", {f.us / n, f.lo / n, f.hi / n});
    measure_graph(b, "graph_gap_us", n, one);
    measure_graph(b, "pdl_gap_us", n, [&] { return launch_overlapping(b, blocks); });
    measure_barrier(b);
}

/* --- what the GPU is */

static void print_device(const bench &b)
{
    int driver = 0, runtime = 0;
    size_t free_bytes = 0, total = 0;
    must(cudaDriverGetVersion(&driver), "driver");
    must(cudaRuntimeGetVersion(&runtime), "runtime");
    must(cudaMemGetInfo(&free_bytes, &total), "memory");
    const cudaDeviceProp &p = b.prop;
    printf("{\"kind\": \"device\", \"name\": \"%s\", \"cc\": \"%d.%d\", \"sm\": %d, \"l2_bytes\": "
           "%d, \"memory_bytes\": %zu, \"free_bytes\": %zu, \"smem_block\": %zu, \"smem_sm\": %zu, "
           "\"threads_sm\": %d, \"ecc\": %s, \"pci\": \"%04x:%02x:%02x\", \"cuda_driver\": %d, "
           "\"cuda_runtime\": %d}\n",
           p.name, p.major, p.minor, p.multiProcessorCount, p.l2CacheSize, total, free_bytes,
           p.sharedMemPerBlockOptin, p.sharedMemPerMultiprocessor, p.maxThreadsPerMultiProcessor,
           p.ECCEnabled ? "true" : "false", static_cast<unsigned>(p.pciDomainID),
           static_cast<unsigned>(p.pciBusID), static_cast<unsigned>(p.pciDeviceID), driver,
           runtime);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    bench b = {};
    double seconds = 20;
    bool facts = false;
    const char *library = nullptr; /* of the emulator: what this program is linked with */
    for (int i = 1; i < argc; i++) {
        b.tiny = b.tiny || strcmp(argv[i], "--tiny") == 0;
        facts = facts || strcmp(argv[i], "--facts") == 0;
        if (strcmp(argv[i], "--seconds") == 0 && i + 1 < argc)
            seconds = strtod(argv[++i], nullptr);
        else if (strcmp(argv[i], "--cublaslt") == 0 && i + 1 < argc)
            library = argv[++i];
    }
    must(cudaSetDevice(0), "the GPU");
    must(cudaGetDeviceProperties(&b.prop, 0), "the GPU");
    must(cudaStreamCreateWithFlags(&b.stream, cudaStreamNonBlocking), "stream");
    b.e = effort_of(seconds / 18, b.tiny); /* as many measurements as there are below */
    b.loops = b.tiny ? 2 : 4096;
    b.bytes = b.tiny ? 1 << 16 : static_cast<size_t>(2) << 30;
    print_device(b);
    if (facts)
        return 0;
    b.a = static_cast<char *>(random_bytes(b.bytes, 1));
    b.b = static_cast<char *>(random_bytes(b.bytes, 2));
    b.sink = static_cast<uint32_t *>(random_bytes(4096, 3));
    measure_memory(b);
    measure_bus(b);
    measure_math(b);
    measure_library(b, library);
    measure_launches(b);
    return 0;
}
