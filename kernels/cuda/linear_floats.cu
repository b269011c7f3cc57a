/* linear_floats.cu - the matrix product of linear.cuh for weights whose codes stand for floats. */
#include "kernels/cuda/linear_floats.cuh"

cudaError_t linear_run_floats(enum dtype t, const linear_args &a, const linear_shape &s)
{
    if (t == DT_F8_E4M3)
        return linear_pick<linear_floats<8>>(a, s);
    return t == DT_NF4 ? linear_pick<linear_floats<4>>(a, s) : cudaErrorInvalidValue;
}
