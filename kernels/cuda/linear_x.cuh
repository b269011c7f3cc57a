/* linear_x.cuh - rows of x in the form that linear.cuh multiplies: pieces of 8 rows x 64 columns,
 * made by a warp each, either by a kernel for all of x (linear.cu) or by each block for itself.
 *
 * half: 1024 bytes; lane 4 g + t holds columns 16 t ... 16 t + 15 of row g, the first eight in the
 * first half. ints: lane 4 g + t holds columns 4 t ... 4 t + 3 and 16 more of row g, for two groups
 * of 32 (the order of m16n8k32); then d of [2 groups][8 rows], then d * sum, then the sums of both
 * halves. Integers as kernels/cpu/naive_linear.c defines them.
 * scaled: f16 as in half, and then by what each of 8 rows was divided: a power of two that leaves
 * its largest in [2^14, 2^15).
 * A block that makes pieces for itself keeps 1, 2 or 4 of the 8 rows: lane i of so many times 4 is
 * there what lane i of 32 is here; what follows the numbers stays as it is.
 *
 * What is multiplied may be silu(gate) * up of two numbers, or the rmsnorm of x: both are computed
 * where x is read. */
#ifndef KERNELS_CUDA_LINEAR_X_CUH
#define KERNELS_CUDA_LINEAR_X_CUH

#include "kernels/cuda/norm.cuh"

extern "C" {
#include "kernels/gpu/registry.h"
}

enum {
    X_BYTES_HALF = GPU_PIECE_HALF,
    X_BYTES_INT = GPU_PIECE_INT,
    X_BYTES_SCALED = GPU_PIECE_SCALED
};

/* One group of four lanes, and what it makes of which piece. */
struct linear_spot {
    int row, chunk; /* of x */
    uint8_t *to;    /* the piece, or NULL: the numbers are not wanted */
    int at, lanes;  /* this lane's place in it, of how many */
};

/* In a piece of eight rows. */
GPU_FN linear_spot linear_whole(int m_tile, int chunk, uint8_t *to)
{
    const int lane = threadIdx.x & 31;
    return {m_tile * 8 + (lane >> 2), chunk, to, lane, 32};
}

/* In one of several pieces of `rows` rows, the first of them for this chunk. */
GPU_FN linear_spot linear_few(int rows, int chunk, int first, int last, uint8_t *own, int bytes)
{
    const int g = (threadIdx.x & 31) >> 2, c = chunk + g / rows, row = g % rows;
    return {row, c, c < last ? own + (c - first) * bytes : nullptr,
            row * 4 + static_cast<int>(threadIdx.x & 3), rows * 4};
}

struct linear_rows {
    const char *x; /* [m, k] f32; zeros where it ends */
    int64_t stride, k;
    int m;
    int64_t up; /* bytes; not 0: a number is silu(x) times the one so far behind it */
    const float *norm = nullptr;  /* [k], or NULL: a number is its rmsnorm, norm its weights */
    const float *scale = nullptr; /* with norm: of the piece's 8 rows, as norm_scale has it */
};

GPU_FN float linear_silu(float x)
{
    return x / (1 + expf(-x));
}

/* N numbers next to each other, of which `left` are there; zeros beyond. */
template <int N> GPU_FN void linear_next(const float *p, int64_t left, float *v)
{
    GPU_UNROLL
    for (int i = 0; i < N; i++)
        v[i] = i < left ? p[i] : 0.0f;
}

GPU_FN bool linear_aligned(const void *p)
{
    return reinterpret_cast<uintptr_t>(p) % 16 == 0;
}

GPU_FN void linear_put(float4 f, float *v)
{
    v[0] = f.x, v[1] = f.y, v[2] = f.z, v[3] = f.w;
}

/* The same as below of columns that are all there and aligned: all loads come before the first use,
 * so that they take the time of one. */
template <int V, int RUN, int STEP>
GPU_FN void linear_take_all(const linear_rows &x, const float *from, int64_t k, float scale,
                            float (&v)[V])
{
    const float *other = x.norm ? x.norm + k : x.up ? from + x.up / 4 : nullptr;
    float4 f[V / 4], more[V / 4];
    GPU_UNROLL
    for (int i = 0; i < V / 4; i++) {
        const int at = 4 * i / RUN * STEP + 4 * i % RUN;
        f[i] = *reinterpret_cast<const float4 *>(from + at);
        more[i] = other ? *reinterpret_cast<const float4 *>(other + at) : f[i];
    }
    GPU_UNROLL
    for (int i = 0; i < V / 4; i++) {
        float w[4];
        linear_put(f[i], v + 4 * i);
        linear_put(more[i], w);
        GPU_UNROLL
        for (int j = 4 * i; j < 4 * i + 4; j++)
            v[j] = x.norm ? norm_of(v[j], scale, w[j % 4])
                   : x.up ? linear_silu(v[j]) * w[j % 4]
                          : v[j];
    }
}

/* V numbers in columns k + i / RUN * STEP + i % RUN. */
template <int V, int RUN, int STEP>
GPU_FN void linear_take(const linear_rows &x, int row, int64_t k, float (&v)[V])
{
    enum { N = RUN % 4 == 0 ? 4 : RUN };
    const float *from = reinterpret_cast<const float *>(x.x + row * x.stride) + k;
    const float scale = x.norm && row < x.m ? x.scale[row % 8] : 0.0f;
    if constexpr (N == 4) {
        const int last = (V - 1) / RUN * STEP + (V - 1) % RUN;
        const bool one = !x.norm || !x.up;
        if (one && row < x.m && k + last < x.k && linear_aligned(from) && x.up % 16 == 0 &&
            (!x.norm || linear_aligned(x.norm + k))) {
            linear_take_all<V, RUN, STEP>(x, from, k, scale, v);
            return;
        }
    }
    GPU_UNROLL
    for (int i = 0; i < V; i += N) {
        const int at = i / RUN * STEP + i % RUN;
        const int64_t left = row < x.m ? x.k - k - at : 0;
        linear_next<N>(from + at, left, v + i);
        float w[N];
        if (x.norm) {
            linear_next<N>(x.norm + k + at, left, w);
            GPU_UNROLL
            for (int j = 0; j < N; j++)
                v[i + j] = norm_of(v[i + j], scale, w[j]);
        }
        if (x.up) {
            linear_next<N>(from + x.up / 4 + at, left, w);
            GPU_UNROLL
            for (int j = 0; j < N; j++)
                v[i + j] = linear_silu(v[i + j]) * w[j];
        }
    }
}

GPU_FN uint32_t linear_bits(__nv_bfloat162 v)
{
    return *reinterpret_cast<uint32_t *>(&v);
}
GPU_FN uint32_t linear_bits(__half2 v)
{
    return *reinterpret_cast<uint32_t *>(&v);
}

/* The power of two, divided by which a number is in [2^14, 2^15); below 2^-112: the least. */
GPU_FN float linear_power(float top)
{
    const int up = static_cast<int>(__float_as_uint(top) >> 23 & 255) - 127 - 14;
    return __uint_as_float(static_cast<uint32_t>(up < -126 ? 1 : 127 + up) << 23);
}

/* Writes this lane's 16 numbers times `down`. */
template <bool BF16>
GPU_FN void linear_put_half(const linear_spot &s, const float (&v)[16], float down)
{
    uint32_t out[8];
    GPU_UNROLL
    for (int i = 0; i < 8; i++) {
        const float a = v[2 * i] * down, b = v[2 * i + 1] * down;
        out[i] =
            BF16 ? linear_bits(__floats2bfloat162_rn(a, b)) : linear_bits(__floats2half2_rn(a, b));
    }
    if (!s.to)
        return;
    reinterpret_cast<uint4 *>(s.to)[s.at] = make_uint4(out[0], out[1], out[2], out[3]);
    reinterpret_cast<uint4 *>(s.to)[s.lanes + s.at] = make_uint4(out[4], out[5], out[6], out[7]);
}

/* `down` multiplies this lane's row. */
template <bool BF16>
GPU_FN void linear_piece_half(const linear_rows &x, const linear_spot &s, float down)
{
    float v[16];
    linear_take<16, 16, 16>(x, s.row, static_cast<int64_t>(s.chunk) * 64 + 16 * (threadIdx.x & 3),
                            v);
    linear_put_half<BF16>(s, v, down);
}

GPU_FN void linear_piece_scaled(const linear_rows &x, const linear_spot &s)
{
    const int t = threadIdx.x & 3;
    float v[16], top = 0;
    linear_take<16, 16, 16>(x, s.row, static_cast<int64_t>(s.chunk) * 64 + 16 * t, v);
    GPU_UNROLL
    for (int i = 0; i < 16; i++)
        top = fmaxf(top, fabsf(v[i]));
    top = fmaxf(top, __shfl_xor_sync(GPU_ALL, top, 1));
    top = fmaxf(top, __shfl_xor_sync(GPU_ALL, top, 2));
    const float scale = linear_power(top);
    linear_put_half<false>(s, v, 1.0f / scale);
    if (s.to && t == 0)
        reinterpret_cast<float *>(s.to + 32 * s.lanes)[s.at >> 2] = scale;
}

GPU_FN void linear_piece_ints(const linear_rows &x, const linear_spot &s)
{
    const int t = threadIdx.x & 3, g = s.at >> 2;
    const int64_t k0 = static_cast<int64_t>(s.chunk) * 64 + 4 * t;
    float both[16]; /* of both groups, so that all loads are under way at once */
    linear_take<16, 4, 16>(x, s.row, k0, both);
    GPU_UNROLL
    for (int group = 0; group < 2; group++) {
        const float *v = both + group * 8;
        float top = 0;
        GPU_UNROLL
        for (int i = 0; i < 8; i++)
            top = fmaxf(top, fabsf(v[i]));
        top = fmaxf(top, __shfl_xor_sync(GPU_ALL, top, 1));
        top = fmaxf(top, __shfl_xor_sync(GPU_ALL, top, 2));
        const float inv = top >= 0x1p-100f ? 127 / top : 0;
        uint32_t q[2] = {0, 0};
        int sum[2] = {0, 0}; /* of the halves */
        GPU_UNROLL
        for (int i = 0; i < 8; i++) {
            const int n = __float2int_rn(v[i] * inv);
            sum[i / 4] += n;
            q[i / 4] |= (static_cast<uint32_t>(n) & 255) << 8 * (i % 4);
        }
        GPU_UNROLL
        for (int i = 0; i < 2; i++) {
            sum[i] += __shfl_xor_sync(GPU_ALL, sum[i], 1);
            sum[i] += __shfl_xor_sync(GPU_ALL, sum[i], 2);
        }
        const float d = inv > 0 ? top / 127 : 0;
        if (!s.to)
            continue;
        uint8_t *scales = s.to + 16 * s.lanes;
        reinterpret_cast<uint2 *>(s.to)[group * s.lanes + s.at] = make_uint2(q[0], q[1]);
        if (t == 0) {
            reinterpret_cast<float *>(scales)[group * 8 + g] = d;
            reinterpret_cast<float *>(scales + 64)[group * 8 + g] =
                d * static_cast<float>(sum[0] + sum[1]);
            reinterpret_cast<short2 *>(scales + 128)[group * 8 + g] = make_short2(sum[0], sum[1]);
        }
    }
}

#endif
