/* lt.h - products of many rows by NVIDIA's cuBLASLt, where the machine has it.
 *
 * The library is half a gigabyte, so it is never linked: it is opened at run time, and without it
 * the kernels of linear.cuh serve every shape. lt_abi.h declares the little of it that is used. A
 * shape is looked up once; from then on a product allocates nothing, neither here nor on the
 * device: its workspace is the caller's, so it may be captured into a graph. One thread, the
 * device's. */
#ifndef KERNELS_CUDA_LT_H
#define KERNELS_CUDA_LT_H

#include <cuda_runtime_api.h>
#include <library_types.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#include "kernels/base/status.h"

struct lt;
struct gpu_lt;

/* Memory for it, by compute capability. From which rows on it serves is the configuration's. */
struct lt_limits {
    int cc;           /* from this one on */
    size_t workspace; /* bytes that cuBLASLt's algorithms may use */
    size_t tile;      /* bytes of decoded weights at a time: they are to stay in L2 */
    size_t scratch;   /* bytes for these two and the rows of x */
};
const struct lt_limits *lt_limits(int cc);

/* `path`: a file, a folder that holds libcublasLt.so.13, "none", or NULL to look beside the
 * program, where the loader looks, and where CUDA is installed. *out stays NULL, with a log line,
 * when nothing is found; what is named and cannot be used is an error. */
enum status lt_open(const char *path, struct lt **out);
void lt_close(struct lt *lt);
int lt_version(const struct lt *lt); /* as 130100 */
/* What versions of the library are known to compute wrongly is in `c`, which lives longer. */
struct gpu_config;
void lt_prefer(struct lt *lt, const struct gpu_config *c);
/* Where it counts algorithms and products that it could not take; it lives longer. */
struct fallbacks;
void lt_count(struct lt *lt, struct fallbacks *f);
/* Who waits for the device, with how much patience; lives longer. Without one: RING_PATIENCE. */
struct ring;
void lt_wait(struct lt *lt, struct ring *r);

/* y[i, j] = factor * sum over c of w[j, c] x[i, c] (+ bias[j]) (+ y[i, j] with `add`). Strides
 * count elements. */
struct lt_product {
    cudaDataType type; /* of w and x: CUDA_R_16BF, CUDA_R_16F, CUDA_R_8F_E4M3, whose sizes and
                          strides are multiples of 16, CUDA_R_4F_E2M1, of 32; or CUDA_R_8I, of
                          16 too, whose y is int32, with factor 1 and nothing added */
    int scale_mode;    /* LT_SCALE_ of lt_abi.h: how w and x are scaled; 0: not at all, or by */
    const void *w_scale, *x_scale; /* device, in the library's order; NULL with scale_mode 0 */
    int64_t m, n, k;
    const void *w, *x;
    int64_t w_stride, x_stride, y_stride;
    float *y;
    const float *bias; /* or NULL */
    float factor;
    bool add;
    /* The algorithm to take, or NULL: the library's first suggestion. One that the library does not
     * accept, or whose first result is not that of its suggestion, is replaced by that; with
     * `strict` it is ERR_UNSUPPORTED, and the result is the caller's to check. */
    const struct gpu_lt *algo;
    bool strict;
};
/* ERR_UNSUPPORTED: not this one, and nothing was submitted; the first is logged. The first product
 * of a shape whose algorithm is named waits for the device. */
enum status lt_multiply(struct lt *lt, const struct lt_product *p, void *workspace, size_t bytes,
                        cudaStream_t stream);

/* ERR_UNSUPPORTED: lt_multiply would refuse it, which is logged likewise. */
enum status lt_ready(struct lt *lt, const struct lt_product *p, size_t bytes);

/* The library's algorithms for the first product since lt_begin: its suggestions, best first, and
 * these with K split. Their number. */
void lt_begin(struct lt *lt);
int lt_algorithms(struct lt *lt, struct gpu_lt *out, int most);

#ifdef __cplusplus
}
#endif

#endif
