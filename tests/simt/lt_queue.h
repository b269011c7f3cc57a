/* lt_queue.h - a queue over the emulated cuBLASLt (cublaslt.cc), for tests of products by it. */
#ifndef TESTS_SIMT_LT_QUEUE_H
#define TESTS_SIMT_LT_QUEUE_H

#include "kernels/cuda/lt.h"
#include "tests/simt/product.h"

/* From so many rows on, products are cuBLASLt's: of weights of 16 bits, of block formats. */
enum { LT_QUEUE_HALF_ROWS = 5, LT_QUEUE_BLOCK_ROWS = 9 };

extern const struct lt_limits lt_queue_limits; /* small, so that there are pieces */
extern struct cuda_queue lt_queue;

int lt_queue_open(void **state); /* set-up of a test; the log is heard from then on */
int lt_queue_close(void **state);

/* Runs the naive op; `o->got` is within its bounds on a GPU of this compute capability. */
void lt_queue_near(struct product *o, int cc);

#endif
