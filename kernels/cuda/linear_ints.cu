/* linear_ints.cu - the matrix product of linear.cuh for the block formats, by int8 mma. */
#include "kernels/cuda/linear.cuh"

typedef cudaError_t run_fn(const linear_args &, const linear_shape &);

/* clang-format off */
static const struct {
    enum dtype type;
    run_fn *run[2]; /* with 4 stages, with 2 */
} table[] = {
#define ROW(t, bits, sign, scales)                                                                 \
    {t, {linear_pick<linear_ints<bits, sign, scales>, 4>, linear_pick<linear_ints<bits, sign, scales>, 2>}},
    LINEAR_INTS(ROW)
#undef ROW
};
/* clang-format on */

cudaError_t linear_run_ints(enum dtype t, const linear_args &a, const linear_shape &s)
{
    for (auto &row : table)
        if (row.type == t)
            return row.run[s.stages == 4 ? 0 : 1](a, s);
    return s.stages == 4 ? linear_pick<linear_any, 4>(a, s) : linear_pick<linear_any, 2>(a, s);
}
