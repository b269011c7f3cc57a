/* real.c - stands in for the emulator's controls where the tests of tests/simt run on a GPU: its
 * order of threads cannot be chosen. Device memory begins as NaN in every float format, as the
 * emulator's does, so that what no kernel writes is seen (linked with --wrap=cudaMalloc). */
#include <cuda_runtime_api.h>

#include "tests/simt/cublaslt.h"
#include "tests/simt/mode.h"

struct simt_cublaslt simt_cublaslt;
struct simt_clock simt_clock;

cudaError_t __real_cudaMalloc(void **p, size_t bytes);
cudaError_t __wrap_cudaMalloc(void **p, size_t bytes);

cudaError_t __wrap_cudaMalloc(void **p, size_t bytes)
{
    cudaError_t e = __real_cudaMalloc(p, bytes);
    if (e == cudaSuccess)
        e = cudaMemset(*p, 0xff, bytes);
    return e == cudaSuccess ? cudaDeviceSynchronize() : e;
}

void simt_mode(const struct simt_mode *m)
{
    (void)m;
}

void simt_faults(const struct simt_faults *f)
{
    (void)f;
}

struct simt_counts simt_counts(void)
{
    return (struct simt_counts){0};
}

bool simt_checks_races(void)
{
    return false;
}

bool simt_slow(void)
{
    return false;
}

bool simt_real(void)
{
    return true;
}
