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

#include "kernels/cuda/peak.h"
#include "tests/gpu/lt_peak.h"
#include "tests/gpu/measure.h"

enum { THREADS = 256, CHAINS = 8 };

struct bench {
    cudaStream_t stream;
    peak p;
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

static void measure_memory(const bench &b)
{
    print_rate("copy_gbs", 2.0 * b.bytes, time_of(b, [&] {
                   cudaMemcpyAsync(b.b, b.a, b.bytes, cudaMemcpyDeviceToDevice, b.stream);
               }));
    print_rate("copy_kernel_gbs", 2.0 * b.bytes,
               time_of(b, [&] { peak_copy(&b.p, b.b, b.a, b.bytes); }));
    print_rate("read_gbs", b.bytes, time_of(b, [&] { peak_read(&b.p, b.a, b.bytes, 1); }));
    /* A quarter of the L2, so that it stays there whatever the hash of addresses. */
    const size_t l2 = b.prop.l2CacheSize > 0 ? b.prop.l2CacheSize / 4 / 16 * 16 : b.bytes;
    const size_t few = l2 < b.bytes ? l2 : b.bytes;
    const int turns = b.tiny ? 2 : 50;
    print_rate("l2_gbs", 1.0 * turns * few, time_of(b, [&] { peak_read(&b.p, b.a, few, turns); }));
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

/* --- arithmetic */

/* Four fp8 to four f16 and back into the input, as weights are decoded. */
__global__ void __launch_bounds__(THREADS) cvt_kernel(int loops, uint32_t *sink)
{
    uint32_t v[CHAINS];
    GPU_UNROLL
    for (int i = 0; i < CHAINS; i++)
        v[i] = ((i * 0x9e3779b9u + threadIdx.x * 0x01010101u) & 0x87878787u) | 0x30303030u;
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

static void measure_math(const bench &b)
{
    static const struct {
        const char *name;
        peak_math math;
    } types[] = {{"mma_f16_tflops", PEAK_F16},
                 {"mma_bf16_tflops", PEAK_BF16},
                 {"mma_int8_tops", PEAK_INT8},
                 {"mma_fp8_tflops", PEAK_FP8}};
    const int blocks = b.prop.multiProcessorCount * (b.tiny ? 1 : 4);
    for (auto &t : types) {
        double ops = 0;
        if (!peak_has(b.p.cc, t.math))
            continue;
        const figure f = time_of(b, [&] { peak_mma(&b.p, t.math, blocks, b.loops, &ops); });
        print_rate(t.name, ops * 1e-3, f); /* in 10^12 a second */
    }
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

#ifdef __CUDACC__
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
#else /* the emulator: no block waits for another */
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
    const int n = b.tiny ? 4 : 1000;
    auto one = [&] { return peak_start(&b.p, false); };
    figure f = time_of(b, [&] {
        for (int i = 0; i < n; i++)
            one();
    });
    print_time("launch_gap_us", {f.us / n, f.lo / n, f.hi / n});
    measure_graph(b, "graph_gap_us", n, one);
    measure_graph(b, "pdl_gap_us", n, [&] { return peak_start(&b.p, true); });
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
    b.p = {b.stream, b.prop.major * 10 + b.prop.minor, b.prop.multiProcessorCount, b.sink};
    measure_memory(b);
    measure_bus(b);
    measure_math(b);
    measure_library(b, library);
    measure_launches(b);
    return 0;
}
