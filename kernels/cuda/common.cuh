/* common.cuh - what the kernels share: rows of tensors, live rows, sums over a warp and a block. */
#ifndef KERNELS_CUDA_COMMON_CUH
#define KERNELS_CUDA_COMMON_CUH

#include "kernels/cuda/gpu.cuh"

#include "kernels/cuda/cuda.h"

extern "C" {
#include "kernels/kv_type.h"
}

template <class T> GPU_FN T *row_of(const struct tensor &t, int64_t r)
{
    return reinterpret_cast<T *>(static_cast<char *>(t.data) + r * t.stride[0]);
}

template <class T> GPU_FN T *head_of(const struct tensor &t, int64_t r, int64_t h)
{
    return reinterpret_cast<T *>(static_cast<char *>(t.data) + r * t.stride[0] + h * t.stride[1]);
}

/* False for rows of the bucket that are not used. */
GPU_FN bool is_live(const int32_t *live, int64_t row)
{
    return !live || row < live[0];
}

/* --- pages: K and V of a head lie in plain order [t, d], whatever the shape */

GPU_FN char *page_head(const struct kv_view &kv, int slot, int pos, int h)
{
    const int64_t page =
        kv.table[static_cast<int64_t>(slot) * kv.table_stride + pos / kv.page_tokens];
    return static_cast<char *>(kv.base) + page * kv.page_bytes + h * (kv.page_bytes / kv.n_head);
}

/* Bytes from a head's K to its V. */
GPU_FN int64_t page_half(const struct kv_view &kv)
{
    return kv.page_bytes / kv.n_head / 2;
}

/* Bytes from a position's numbers to the next one's. */
GPU_FN int64_t page_row(const struct kv_view &kv)
{
    return kv.head_dim * (kv.dtype == DT_F32 ? 4 : kv.dtype == DT_BF16 ? 2 : 1);
}

GPU_FN void put_kv(const struct kv_view &kv, char *at, int64_t i, float f)
{
    if (kv.dtype == DT_F32)
        reinterpret_cast<float *>(at)[i] = f;
    else
        reinterpret_cast<__nv_bfloat16 *>(at)[i] = __float2bfloat16_rn(f);
}

/* --- reductions: a fixed tree, the same result in every thread */

struct Sum {
    template <class T> static __device__ T of(T a, T b)
    {
        return a + b;
    }
};
struct Max {
    template <class T> static __device__ T of(T a, T b)
    {
        return a > b ? a : b;
    }
};

template <class Op, class T> GPU_FN T warp_reduce(T v)
{
    GPU_UNROLL
    for (int o = 16; o > 0; o >>= 1)
        v = Op::of(v, __shfl_xor_sync(GPU_ALL, v, o));
    return v;
}

/* Every thread of a block of whole warps takes part; `part` is shared memory for one T a warp, free
 * again after the next barrier. */
template <class Op, class T> GPU_FN T block_reduce(T v, T *part)
{
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, warps = blockDim.x >> 5;
    v = warp_reduce<Op>(v);
    if (warps == 1)
        return v;
    if (lane == 0)
        part[warp] = v;
    __syncthreads();
    v = part[0];
    for (int i = 1; i < warps; i++)
        v = Op::of(v, part[i]);
    return v;
}

#endif
