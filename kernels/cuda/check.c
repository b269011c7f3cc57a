/* check.c - what the runtime said, as a status. Weak: cuda.c has its own. */
#include "kernels/cuda/cuda.h"

__attribute__((weak)) enum status cuda_check(cudaError_t e, const char *what)
{
    if (e == cudaSuccess)
        return OK;
    return fail(ERR_DEVICE, "cuda: %s: %s", what, cudaGetErrorString(e));
}
