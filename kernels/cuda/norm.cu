/* norm.cu - rmsnorm, a block a row (or a row's head). A row is read twice, the second time from L1
 * or L2, and written once. Most norms are part of a product (linear.cuh) and never come here. */
#include "kernels/cuda/norm.cuh"

enum { THREADS = NORM_SHARES * 32 };

static __global__ void __launch_bounds__(THREADS) norm_kernel(struct op_rmsnorm a)
{
    __shared__ float part[NORM_SHARES];
    const bool heads = a.x.ndim == 3;
    const int64_t r = blockIdx.x, h = blockIdx.y, n = a.weight.shape[0];
    gpu_let_next();
    gpu_wait_earlier();
    if (!is_live(a.live, r))
        return;
    const float *x = heads ? head_of<const float>(a.x, r, h) : row_of<const float>(a.x, r);
    float *y = heads ? head_of<float>(a.y, r, h) : row_of<float>(a.y, r);
    const float *w = static_cast<const float *>(a.weight.data);
    const float sum = norm_share(x, n, threadIdx.x >> 5);
    if ((threadIdx.x & 31) == 0)
        part[threadIdx.x >> 5] = sum;
    __syncthreads();
    const float scale = norm_scale(part, n, a.eps);
    for (int64_t i = threadIdx.x; i < n; i += THREADS)
        y[i] = norm_of(x[i], scale, w[i]);
}

enum status cuda_rmsnorm(struct cuda_queue *q, const struct op_rmsnorm *a)
{
    const dim3 grid(static_cast<unsigned>(a->x.shape[0]),
                    a->x.ndim == 3 ? static_cast<unsigned>(a->x.shape[1]) : 1);
    if (a->x.shape[0] == 0)
        return OK;
    return cuda_check(gpu_launch_early({q->stream, q->early}, norm_kernel, grid, THREADS, 0, *a),
                      "rmsnorm");
}
