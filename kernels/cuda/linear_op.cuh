/* linear_op.cuh - the op linear inside the backend: how one of its ways is chosen, what they have
 * in common, and the ways themselves. A way that declines says ERR_UNSUPPORTED, and y may be
 * anything then; linear.cu goes on to the next. */
#ifndef KERNELS_CUDA_LINEAR_OP_CUH
#define KERNELS_CUDA_LINEAR_OP_CUH

#include "kernels/cuda/cuda.h"

struct linear_args;

/* With `up`, its x is [R, F], and a number of h is silu of it times the one `up` bytes on
 * (op_glu_linear); with `norm`, x is normed before (op_norm_linear). */
struct linear_op : op_linear {
    int64_t up;
    const float *norm; /* [K], or NULL */
    float eps;
};

/* The launch that the GPU's configuration has for it; lt: cuBLASLt may take it. */
gpu_params linear_launch_of(const cuda_queue *q, const linear_op *a, bool lt);
/* The same of a product that may also round its x, as its weight says. */
gpu_params linear_way_of(const cuda_queue *q, const linear_op *a, bool lt);
bool linear_wants_lt(const cuda_queue *q, const linear_op *a);

static inline int64_t linear_up(int64_t n, int64_t to)
{
    return (n + to - 1) / to * to;
}
/* Up to where arrays in the scratch begin. */
static inline size_t linear_align(size_t n)
{
    return linear_up(n, 256);
}
/* What each of rows [first, first + m) of x is divided by before it becomes f16. */
cudaError_t linear_row_scale(const cuda_queue *q, const linear_op *a, int64_t first, int m,
                             float *scale);
/* r.m rows of x from r.first on as r.kind, to where r says; `normed` [m, K]: room, where x is
 * normed first. */
enum status linear_round_x(cuda_queue *q, const linear_op *a, quant_rows r, float *normed);
/* What the weight's companion multiplies the sums by. */
float linear_factor(const struct tensor *w);
/* What becomes of the sums, from row `first` on. */
void linear_outputs(linear_args *o, const linear_op *a, int64_t first);

/* linear_lt.cu: many rows, by cuBLASLt; linear_fp8.cu: with x and W in fp8; linear_lt_fp4.cu: with
 * both in e2m1. */
enum status linear_by_lt(cuda_queue *q, const linear_op *a);
enum status linear_by_fp8(cuda_queue *q, const linear_op *a);
enum status linear_by_lt_fp4(cuda_queue *q, const linear_op *a);
/* linear_w8a8.cu and linear_w4a4.cu: by kernels of our own, x as e4m3, or as e2m1 where W is. */
enum status linear_by_w8a8(cuda_queue *q, const linear_op *a);
enum status linear_by_w4a4(cuda_queue *q, const linear_op *a);

/* Products of rows [first, first + m) and columns [at, at + n) become y: times the scale of their
 * row and what the weight is multiplied by, and what is to be added. */
struct linear_sums {
    const float *from; /* `stride` floats a row; may be where they go */
    int64_t stride;
    const float *scale; /* of rows */
    const float *by;    /* of columns, which `from` is multiplied by first, or NULL */
    int64_t first;
    int m;
    int64_t at, n;
};
enum status linear_lt_finish(const cuda_queue *q, const linear_op *a, const linear_sums &s);

#endif
