/* measure.h - timing on a GPU, and the lines that tests/gpu/check.py reads.
 *
 * Events round many repetitions, after a warm-up; the median of several such blocks counts, the
 * least and the most say how far to believe it. Every line on stdout is one JSON object. */
#ifndef TESTS_GPU_MEASURE_H
#define TESTS_GPU_MEASURE_H

#include <cuda_runtime_api.h>
#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct figure {
    double us, lo, hi; /* of one repetition: median, least and most of the blocks */
};

struct effort {
    int warmup, blocks;
    double seconds; /* of all blocks together; at least one repetition each */
};
/* What a measurement takes; `tiny`: one repetition, for machines without a GPU. */
struct effort effort_of(double seconds, bool tiny);

/* `run` submits one repetition to `stream`. Any error of the runtime ends the program. */
struct figure measure(cudaStream_t stream, const struct effort *e, void (*run)(void *), void *ctx);

/* Ends the program with what failed, unless e is cudaSuccess. */
void must(cudaError_t e, const char *what);

/* Random bytes without zeros' favours, made on the device by copying; the same for a seed. */
void *random_bytes(size_t bytes, uint64_t seed);

/* {"kind": "ceil", "name": ..., "value": ..., "lo": ..., "hi": ...}: `amount` a second, by 10^9. */
void print_rate(const char *name, double amount, struct figure f);
void print_time(const char *name, struct figure f); /* microseconds */

#ifdef __cplusplus
}
#endif

#endif
