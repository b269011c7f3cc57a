/* norm.cuh - what an rmsnorm multiplies a row by, the same bits wherever it is computed: by rmsnorm
 * itself, where a product prepares its x, and in each block of a product of few rows.
 *
 * A row's squares are summed in four shares, a warp's work each: numbers 4 lane ... 4 lane + 3 of
 * every 512 from 128 share on, in ascending order, then the lanes by a fixed tree, then the shares.
 */
#ifndef KERNELS_CUDA_NORM_CUH
#define KERNELS_CUDA_NORM_CUH

#include "kernels/cuda/common.cuh"

enum { NORM_SHARES = 4, NORM_SHARE = 128 };

GPU_FN float norm_add(float sum, float4 v)
{
    sum = fmaf(v.x, v.x, sum);
    sum = fmaf(v.y, v.y, sum);
    sum = fmaf(v.z, v.z, sum);
    return fmaf(v.w, v.w, sum);
}

/* Squares of one share of a row, for a whole warp: the sum is in each lane. All loads of 4096
 * numbers are under way at once, for every product of few rows waits for them; those beyond the row
 * are zeros, which change no sum. */
GPU_FN float norm_share(const float *x, int64_t n, int share)
{
    enum { STEP = NORM_SHARES * NORM_SHARE, AT_ONCE = 8 };
    const bool aligned = reinterpret_cast<uintptr_t>(x) % 16 == 0 && n % 4 == 0;
    const int64_t first = share * NORM_SHARE + 4 * (threadIdx.x & 31);
    float sum = 0;
    GPU_UNROLL_BY(1)
    for (int64_t k = first; aligned && k < n; k += STEP * AT_ONCE) {
        float4 v[AT_ONCE];
        GPU_UNROLL
        for (int j = 0; j < AT_ONCE; j++)
            v[j] = k + j * STEP < n ? *reinterpret_cast<const float4 *>(x + k + j * STEP)
                                    : make_float4(0, 0, 0, 0);
        GPU_UNROLL
        for (int j = 0; j < AT_ONCE; j++)
            sum = norm_add(sum, v[j]);
    }
    GPU_UNROLL_BY(1)
    for (int64_t k = first; !aligned && k < n; k += STEP)
        sum = norm_add(sum, make_float4(x[k], k + 1 < n ? x[k + 1] : 0.0f,
                                        k + 2 < n ? x[k + 2] : 0.0f, k + 3 < n ? x[k + 3] : 0.0f));
    return warp_reduce<Sum>(sum);
}

/* All four of a row by one warp. */
GPU_FN void norm_shares(const float *x, int64_t n, float *part)
{
    GPU_UNROLL_BY(1)
    for (int i = 0; i < NORM_SHARES; i++) {
        const float sum = norm_share(x, n, i);
        if ((threadIdx.x & 31) == 0)
            part[i] = sum;
    }
}

/* 1 / sqrt(mean of the squares + eps), from the four shares. */
GPU_FN float norm_scale(const float *part, int64_t n, float eps)
{
    const float sum = part[0] + part[1] + part[2] + part[3];
    return 1 / sqrtf(sum / static_cast<float>(n) + eps);
}

/* What a number becomes; spelled out, or it would be rounded here and contracted there. */
GPU_FN float norm_of(float x, float scale, float weight)
{
    return __fmul_rn(__fmul_rn(x, scale), weight);
}

#endif
