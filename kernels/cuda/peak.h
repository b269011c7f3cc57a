/* peak.h - kernels that show what a GPU can do at most, and the ceilings that they give. */
#ifndef KERNELS_CUDA_PEAK_H
#define KERNELS_CUDA_PEAK_H

#include <cuda_runtime_api.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct peak {
    cudaStream_t stream;
    int cc, sms;
    uint32_t *sink; /* 8 words on the device: results go here, so that nothing is left out */
};

/* Each submits one launch. Buffers are multiples of 16 bytes, with random contents. */
cudaError_t peak_copy(const struct peak *p, void *to, const void *from, size_t bytes);
cudaError_t peak_read(const struct peak *p, const void *from, size_t bytes, int turns);
/* Products by mma.sync, *ops operations in all. */
enum peak_math { PEAK_F16, PEAK_BF16, PEAK_INT8, PEAK_FP8 };
bool peak_has(int cc, enum peak_math m);
cudaError_t peak_mma(const struct peak *p, enum peak_math m, int blocks, int loops, double *ops);
/* A kernel that does nothing, a block a multiprocessor; `early`: its blocks may start before the
 * kernel before it has ended, where the GPU has that. */
cudaError_t peak_start(const struct peak *p, bool early);

#ifdef __cplusplus
}
#endif

#endif
