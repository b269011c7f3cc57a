/* norm.cu - rmsnorm and add_rmsnorm, a block a row (or a row's head).
 *
 * A thread takes every THREADS-th number, squares are summed in f32 by a fixed tree, and the row,
 * which lies in L2 by then, is read again. add_rmsnorm writes the sum back in the first pass: each
 * thread reads again only what it wrote. 16 bytes a number with the add, 8 without. */
#include "kernels/cuda/common.cuh"

template <bool ADD, int THREADS> static __global__ void norm_kernel(struct op_add_rmsnorm a)
{
    __shared__ float part[THREADS / 32];
    const bool heads = a.x.ndim == 3;
    const int64_t r = blockIdx.x, h = blockIdx.y, n = a.weight.shape[0];
    if (!is_live(a.live, r))
        return;
    float *x = heads ? head_of<float>(a.x, r, h) : row_of<float>(a.x, r);
    float *y = heads ? head_of<float>(a.y, r, h) : row_of<float>(a.y, r);
    const float *w = static_cast<const float *>(a.weight.data);
    float sum = 0;
    for (int64_t i = threadIdx.x; i < n; i += THREADS) {
        float v = x[i];
        if (ADD)
            x[i] = v += row_of<const float>(a.delta, r)[i];
        sum = fmaf(v, v, sum);
    }
    sum = block_reduce<Sum>(sum, part);
    const float scale = 1 / sqrtf(sum / static_cast<float>(n) + a.eps);
    for (int64_t i = threadIdx.x; i < n; i += THREADS)
        y[i] = x[i] * scale * w[i];
}

template <bool ADD>
static enum status run(struct cuda_queue *q, const struct op_add_rmsnorm *a, const char *name)
{
    const dim3 grid(static_cast<unsigned>(a->x.shape[0]),
                    a->x.ndim == 3 ? static_cast<unsigned>(a->x.shape[1]) : 1);
    if (a->x.shape[0] == 0)
        return OK;
    if (a->weight.shape[0] <= 512) /* heads, tiny models */
        return cuda_check(gpu_launch(norm_kernel<ADD, 64>, grid, 64, 0, q->stream, *a), name);
    return cuda_check(gpu_launch(norm_kernel<ADD, 256>, grid, 256, 0, q->stream, *a), name);
}

enum status cuda_rmsnorm(struct cuda_queue *q, const struct op_rmsnorm *a)
{
    struct op_add_rmsnorm b = {};
    b.x = a->x;
    b.weight = a->weight;
    b.y = a->y;
    b.eps = a->eps;
    b.live = a->live;
    return run<false>(q, &b, "rmsnorm");
}

enum status cuda_add_rmsnorm(struct cuda_queue *q, const struct op_add_rmsnorm *a)
{
    return run<true>(q, a, "add_rmsnorm");
}
