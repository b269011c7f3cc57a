/* tensor.h - a view of numbers somewhere: never an owner.
 *
 * shape counts elements and is row-major: shape[ndim - 1] is the innermost. stride is in BYTES; the
 * innermost step is one block of the format. `layout` says how a weight's bytes are arranged:
 * LAYOUT_ROWS is the plain order, everything else is private to the backend that packed it (its
 * data then is opaque and strides are 0). */
#ifndef KERNELS_TENSOR_H
#define KERNELS_TENSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/dtype.h"
#include "kernels/x_type.h"

/* What a file says about a weight apart from its blocks. Owner: whoever made the view. */
struct quant {
    float global;   /* op_linear multiplies its sums by it (NVFP4 files); 0: there is none */
    enum x_type x;  /* what its activations may be rounded to */
    float x_scale;  /* with this scale for all rows; 0: each row has its own */
    bool row_scale; /* all blocks of a row have the same scale */
    const int32_t
        *order; /* device [K]: its column i belongs to column order[i] of x, which nn.c puts
                             so (op_columns); NULL: as they stand */
};

enum layout { LAYOUT_ROWS, LAYOUT_PANEL };

struct tensor {
    void *data;            /* NULL: absent */
    const struct quant *q; /* NULL: nothing */
    uint8_t dtype, layout, ndim;
    int8_t dev;
    int64_t shape[4], stride[4];
};

struct tensor tensor_1d(void *data, enum dtype t, int64_t n);
struct tensor tensor_2d(void *data, enum dtype t, int64_t rows, int64_t cols); /* contiguous */
struct tensor tensor_3d(void *data, enum dtype t, int64_t a, int64_t b, int64_t c);
struct tensor tensor_rows(struct tensor t, int64_t first,
                          int64_t n); /* rows [first, first + n) of a 2-D view */
struct tensor tensor_cols(struct tensor t, int64_t first,
                          int64_t n); /* columns, plain types; strides kept */
struct tensor tensor_heads(struct tensor t, int64_t heads,
                           int64_t dim); /* [R, heads * dim] -> [R, heads, dim], strides kept */
int64_t tensor_count(const struct tensor *t); /* elements */
size_t tensor_bytes(const struct tensor *t);  /* of a contiguous one */
static inline void *tensor_row(const struct tensor *t, int64_t i)
{
    return (char *)t->data + i * t->stride[0];
}

#endif
