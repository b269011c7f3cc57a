/* gpu_wrappers.cu - what the wrappers of kernels/cuda/gpu.cuh do, and the intrinsics beside them.
 *
 * One line a case: its name, how to compare ("bits", or "near": f32 within rounding), its results
 * as hexadecimal words. The emulator and a GPU run the same cases; where their lines differ, what
 * the tests of the kernels rely on is not what the hardware does. tests/gpu/check.py compares, and
 * keeps a GPU's lines as tests/data/gpu/wrappers-<cc>.txt. */
#include "kernels/cuda/gpu.cuh"

#include <cstdio>
#include <cstring>

#include "tests/gpu/measure.h"

enum { WORDS = 512, LANES = 32 };

GPU_FN uint32_t scramble(uint32_t x)
{
    x ^= x >> 16;
    x *= 0x7feb352du;
    x ^= x >> 15;
    x *= 0x846ca68bu;
    return x ^ x >> 16;
}

GPU_FN int lane_id()
{
    return threadIdx.x & 31;
}

/* A number in -8 ... 8, or about that with a fraction. */
GPU_FN float number(uint32_t seed, bool whole)
{
    const uint32_t r = scramble(seed);
    return whole ? static_cast<float>(static_cast<int>(r % 17) - 8)
                 : (static_cast<float>(r >> 8) * 0x1p-24f - 0.5f) * 4;
}

template <class T> GPU_FN uint32_t word_of(T v)
{
    uint32_t w = 0;
    memcpy(&w, &v, sizeof v);
    return w;
}

/* --- copies */

__global__ void k_cp_async16(uint32_t *out, const uint32_t *in)
{
    GPU_DYN_SHARED(uint32_t, s); /* a piece of 16 bytes a lane */
    const int t = threadIdx.x;
    gpu_cp_async16(s + 4 * t, in + 4 * ((t * 7) % LANES), t % 5 == 4 ? 16 : t % 5 * 4);
    gpu_cp_async_commit();
    gpu_cp_async_wait<0>();
    __syncthreads();
    for (int i = t; i < 4 * LANES; i += LANES)
        out[i] = s[i];
}

__global__ void k_cp_async4(uint32_t *out, const uint32_t *in)
{
    GPU_DYN_SHARED(uint32_t, s);
    const int t = threadIdx.x;
    gpu_cp_async4(s + t, in + (t * 5) % LANES, t % 3 ? 4 : 0);
    gpu_cp_async_commit();
    gpu_cp_async_wait<0>();
    __syncthreads();
    out[t] = s[LANES - 1 - t];
}

/* A ring of three: what is waited for is there, in the order of the commits. */
__global__ void k_cp_async_groups(uint32_t *out, const uint32_t *in)
{
    GPU_DYN_SHARED(uint32_t, s);
    const int t = threadIdx.x;
    for (int g = 0; g < 8; g++) {
        if (g < 6)
            gpu_cp_async4(s + g % 3 * LANES + t, in + (g * LANES + t) % WORDS);
        gpu_cp_async_commit();
        if (g < 2)
            continue;
        gpu_cp_async_wait<2>();
        __syncthreads();
        out[(g - 2) * LANES + t] = s[(g - 2) % 3 * LANES + (t ^ 1)];
        __syncthreads();
    }
}

/* --- fragments */

__global__ void k_ldmatrix_x4(uint32_t *out, const uint32_t *in)
{
    GPU_DYN_SHARED(uint32_t, s); /* 16 x 16 halves, 8 words a row */
    for (int i = threadIdx.x; i < 128; i += LANES)
        s[i] = in[i];
    __syncthreads();
    uint32_t r[4];
    gpu_ldmatrix_x4(r, s + (lane_id() & 15) * 8 + (lane_id() >> 4) * 4);
    for (int i = 0; i < 4; i++)
        out[lane_id() * 4 + i] = r[i];
}

__global__ void k_ldmatrix_x4_trans(uint32_t *out, const uint32_t *in)
{
    GPU_DYN_SHARED(uint32_t, s);
    for (int i = threadIdx.x; i < 128; i += LANES)
        s[i] = in[i];
    __syncthreads();
    uint32_t r[4];
    gpu_ldmatrix_x4_trans(r, s + (lane_id() & 15) * 8 + (lane_id() >> 4) * 4);
    for (int i = 0; i < 4; i++)
        out[lane_id() * 4 + i] = r[i];
}

__global__ void k_ldmatrix_x2(uint32_t *out, const uint32_t *in)
{
    GPU_DYN_SHARED(uint32_t, s);
    for (int i = threadIdx.x; i < 64; i += LANES)
        s[i] = in[i];
    __syncthreads();
    uint32_t r[2];
    gpu_ldmatrix_x2(r, s + (lane_id() & 15) * 4);
    out[lane_id() * 2] = r[0];
    out[lane_id() * 2 + 1] = r[1];
}

/* Whole numbers give exact sums: these show the layout. With fractions they show the rounding. */
template <bool WHOLE> __global__ void k_mma_bf16(uint32_t *out, const uint32_t *)
{
    uint32_t a[4], b[2];
    float c[4], d[4];
    for (int i = 0; i < 4; i++) {
        const int at = lane_id() * 16 + i * 4;
        a[i] = word_of(__floats2bfloat162_rn(number(at, WHOLE), number(at + 1, WHOLE)));
        b[i & 1] = word_of(__floats2bfloat162_rn(number(at + 2, WHOLE), number(at + 3, WHOLE)));
        c[i] = number(at + 4000, WHOLE);
    }
    gpu_mma_bf16(d, a, b, c);
    for (int i = 0; i < 4; i++)
        out[lane_id() * 4 + i] = __float_as_uint(d[i]);
}

template <bool WHOLE> __global__ void k_mma_f16(uint32_t *out, const uint32_t *)
{
    uint32_t a[4], b[2];
    float c[4], d[4];
    for (int i = 0; i < 4; i++) {
        const int at = lane_id() * 16 + i * 4;
        a[i] = word_of(__floats2half2_rn(number(at, WHOLE), number(at + 1, WHOLE)));
        b[i & 1] = word_of(__floats2half2_rn(number(at + 2, WHOLE), number(at + 3, WHOLE)));
        c[i] = number(at + 4000, WHOLE);
    }
    gpu_mma_f16(d, a, b, c);
    for (int i = 0; i < 4; i++)
        out[lane_id() * 4 + i] = __float_as_uint(d[i]);
}

/* Numbers of very different sizes: what the tensor cores keep of the small ones. */
__global__ void k_mma_bf16_range(uint32_t *out, const uint32_t *)
{
    uint32_t a[4], b[2];
    float c[4], d[4];
    for (int i = 0; i < 4; i++) {
        const int at = lane_id() * 16 + i * 4;
        const float big = scramble(at + 77) % 4 == 0 ? 4096.0f : 1.0f;
        a[i] = word_of(__floats2bfloat162_rn(big * number(at, false), number(at + 1, false)));
        b[i & 1] = word_of(__floats2bfloat162_rn(number(at + 2, false), number(at + 3, false)));
        c[i] = 0;
    }
    gpu_mma_bf16(d, a, b, c);
    for (int i = 0; i < 4; i++)
        out[lane_id() * 4 + i] = __float_as_uint(d[i]);
}

__global__ void k_mma_s8(uint32_t *out, const uint32_t *in)
{
    uint32_t a[4], b[2];
    int c[4], d[4];
    for (int i = 0; i < 4; i++) {
        a[i] = in[lane_id() * 8 + i];
        b[i & 1] = in[lane_id() * 8 + 4 + (i & 1)];
        c[i] = static_cast<int>(in[lane_id()] >> 12) - (1 << 19);
    }
    gpu_mma_s8(d, a, b, c);
    for (int i = 0; i < 4; i++)
        out[lane_id() * 4 + i] = static_cast<uint32_t>(d[i]);
}

__global__ void k_mma_s8_k16(uint32_t *out, const uint32_t *in)
{
    const uint32_t a[2] = {in[lane_id() * 4], in[lane_id() * 4 + 1]};
    const int c[4] = {0x4b400000, 0, -5, 1 << 20};
    int d[4];
    gpu_mma_s8_k16(d, a, in[lane_id() * 4 + 2], c);
    for (int i = 0; i < 4; i++)
        out[lane_id() * 4 + i] = static_cast<uint32_t>(d[i]);
}

#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 890
/* Without exponents that are large, or NaN. */
__global__ void k_mma_e4m3(uint32_t *out, const uint32_t *in)
{
    uint32_t a[4], b[2];
    float c[4] = {}, d[4];
    for (int i = 0; i < 4; i++) {
        a[i] = in[lane_id() * 8 + i] & 0xbfbfbfbfu;
        b[i & 1] = in[lane_id() * 8 + 4 + (i & 1)] & 0xbfbfbfbfu;
    }
    gpu_mma_e4m3(d, a, b, c);
    for (int i = 0; i < 4; i++)
        out[lane_id() * 4 + i] = __float_as_uint(d[i]);
}
#else
__global__ void k_mma_e4m3(uint32_t *, const uint32_t *)
{
}
#endif

/* Scales are between 1/8 and 16; lanes that hold none hold a NaN. */
template <bool NV> __global__ void k_mma_e2m1(uint32_t *out, const uint32_t *in)
{
    const int lane = lane_id(), t = lane & 3;
    const uint32_t none = 0xffffffffu, s = in[256 + lane];
    const uint32_t scale = NV ? (s & 0x1f1f1f1fu) + 0x28282828u : (s & 0x07070707u) + 0x7c7c7c7cu;
    const uint32_t scales[2] = {t < 2 ? scale : none, t == 0 ? scale : none};
    uint32_t a[4], b[2];
    float c[4] = {1, -2, 0.5f, 0}, d[4];
    for (int i = 0; i < 4; i++) {
        a[i] = in[lane * 8 + i];
        b[i & 1] = in[lane * 8 + 4 + (i & 1)];
    }
    if (NV)
        gpu_mma_nvf4(d, a, b, c, scales);
    else
        gpu_mma_mxf4(d, a, b, c, scales);
    for (int i = 0; i < 4; i++)
        out[lane * 4 + i] = __float_as_uint(d[i]);
}

/* --- barriers, warps */

__global__ void k_named_barriers(uint32_t *out, const uint32_t *in)
{
    GPU_DYN_SHARED(uint32_t, s);
    const int t = threadIdx.x;
    if (t < 32) {
        for (int i = t; i < 96; i += 32)
            s[i] = in[i] ^ 1;
        gpu_bar_arrive(1, 128);
    } else {
        gpu_bar_sync(1, 128);
        out[t - 32] = s[127 - t];
    }
}

__global__ void k_shuffles(uint32_t *out, const uint32_t *in)
{
    const int t = lane_id();
    const uint32_t v = in[t];
    out[t] = __shfl_sync(GPU_ALL, v, t * 3 + 1);
    out[32 + t] = __shfl_sync(GPU_ALL, v, 5, 8);
    out[64 + t] = __shfl_xor_sync(GPU_ALL, v, 9);
    out[96 + t] = __shfl_up_sync(GPU_ALL, v, 3);
    out[128 + t] = __shfl_down_sync(GPU_ALL, v, 3, 16);
    out[160 + t] = __ballot_sync(GPU_ALL, v & 4);
    out[192 + t] = __any_sync(GPU_ALL, v == in[7]) + 2 * __all_sync(GPU_ALL, v == in[7]);
    out[224 + t] = __match_any_sync(GPU_ALL, v & 3);
}

__global__ void k_block_votes(uint32_t *out, const uint32_t *in)
{
    const int t = threadIdx.x;
    out[t] = static_cast<uint32_t>(__syncthreads_count(in[t] & 1)) * 4 +
             (__syncthreads_and(in[t] != 0) ? 2 : 0) + (__syncthreads_or(in[t] == in[3]) ? 1 : 0);
}

/* Sums of integers do not depend on the order. */
__global__ void k_atomics(uint32_t *out, const uint32_t *in)
{
    const int t = threadIdx.x;
    atomicAdd(out + (in[t] & 7), in[t] >> 8);
    atomicCAS(out + 8 + t / 4, 0u, in[t / 4]);
}

/* --- conversions: all that is stored in fewer bits */

__global__ void k_to_bf16(uint32_t *out, const uint32_t *in)
{
    for (int i = threadIdx.x; i < WORDS; i += LANES)
        out[i] = word_of(__float2bfloat16_rn(__uint_as_float(in[i] & 0xbfffffffu)));
}

__global__ void k_to_f16(uint32_t *out, const uint32_t *in)
{
    for (int i = threadIdx.x; i < WORDS; i += LANES) { /* exponents from 2^-31 to 2^16 */
        const uint32_t e = 96 + in[i] / 7 % 48;
        out[i] = word_of(__float2half_rn(__uint_as_float((in[i] & 0x807fffffu) | e << 23)));
    }
}

__global__ void k_from_f16(uint32_t *out, const uint32_t *in)
{
    for (int i = threadIdx.x; i < WORDS; i += LANES) {
        __half_raw r;
        r.x = static_cast<unsigned short>(in[i] & 0xbfff);
        out[i] = __float_as_uint(__half2float(__half(r)));
    }
}

__global__ void k_to_e4m3(uint32_t *out, const uint32_t *in)
{
    for (int i = threadIdx.x; i < WORDS; i += LANES) { /* exponents from 2^-12 to 2^11 */
        const uint32_t e = 115 + in[i] / 7 % 24;
        const float f = __uint_as_float((in[i] & 0x807fffffu) | e << 23);
        out[i] = __nv_cvt_float_to_fp8(f, __NV_SATFINITE, __NV_E4M3) |
                 static_cast<uint32_t>(__nv_cvt_float_to_fp8(f, __NV_SATFINITE, __NV_E5M2)) << 8;
    }
}

__global__ void k_from_fp8(uint32_t *out, const uint32_t *)
{
    for (int i = threadIdx.x; i < WORDS; i += LANES) { /* all 256 of both; 7f and ff are NaN */
        const uint32_t v = i & 255;
        const __half_raw h = __nv_cvt_fp8_to_halfraw(static_cast<__nv_fp8_storage_t>(v),
                                                     i < 256 ? __NV_E4M3 : __NV_E5M2);
        out[i] = (h.x & 0x7fff) > 0x7c00 ? 0x7fff : h.x;
    }
}

__global__ void k_to_int(uint32_t *out, const uint32_t *in)
{
    for (int i = threadIdx.x; i < WORDS; i += LANES) {
        const float f = static_cast<float>(static_cast<int32_t>(in[i])) * 0x1p-24f;
        out[i] = static_cast<uint32_t>(__float2int_rn(f)) ^
                 static_cast<uint32_t>(__float2int_rd(f * 3)) << 16;
    }
}

/* --- f32: rounded where IEEE says so, near elsewhere */

__global__ void k_arithmetic(uint32_t *out, const uint32_t *in)
{
    for (int i = threadIdx.x; i < WORDS; i += LANES) {
        const float u = number(in[i], false), v = number(in[i] + 1, false);
        out[i] = i % 4 == 0   ? __float_as_uint(fmaf(u, v, u))
                 : i % 4 == 1 ? __float_as_uint(u / v)
                 : i % 4 == 2 ? __float_as_uint(sqrtf(fabsf(u)))
                              : __float_as_uint(__fadd_rn(__fmul_rn(u, v), u));
    }
}

__global__ void k_functions(uint32_t *out, const uint32_t *in)
{
    for (int i = threadIdx.x; i < WORDS; i += LANES) {
        const float u = number(in[i], false) * 4;
        out[i] = i % 4 == 0   ? __float_as_uint(expf(u))
                 : i % 4 == 1 ? __float_as_uint(exp2f(u))
                 : i % 4 == 2 ? __float_as_uint(logf(fabsf(u)))
                              : __float_as_uint(tanhf(u));
    }
}

/* --- the table */

typedef void kernel_fn(uint32_t *, const uint32_t *);
/* clang-format off */
static const struct {
    const char *name;
    kernel_fn *kernel;
    int threads, words, cc; /* words of the result; the least compute capability */
    bool near;
} cases[] = {
    {"cp_async16",          k_cp_async16,        32,  128, 75, false},
    {"cp_async4",           k_cp_async4,         32,  32,  75, false},
    {"cp_async_groups",     k_cp_async_groups,   32,  192, 75, false},
    {"ldmatrix_x4",         k_ldmatrix_x4,       32,  128, 75, false},
    {"ldmatrix_x4_trans",   k_ldmatrix_x4_trans, 32,  128, 75, false},
    {"ldmatrix_x2",         k_ldmatrix_x2,       32,  64,  75, false},
    {"mma_bf16",            k_mma_bf16<true>,    32,  128, 75, false},
    {"mma_bf16_fractions",  k_mma_bf16<false>,   32,  128, 75, true},
    {"mma_bf16_range",      k_mma_bf16_range,    32,  128, 75, true},
    {"mma_f16",             k_mma_f16<true>,     32,  128, 75, false},
    {"mma_f16_fractions",   k_mma_f16<false>,    32,  128, 75, true},
    {"mma_s8",              k_mma_s8,            32,  128, 75, false},
    {"mma_s8_k16",          k_mma_s8_k16,        32,  128, 75, false},
    {"mma_e4m3",            k_mma_e4m3,          32,  128, 89, true},
    {"mma_nvf4",            k_mma_e2m1<true>,    32,  128, 120, true},
    {"mma_mxf4",            k_mma_e2m1<false>,   32,  128, 120, true},
    {"named_barriers",      k_named_barriers,    128, 96,  75, false},
    {"shuffles_and_votes",  k_shuffles,          32,  256, 75, false},
    {"block_votes",         k_block_votes,       128, 128, 75, false},
    {"atomics",             k_atomics,           128, 40,  75, false},
    {"to_bf16",             k_to_bf16,           32,  512, 75, false},
    {"to_f16",              k_to_f16,            32,  512, 75, false},
    {"from_f16",            k_from_f16,          32,  512, 75, false},
    {"to_fp8",              k_to_e4m3,           32,  512, 75, false},
    {"from_fp8",            k_from_fp8,          32,  512, 75, false},
    {"to_int",              k_to_int,            32,  512, 75, false},
    {"arithmetic",          k_arithmetic,        32,  512, 75, false},
    {"functions",           k_functions,         32,  512, 75, true},
};
/* clang-format on */

int main(int, char **)
{
    cudaDeviceProp prop;
    uint32_t *in, *out;
    must(cudaSetDevice(0), "the GPU");
    must(cudaGetDeviceProperties(&prop, 0), "the GPU");
    in = static_cast<uint32_t *>(random_bytes(WORDS * sizeof *in, 42));
    must(cudaMalloc(reinterpret_cast<void **>(&out), WORDS * sizeof *out), "memory");
    for (auto &c : cases) {
        uint32_t host[WORDS];
        if (c.cc > prop.major * 10 + prop.minor)
            continue;
        must(cudaMemset(out, 0, WORDS * sizeof *out), c.name);
        must(gpu_launch(c.kernel, 1, c.threads, 4096, nullptr, out,
                        static_cast<const uint32_t *>(in)),
             c.name);
        must(cudaMemcpy(host, out, c.words * sizeof *host, cudaMemcpyDeviceToHost), c.name);
        printf("%s %s", c.name, c.near ? "near" : "bits");
        for (int i = 0; i < c.words; i++)
            printf(" %x", host[i]);
        printf("\n");
    }
    return 0;
}
