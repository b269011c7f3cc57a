/* gpu.h - what tests of the CUDA backend share: an open device, memory on it, and comparison. Every
 * buffer is an allocation of its own, so that one byte beyond it faults. */
#ifndef TESTS_SIMT_GPU_H
#define TESTS_SIMT_GPU_H

#include "kernels/backend.h"

#include "tests/simt/mode.h"

struct gpu {
    struct device *dev;
    struct queue *q;
};
extern struct gpu gpu; /* of the running test */

int gpu_open(void **state); /* set-up of a program's tests */
int gpu_close(void **state);
int gpu_well(void **state); /* tear-down of a test that ordered faults: there are none any more */
/* On the emulator: kernels that can are launched early, as on sm_90. gpu_open does it. */
void gpu_early(struct queue *q);

void *gpu_empty(size_t bytes);                /* uninitialised: NaN in every float format */
void *gpu_up(const void *host, size_t bytes); /* a copy on the device; NULL for NULL */
void gpu_down(void *host, const void *dev, size_t bytes);
void gpu_free_all(void);
int64_t gpu_unused(void); /* bytes of the device that nobody has */
/* A view of a copy of everything the view spans, rows' gaps included. */
struct tensor gpu_tensor(struct tensor t);
struct ragged gpu_ragged(struct ragged r);

/* Runs `test` forward, backward, at random with late streams, and with device memory protected. */
void gpu_each_mode(void (*test)(void));

float gpu_noise(void);
void gpu_fill(float *x, size_t n);
/* |got - want| <= rel * |want| + abs, element by element; no NaN. */
void gpu_near(const float *got, const float *want, size_t n, const char *what, float rel,
              float abs);

#endif
