/* linear_half.cu - the matrix product of linear.cuh for bf16 and f16 weights. */
#include "kernels/cuda/linear.cuh"

cudaError_t linear_run_half(enum dtype t, const linear_args &a, const linear_shape &s)
{
    if (t == DT_BF16)
        return linear_pick<linear_half<true>>(a, s);
    return t == DT_F16 ? linear_pick<linear_half<false>>(a, s) : cudaErrorInvalidValue;
}
