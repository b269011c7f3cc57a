/* rows.cu - ops on rows that touch each number once: glu, add, gather, columns, and the probe of
 * the build.
 *
 * One thread a number, so all are bound by memory: glu moves 12 bytes a result, add 12, gather and
 * columns 8 (expected: 85 % of the read rate beyond a few MB; a decode step is bound by launches).
 */
#include "kernels/cuda/common.cuh"

enum { THREADS = 256 };

static dim3 grid_of(int64_t rows, int64_t n)
{
    return dim3(static_cast<unsigned>(rows), static_cast<unsigned>((n + THREADS - 1) / THREADS));
}

/* --- glu */

GPU_FN float activate(enum act act, float x)
{
    switch (act) {
    case ACT_SILU:
        return x / (1 + expf(-x));
    case ACT_GELU_TANH: /* 0.5 x (1 + tanh u) = x * sigmoid(2 u) */
        return x / (1 + expf(-2 * (0.797884561f * (x + 0.044715f * (x * x * x)))));
    case ACT_GELU_ERF:
        return 0.5f * x * (1 + erff(x * 0.707106781f));
    default:
        return x > 0 ? x : 0;
    }
}

static __global__ void glu_kernel(struct op_glu a)
{
    const int64_t r = blockIdx.x, f = a.y.shape[1];
    const int64_t i = static_cast<int64_t>(blockIdx.y) * THREADS + threadIdx.x;
    gpu_let_next();
    gpu_wait_earlier();
    if (i >= f || !is_live(a.live, r))
        return;
    const float *x = row_of<const float>(a.x, r);
    row_of<float>(a.y, r)[i] = activate(a.act, x[i]) * x[f + i];
}

enum status cuda_glu(struct cuda_queue *q, const struct op_glu *a)
{
    if (a->y.shape[0] == 0)
        return OK;
    return cuda_check(gpu_launch_early({q->stream, q->early}, glu_kernel,
                                       grid_of(a->y.shape[0], a->y.shape[1]), THREADS, 0, *a),
                      "glu");
}

/* --- add */

static __global__ void add_kernel(struct op_add a)
{
    const int64_t r = blockIdx.x;
    const int64_t i = static_cast<int64_t>(blockIdx.y) * THREADS + threadIdx.x;
    gpu_let_next();
    gpu_wait_earlier();
    if (i < a.y.shape[1] && is_live(a.live, r))
        row_of<float>(a.y, r)[i] = row_of<const float>(a.a, r)[i] + row_of<const float>(a.b, r)[i];
}

enum status cuda_add(struct cuda_queue *q, const struct op_add *a)
{
    if (a->y.shape[0] == 0)
        return OK;
    return cuda_check(gpu_launch_early({q->stream, q->early}, add_kernel,
                                       grid_of(a->y.shape[0], a->y.shape[1]), THREADS, 0, *a),
                      "add");
}

/* --- gather: rows as bytes, four at a time where that is aligned */

template <class T> static __global__ void gather_kernel(struct op_gather a, int64_t n)
{
    const int64_t r = blockIdx.x;
    const int64_t i = static_cast<int64_t>(blockIdx.y) * THREADS + threadIdx.x;
    gpu_let_next();
    gpu_wait_earlier();
    if (i < n && is_live(a.n_live, r))
        row_of<T>(a.y, r)[i] = row_of<const T>(a.x, a.index[r])[i];
}

enum status cuda_gather(struct cuda_queue *q, const struct op_gather *a)
{
    const int64_t bytes =
        static_cast<int64_t>(dtype_row_bytes(static_cast<enum dtype>(a->x.dtype), a->x.shape[1]));
    const uint64_t low = reinterpret_cast<uint64_t>(a->x.data) |
                         reinterpret_cast<uint64_t>(a->y.data) |
                         static_cast<uint64_t>(a->x.stride[0] | a->y.stride[0] | bytes);
    const bool words = low % 4 == 0;
    const int64_t n = words ? bytes / 4 : bytes;
    if (a->y.shape[0] == 0)
        return OK;
    return cuda_check(gpu_launch_early({q->stream, q->early},
                                       words ? gather_kernel<uint32_t> : gather_kernel<uint8_t>,
                                       grid_of(a->y.shape[0], n), THREADS, 0, *a, n),
                      "gather");
}

/* --- columns: reads are scattered inside a row, which the L2 cache holds */

static __global__ void columns_kernel(struct op_columns a)
{
    const int64_t r = blockIdx.x;
    const int64_t i = static_cast<int64_t>(blockIdx.y) * THREADS + threadIdx.x;
    gpu_let_next();
    gpu_wait_earlier();
    if (i < a.y.shape[1] && is_live(a.live, r))
        row_of<float>(a.y, r)[i] = row_of<const float>(a.x, r)[a.index[i]];
}

enum status cuda_columns(struct cuda_queue *q, const struct op_columns *a)
{
    if (a->y.shape[0] == 0)
        return OK;
    return cuda_check(gpu_launch_early({q->stream, q->early}, columns_kernel,
                                       grid_of(a->y.shape[0], a->y.shape[1]), THREADS, 0, *a),
                      "columns");
}

/* --- the probe */

enum status cuda_kernels_fit(const struct cuda_queue *q)
{
    struct cudaFuncAttributes attributes;
    const cudaError_t e = cudaFuncGetAttributes(&attributes, add_kernel);
    if (e == cudaErrorNoKernelImageForDevice || e == cudaErrorInvalidDeviceFunction)
        return fail(ERR_UNSUPPORTED,
                    "cuda: this program was built without code for compute capability %d.%d "
                    "(make CUDA=1 builds for all)",
                    q->cc / 10, q->cc % 10);
    return cuda_check(e, "loading the kernels");
}
