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

/* Squares of one share of a row, for a whole warp: the sum is in each lane. */
GPU_FN float norm_share(const float *x, int64_t n, int share)
{
    const bool aligned = reinterpret_cast<uintptr_t>(x) % 16 == 0;
    float sum = 0;
    GPU_UNROLL_BY(4)
    for (int64_t k = share * NORM_SHARE + 4 * (threadIdx.x & 31); k < n;
         k += NORM_SHARES * NORM_SHARE) {
        float4 v = make_float4(0, 0, 0, 0);
        if (aligned && k + 4 <= n) {
            v = *reinterpret_cast<const float4 *>(x + k);
        } else {
            v.x = x[k];
            v.y = k + 1 < n ? x[k + 1] : 0.0f;
            v.z = k + 2 < n ? x[k + 2] : 0.0f;
            v.w = k + 3 < n ? x[k + 3] : 0.0f;
        }
        sum = fmaf(v.x, v.x, sum);
        sum = fmaf(v.y, v.y, sum);
        sum = fmaf(v.z, v.z, sum);
        sum = fmaf(v.w, v.w, sum);
    }
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
