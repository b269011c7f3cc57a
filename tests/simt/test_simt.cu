/* test_simt.cu - the emulator itself: what it must accept, and what it must catch. */
#include "kernels/cuda/gpu.cuh"

#include <cmath>
#include <csignal>
#include <cstdlib>
#include <string>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

#include "tests/simt/internal.h"

extern "C" {
#include "tests/support/test.h"
}

__global__ void k_divergent_sync()
{
    if (threadIdx.x < 32)
        __syncthreads();
    else
        __syncthreads(); /* call sites are told apart by their line */
}
__global__ void k_missing_thread()
{
    if (threadIdx.x != 7)
        __syncwarp();
    else
        __syncthreads();
}
__global__ void k_shfl_inactive(int *o)
{
    if (threadIdx.x < 16)
        o[threadIdx.x] = __shfl_sync(0xffffu, (int)threadIdx.x, 20);
}
__global__ void k_mma_divergent(float *o)
{
    float d[4], c[4] = {};
    uint32_t a[4] = {}, b[2] = {};
    if (threadIdx.x < 16)
        gpu_mma_bf16(d, a, b, c);
    else
        gpu_mma_bf16(d, a, b, c);
    o[threadIdx.x] = d[0];
}
__global__ void k_partial(int *o)
{ /* early exit, partial warp, sub-warp masks: all legal */
    int t = threadIdx.x;
    if (t >= 40)
        return;
    unsigned m = t < 32 ? 0xffffffffu : 0xffu;
    int v = t;
    for (int s = 4; s; s >>= 1)
        v += __shfl_xor_sync(m, v, s, 8);
    if (t < 16) {
        v += (int)__ballot_sync(0xffffu, t & 1) * 1000;
    } else if (t < 32) {
        __syncwarp(0xffff0000u);
    }
    __syncthreads();
    o[t] = v;
}
__global__ void k_lockstep(int *o)
{ /* relies on lockstep execution: wrong since Volta */
    __shared__ int s[32];
    int t = threadIdx.x;
    s[t] = t;
    o[t] = s[31 - t];
}
__global__ void k_named(int *o)
{ /* warp 0 produces, warps 1..3 consume */
    GPU_DYN_SHARED(int, s);
    if (threadIdx.x < 32) {
        for (int i = threadIdx.x; i < 96; i += 32)
            s[i] = i * 3;
        gpu_bar_arrive(1, 128);
    } else {
        gpu_bar_sync(1, 128);
        o[threadIdx.x - 32] = s[threadIdx.x - 32];
    }
}
__global__ void k_smem_oob(int n)
{
    GPU_DYN_SHARED(int, s);
    s[n] = 1;
}
__global__ void k_glob_oob(int *p, int n)
{
    p[n] = 1;
}
__global__ void k_set(int *p, int v)
{
    *p = v;
}
__global__ void k_copy(int *d, const int *s)
{
    *d = *s;
}
__global__ void k_count(int *p)
{
    atomicAdd(p, 1);
}
/* Operand layout of the mma and ldmatrix wrappers against a plain product. */
__global__ void k_mma_ref(const __nv_bfloat16 *A, const __nv_bfloat16 *B, float *D)
{
    __shared__ __align__(16) __nv_bfloat16 sa[16 * 16], sb[16 * 8];
    int t = threadIdx.x; /* A row-major 16x16, B row-major k x n 16x8 */
    for (int i = t; i < 256; i += 32)
        sa[i] = A[i];
    for (int i = t; i < 128; i += 32)
        sb[i] = B[i];
    __syncwarp();
    uint32_t a[4], q[4];
    gpu_ldmatrix_x4(a, sa + (t & 15) * 16 + (t >> 4) * 8);
    gpu_ldmatrix_x4_trans(q, sb + (t & 15) * 8);
    uint32_t b[2] = {q[0], q[1]};
    float c[4] = {}, d[4];
    gpu_mma_bf16(d, a, b, c);
    for (int i = 0; i < 4; i++)
        D[((t >> 2) + (i >> 1) * 8) * 8 + (t & 3) * 2 + (i & 1)] = d[i];
}
template <class F> static bool dies(F f)
{
    fflush(stdout);
    pid_t p = fork();
    if (!p) {
        for (int sig : {SIGSEGV, SIGBUS, SIGABRT})
            signal(sig, SIG_DFL); /* not cmocka's, which would go on with the next test */
        if (freopen("/dev/null", "w", stderr))
            f();
        _exit(0);
    }
    int st;
    waitpid(p, &st, 0);
    return !(WIFEXITED(st) && WEXITSTATUS(st) == 0);
}

/* Runs f with errors made sticky instead of fatal; true when the report names `what`. */
template <class F> static bool reports(const char *what, F f)
{
    simt::config.abort_on_error = false;
    f();
    cudaError_t e = cudaDeviceSynchronize();
    std::string r = e == cudaErrorLaunchFailure ? simt::last_report : "";
    simt::reset_error_for_tests();
    simt::config.abort_on_error = true;
    return r.find(what) != std::string::npos;
}

static int *ints; /* device memory of the tests */
static float *floats;

static int open_memory(void **)
{
    return cudaMalloc((void **)&ints, 4096) || cudaMalloc((void **)&floats, 1 << 20);
}

static int close_memory(void **)
{
    return cudaFree(ints) || cudaFree(floats);
}

static std::vector<int> get(int n)
{
    std::vector<int> h((size_t)n);
    assert_int_equal(cudaMemcpy(h.data(), ints, (size_t)n * 4, cudaMemcpyDeviceToHost), 0);
    return h;
}

/* Launched early: a thread that never waits for the kernels before is found. */
__global__ void k_early(int *out, int waits)
{
    if (static_cast<int>(threadIdx.x) < waits)
        gpu_wait_earlier();
    out[threadIdx.x] = 1;
}

static void test_wrong_kernels(void **)
{
    assert_true(reports("gpu_wait_earlier", [] {
        gpu_launch_early({nullptr, true}, k_early, 2, 64, 0, ints, 63);
    }));
    assert_false(reports("gpu_wait_earlier", [] {
        gpu_launch_early({nullptr, true}, k_early, 2, 64, 0, ints, 64);
        gpu_launch(k_early, 1, 64, 0, nullptr, ints, 0);
    }));
    assert_true(reports("divergent", [] { gpu_launch(k_divergent_sync, 1, 64, 0, nullptr); }));
    assert_true(reports("deadlock", [] { gpu_launch(k_missing_thread, 1, 32, 0, nullptr); }));
    assert_true(reports("does not take part",
                        [] { gpu_launch(k_shfl_inactive, 1, 32, 0, nullptr, ints); }));
    assert_true(
        reports("two places", [] { gpu_launch(k_mma_divergent, 1, 32, 0, nullptr, floats); }));
}

static void test_legal_kernels(void **)
{
    gpu_launch(k_partial, 1, 64, 0, nullptr, ints);
    std::vector<int> h = get(40);
    for (int t = 0; t < 40; t++) {
        int s = t < 16 ? 0xaaaa * 1000 : 0;
        for (int i = t / 8 * 8; i < t / 8 * 8 + 8; i++)
            s += i;
        assert_int_equal(h[t], s);
    }
    gpu_launch(k_named, 1, 128, 4096, nullptr, ints);
    h = get(96);
    for (int t = 0; t < 96; t++)
        assert_int_equal(h[t], t * 3);
}

static void test_lockstep_is_not_promised(void **)
{
    bool as_written = true;
    gpu_launch(k_lockstep, 1, 32, 0, nullptr, ints);
    std::vector<int> h = get(32);
    for (int t = 0; t < 32; t++)
        as_written &= h[t] == 31 - t;
    assert_false(as_written);
}

static void test_bounds(void **)
{
    assert_true(dies([] { gpu_launch(k_smem_oob, 1, 1, 1024, nullptr, 256); }));
    assert_true(dies([] { gpu_launch(k_glob_oob, 1, 1, 0, nullptr, ints, 1024 + 64); }));
    assert_true(dies([] { /* into the slack behind a buffer: found at synchronisation */
                          int *p;
                          cudaMalloc((void **)&p, 100);
                          gpu_launch(k_glob_oob, 1, 1, 0, nullptr, p, 26);
                          cudaDeviceSynchronize();
    }));
    assert_true(dies([] { /* the host reads device memory */
                          simt::config.protect = true;
                          int *p;
                          cudaMalloc((void **)&p, 4);
                          volatile int v = *p;
                          (void)v;
    }));
}

static void test_launch_limits(void **)
{
    assert_int_equal(gpu_launch(k_set, 1, 2048, 0, nullptr, ints, 1),
                     cudaErrorInvalidConfiguration);
    assert_int_equal(gpu_launch(k_set, 1, 1, 60000, nullptr, ints, 1), cudaErrorInvalidValue);
    const auto most = cudaFuncAttributeMaxDynamicSharedMemorySize;
    assert_int_equal(cudaFuncSetAttribute(k_copy, most, 60000), 0);
    assert_int_equal(cudaFuncSetAttribute(k_copy, most, 50000), cudaErrorInvalidValue);
    cudaGetLastError();
}

static void test_fragments(void **)
{
    std::vector<__nv_bfloat16> a(256), b(128);
    std::vector<float> d(128);
    for (int i = 0; i < 256; i++)
        a[i] = __float2bfloat16((float)(i * 7 % 23) - 11);
    for (int i = 0; i < 128; i++)
        b[i] = __float2bfloat16((float)(i * 5 % 19) - 9);
    __nv_bfloat16 *da, *db;
    cudaMalloc((void **)&da, 512);
    cudaMalloc((void **)&db, 256);
    cudaMemcpy(da, a.data(), 512, cudaMemcpyHostToDevice);
    cudaMemcpy(db, b.data(), 256, cudaMemcpyHostToDevice);
    gpu_launch(k_mma_ref, 1, 32, 0, nullptr, da, db, floats);
    cudaMemcpy(d.data(), floats, 512, cudaMemcpyDeviceToHost);
    for (int i = 0; i < 16; i++)
        for (int j = 0; j < 8; j++) {
            float r = 0;
            for (int k = 0; k < 16; k++)
                r += __bfloat162float(a[i * 16 + k]) * __bfloat162float(b[k * 8 + j]);
            assert_true(r == d[i * 8 + j]);
        }
    cudaFree(da);
    cudaFree(db);
}

/* Two streams, work run late and in random order: without the event the copy is often too early. */
static int wrong_of_50(cudaStream_t s1, cudaStream_t s2, cudaEvent_t e)
{
    int wrong = 0;
    for (int i = 0; i < 50; i++) {
        gpu_launch(k_set, 1, 1, 0, s1, ints, i);
        if (e) {
            cudaEventRecord(e, s1);
            cudaStreamWaitEvent(s2, e, 0);
        }
        gpu_launch(k_copy, 1, 1, 0, s2, ints + 1, (const int *)ints);
        cudaDeviceSynchronize();
        wrong += get(2)[1] != i;
    }
    return wrong;
}

/* Lane 8 words: a, b, scales of a and b. */
__global__ void k_e2m1(const uint32_t *in, float *out, bool nv)
{
    uint32_t a[4], b[2];
    float c[4] = {0.5f, 0.5f, 0.5f, 0.5f}, d[4];
    in += threadIdx.x * 8;
    for (int i = 0; i < 4; i++)
        a[i] = in[i];
    b[0] = in[4], b[1] = in[5];
    const uint32_t scales[2] = {in[6], in[7]};
    if (nv)
        gpu_mma_nvf4(d, a, b, c, scales);
    else
        gpu_mma_mxf4(d, a, b, c, scales);
    for (int i = 0; i < 4; i++)
        out[threadIdx.x * 4 + i] = d[i];
}

/* Block-scaled mma of e2m1: matrices of codes, laid out in registers as the PTX ISA has it for
 * m16n8k64, against sums in double. Scales are powers of two: 2^-1 2^0 2^1 2^2 by block. */
static void test_e2m1(void **)
{
    static const double value[16] = {0,   0.5,  1,  1.5,  2,  3,  4,  6,
                                     -0., -0.5, -1, -1.5, -2, -3, -4, -6};
    for (int block = 16; block <= 32; block += 16) {
        int A[16][64], B[8][64], SA[16][4], SB[8][4];
        uint32_t in[32][8] = {}, seed = 5;
        float got[32][4];
        auto draw = [&](int n) { return (int)((seed = seed * 1664525u + 1013904223u) >> 16) % n; };
        for (int k = 0; k < 64; k++)
            for (int r = 0; r < 24; r++)
                (r < 16 ? A[r][k] : B[r - 16][k]) = draw(16);
        for (int r = 0; r < 24; r++)
            for (int i = 0; i < 4; i++)
                (r < 16 ? SA[r][i] : SB[r - 16][i]) = draw(4) - 1;
        const int one = block == 16 ? 7 << 3 : 127, step = block == 16 ? 8 : 1; /* 2^0, 2^1 - 2^0 */
        for (int l = 0; l < 32; l++) {
            for (int j = 0; j < 48; j++) {
                const int reg = j / 8, k = (l % 4) * 8 + j % 8 + (reg < 4 ? reg / 2 : reg - 4) * 32;
                const int code = reg < 4 ? A[l / 4 + reg % 2 * 8][k] : B[l / 4][k];
                in[l][reg] |= (uint32_t)code << 4 * (j % 8);
            }
            for (int i = 0; i < 64 / block; i++) {
                if (l % 4 < 2)
                    in[l][6] |= (uint32_t)(one + step * SA[l / 4 + l % 4 * 8][i]) << 8 * i;
                if (l % 4 == 0)
                    in[l][7] |= (uint32_t)(one + step * SB[l / 4][i]) << 8 * i;
            }
        }
        uint32_t *device;
        cudaMalloc((void **)&device, sizeof in);
        cudaMemcpy(device, in, sizeof in, cudaMemcpyHostToDevice);
        gpu_launch(k_e2m1, 1, 32, 0, nullptr, device, floats, block == 16);
        cudaMemcpy(got, floats, sizeof got, cudaMemcpyDeviceToHost);
        cudaFree(device);
        for (int r = 0; r < 16; r++)
            for (int n = 0; n < 8; n++) {
                double want = 0.5;
                for (int k = 0; k < 64; k++)
                    want += value[A[r][k]] * value[B[n][k]] *
                            std::exp2(SA[r][k / block] + SB[n][k / block]);
                assert_true(got[r % 8 * 4 + n / 2][r / 8 * 2 + n % 2] == (float)want);
            }
    }
}

static void test_streams_and_graphs(void **)
{
    cudaStream_t s1, s2;
    cudaEvent_t e, e2;
    cudaGraph_t g;
    cudaGraphExec_t x;
    int *p;
    simt::config.lazy_streams = true;
    cudaStreamCreateWithFlags(&s1, cudaStreamNonBlocking);
    cudaStreamCreateWithFlags(&s2, cudaStreamNonBlocking);
    cudaEventCreate(&e);
    cudaEventCreate(&e2);
    assert_true(wrong_of_50(s1, s2, nullptr) > 10);
    assert_int_equal(wrong_of_50(s1, s2, e), 0);
    /* a graph with fork and join */
    cudaStreamBeginCapture(s1, cudaStreamCaptureModeGlobal);
    gpu_launch(k_set, 1, 1, 0, s1, ints, 77);
    cudaEventRecord(e, s1);
    cudaStreamWaitEvent(s2, e, 0);
    gpu_launch(k_copy, 1, 1, 0, s2, ints + 1, (const int *)ints);
    cudaEventRecord(e2, s2);
    cudaStreamWaitEvent(s1, e2, 0);
    gpu_launch(k_copy, 1, 1, 0, s1, ints + 2, (const int *)(ints + 1));
    assert_int_not_equal(cudaMalloc((void **)&p, 4), 0);
    assert_int_equal(cudaStreamEndCapture(s1, &g), 0);
    assert_int_equal(cudaGraphInstantiate(&x, g, 0), 0);
    cudaMemset(ints, 0, 16);
    cudaGraphLaunch(x, s1);
    cudaStreamSynchronize(s1);
    assert_int_equal(get(3)[2], 77);
    cudaGraphExecDestroy(x);
    cudaGraphDestroy(g);
    /* to synchronise a capturing stream ends the capture */
    cudaStreamBeginCapture(s1, cudaStreamCaptureModeGlobal);
    cudaStreamSynchronize(s1);
    assert_int_not_equal(cudaStreamEndCapture(s1, &g), 0);
    cudaEventDestroy(e);
    cudaEventDestroy(e2);
    cudaStreamDestroy(s1);
    cudaStreamDestroy(s2);
    simt::config.lazy_streams = false;
    simt::reset_error_for_tests();
}

static void test_two_os_threads(void **)
{
    simt::config.os_threads = 2;
    cudaMemset(ints, 0, 4);
    gpu_launch(k_count, 64, 256, 0, nullptr, ints);
    simt::config.os_threads = 1;
    assert_int_equal(get(1)[0], 16384);
}

int main()
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wrong_kernels),
        cmocka_unit_test(test_legal_kernels),
        cmocka_unit_test(test_lockstep_is_not_promised),
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_launch_limits),
        cmocka_unit_test(test_fragments),
        cmocka_unit_test(test_e2m1),
        cmocka_unit_test(test_streams_and_graphs),
        cmocka_unit_test(test_two_os_threads),
    };
    return cmocka_run_group_tests(tests, open_memory, close_memory);
}
