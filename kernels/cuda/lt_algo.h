/* lt_algo.h - inside lt.c and lt_algo.c: shapes as cuBLASLt knows them, and which of its algorithms
 * multiplies each. */
#ifndef KERNELS_CUDA_LT_ALGO_H
#define KERNELS_CUDA_LT_ALGO_H

#include "kernels/cuda/lt.h"
#include "kernels/cuda/lt_abi.h"

enum { LT_SHAPES = 1024 };

/* What decides the algorithm. Compared as bytes. */
struct lt_key {
    int64_t m, n, k, w_stride, x_stride, y_stride;
    uint64_t algo; /* what lt_product names, as a hash; 0: nothing */
    uint32_t align;
    int type, scale_mode;
    bool bias, add, strict;
    char zero[1];
};

struct lt_way {
    struct lt_algo algo;
    size_t workspace;
};

struct lt_shape {
    struct lt_key key;       /* m 0: free */
    bool refused, counted;   /* counted: among the products that were declined */
    bool doubted;            /* `wish` has not been compared with `way` yet */
    void *desc, *w, *x, *y;  /* the library's */
    struct lt_way way, wish; /* what is run; what is named, and will be run when it is right */
};

struct lt {
    void *library, *handle;
    struct lt_functions f;
    struct lt_shape shape[LT_SHAPES];
    const struct gpu_config *prefer; /* or NULL */
    struct fallbacks *fallbacks;     /* or NULL */
    struct ring *ring;               /* or NULL */
    struct lt_shape *first;          /* of the products since lt_begin, or NULL */
    size_t room;                     /* its workspace */
    bool told, told_algo;            /* that a shape, an algorithm was refused */
};

/* How products of a type are summed up, and what y is. */
struct lt_sums {
    int compute, type;
};
static inline struct lt_sums lt_sums_of(int type)
{
    if (type == CUDA_R_8I)
        return (struct lt_sums){LT_COMPUTE_32I, CUDA_R_32I};
    return (struct lt_sums){LT_COMPUTE_32F, CUDA_R_32F};
}

/* The library's own suggestions for a shape, best first; the number of them. */
int lt_suggestions(const struct lt *lt, const struct lt_shape *s, size_t workspace,
                   struct lt_found *out, int most);
/* The algorithm with these attributes, if the library accepts it for the shape as it is. */
bool lt_make(const struct lt *lt, const struct lt_shape *s, const struct gpu_lt *from,
             size_t workspace, struct lt_way *out);
/* Is this version of the library known to compute the type wrongly? Its reason, else NULL. */
const char *lt_denied(const struct lt *lt, const struct lt_key *k);
const char *lt_type_name(const struct lt_key *k);
/* One more algorithm of the configuration that is not taken. */
void lt_drop(struct lt *lt);
/* A product by s->way, to y. The library's status. */
int lt_run(const struct lt *lt, struct lt_shape *s, const struct lt_way *way,
           const struct lt_product *p, void *workspace, cudaStream_t stream);
/* The first product of a shape whose algorithm is named: by the library's suggestion and by that
 * algorithm, which is taken from then on if the results agree, else never. */
int lt_prove(struct lt *lt, struct lt_shape *s, const struct lt_product *p, void *workspace,
             cudaStream_t stream);

#endif
