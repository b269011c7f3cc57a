/* linear_ints.cu - the matrix product of linear.cuh for the block formats, by int8 mma. */
#include "kernels/cuda/linear.cuh"

typedef cudaError_t run_fn(const linear_args &, const linear_shape &);

static const struct {
    enum dtype type;
    run_fn *run;
} table[] = {
#define ROW(t, bits, sign, scales) {t, linear_pick<linear_ints<bits, sign, scales>>},
    LINEAR_INTS(ROW)
#undef ROW
};

cudaError_t linear_run_ints(enum dtype t, const linear_args &a, const linear_shape &s)
{
    for (auto &row : table)
        if (row.type == t)
            return row.run(a, s);
    return linear_pick<linear_any>(a, s);
}
