/* encode.h - floats to the blocks of a format, with a search for the least weighed error.
 *
 * dtype_info.encode rounds as the reference quantizers do, fast and without a choice; this is for
 * files that are made once and read often. Each block is fitted by least squares: scales (and
 * minima) start from a grid of candidates, codes and scales then improve each other in turn, and
 * what is kept is judged by the error of the very numbers that are stored. The same input gives the
 * same bytes on every processor and for any split into rows. */
#ifndef KERNELS_QUANT_ENCODE_H
#define KERNELS_QUANT_ENCODE_H

#include <stdbool.h>
#include <stdint.h>

#include "kernels/dtype.h"

bool encode_has(enum dtype t);
/* n numbers (whole blocks, all finite) into `out`. The sum of importance * error^2 is made small;
 * importance [n] is not negative, NULL: every number counts the same, or in formats with one scale
 * a block that encode.c names, a number counts by its size. */
void encode_row(enum dtype t, const float *x, const float *importance, int64_t n, void *out);
/* What the numbers of an NVFP4 tensor, whose largest magnitude is `top`, are to be divided by so
 * that its scales have their full range: a power of two, so that the product is exact and tensors
 * that are joined often share it. 0 for other formats, which need no such factor. */
float encode_global(enum dtype t, float top);

enum { ENCODE_BLOCK_MOST = 256 };
/* One block: x and weight have its elements. */
typedef void encode_fn(const float *x, const float *weight, uint8_t *out);
/* [N_DTYPE], NULL where there is none: the same functions compiled for two instruction sets. */
extern encode_fn *const encode_plain[N_DTYPE];
extern encode_fn *const encode_avx2[N_DTYPE];

#endif
