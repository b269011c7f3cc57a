/* product.h - a matrix product on the device beside its definition, for the tests of linear. */
#ifndef TESTS_SIMT_PRODUCT_H
#define TESTS_SIMT_PRODUCT_H

#include "kernels/cuda/cuda.h"

struct shape {
    int m, n, k, live;
}; /* live 0: all of m */

struct product {
    struct op_linear naive, cuda;
    float *x, *bias, *add, *want, *got;
    uint8_t *w;
    struct shape s;
};

extern uint32_t product_seed;

/* f32, bf16, f16, and all that have panels. */
extern enum dtype product_types[N_DTYPE];
extern int product_n_types;
void product_find_types(void);
int product_k(enum dtype t, int k); /* the next that is whole blocks */

/* A configuration for the queue's capability: K is split wherever it is long, block formats have
 * their own kernel up to block_max rows, plain ones up to half_max. gpu_plan_clear(&q->plan) ends
 * it. */
void product_plan(struct cuda_queue *q, int half_max, int block_max);

/* The stream and memory of a queue whose other fields are set; 0: fine. Close fails when a ticket
 * is not zero. */
int product_queue_open(struct cuda_queue *q, size_t scratch_bytes);
int product_queue_close(struct cuda_queue *q);

/* While it is set, blocks of a row of codes of floats have one scale. */
extern bool product_flat;

/* Random operands, some of them large; outputs NaN. Odd m: the weight has a factor. m no
 * multiple of 3: something is added, which is y where m % 3 is 1 and all rows are live. */
void product_open(struct product *o, enum dtype t, struct shape s);
void product_close(struct product *o);
void product_run(struct cuda_queue *q, struct product *o);
/* op_glu_linear with these weights has the bits of glu and linear, one after the other. */
void product_glu(struct cuda_queue *q, enum dtype t, struct shape s);
/* op_norm_linear of two parts, both these weights, has the bits of rmsnorm and linear. */
void product_norm(struct cuda_queue *q, enum dtype t, struct shape s);
/* sum |x w| of one output, the yardstick of its rounding; `row` holds k numbers. */
double product_size(const struct product *o, int r, int c, float *row);
/* Difference allowed to the skinny kernel, relative to that: sums of exact products in another
 * order in f32, and for f16 what rounding x to 11 bits costs (the naive op takes it as it is). */
double product_tolerance(enum dtype t);
/* Live rows are within eps * size, and the last bit (0: bit for bit), others untouched. */
void product_compare(struct product *o, double eps, const char *name);

#endif
