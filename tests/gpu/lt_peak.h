/* lt_peak.h - how fast NVIDIA's cuBLASLt multiplies square matrices, type by type. */
#ifndef TESTS_GPU_LT_PEAK_H
#define TESTS_GPU_LT_PEAK_H

#include <cuda_runtime_api.h>
#include <library_types.h>

#include "tests/gpu/measure.h"

#ifdef __cplusplus
extern "C" {
#endif

struct lt_peak;
/* The library of this name, NULL: the one that the program was linked with. NULL: it cannot be
 * used, and a line says why. */
struct lt_peak *lt_peak_open(const char *file);
void lt_peak_close(struct lt_peak *p);

/* n x n by n x n of random numbers, as the best algorithm that the library offers. False: it has
 * none for this type on this GPU. */
bool lt_peak_measure(struct lt_peak *p, cudaDataType type, int n, cudaStream_t stream,
                     const struct effort *e, struct figure *out);

#ifdef __cplusplus
}
#endif

#endif
