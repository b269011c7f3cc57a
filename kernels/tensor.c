/* tensor.c - making views. No checks here: ops.c checks what an op is given. */
#include "kernels/tensor.h"

struct tensor tensor_1d(void *data, enum dtype t, int64_t n)
{
    struct tensor r = {.data = data, .dtype = (uint8_t)t, .ndim = 1, .shape = {n}};
    r.stride[0] = dtype_info(t)->bytes;
    return r;
}

struct tensor tensor_2d(void *data, enum dtype t, int64_t rows, int64_t cols)
{
    struct tensor r = {.data = data, .dtype = (uint8_t)t, .ndim = 2, .shape = {rows, cols}};
    r.stride[1] = dtype_info(t)->bytes;
    r.stride[0] = (int64_t)dtype_row_bytes(t, cols);
    return r;
}

struct tensor tensor_3d(void *data, enum dtype t, int64_t a, int64_t b, int64_t c)
{
    struct tensor r = {.data = data, .dtype = (uint8_t)t, .ndim = 3, .shape = {a, b, c}};
    r.stride[2] = dtype_info(t)->bytes;
    r.stride[1] = (int64_t)dtype_row_bytes(t, c);
    r.stride[0] = b * r.stride[1];
    return r;
}

struct tensor tensor_rows(struct tensor t, int64_t first, int64_t n)
{
    t.data = (char *)t.data + first * t.stride[0];
    t.shape[0] = n;
    return t;
}

struct tensor tensor_cols(struct tensor t, int64_t first, int64_t n)
{
    int last = t.ndim - 1;
    t.data = (char *)t.data + first * t.stride[last];
    t.shape[last] = n;
    return t;
}

struct tensor tensor_heads(struct tensor t, int64_t heads, int64_t dim)
{
    t.ndim = 3;
    t.shape[1] = heads;
    t.shape[2] = dim;
    t.stride[2] = t.stride[1];
    t.stride[1] = dim * t.stride[2];
    return t;
}

int64_t tensor_count(const struct tensor *t)
{
    int64_t n = 1;
    for (int i = 0; i < t->ndim; i++)
        n *= t->shape[i];
    return n;
}

size_t tensor_bytes(const struct tensor *t)
{
    return dtype_row_bytes((enum dtype)t->dtype, tensor_count(t));
}
