/* naive_linear.c - the definition of y = x W^T + bias + add for every weight type.
 *
 * Block formats: both sides are integers in groups of 32 with float scales. A group of activations
 * is top = max|x|, q = round(x * (127 / top)) to nearest even, d = top / 127; it is all zero when
 * top < 2^-100, where 127 / top would end. In ascending groups, with sums exact in int32:
 *
 *     f = fma((float)sum(qa * qw) * d_a, d_w, f)
 *
 *     f = fma(m, d_a * (float)sum(qa), f)                formats with a minimum (w = d q + m)
 *
 * Every block format has this view (quant.h); they differ in how a group's scales enter:
 *
 *   whole   sum(qa * qw) as above, d_w = d * sc; m is weighed by 1
 *
 *   halves  sc0 * low half + sc1 * high half in place of sum(qa * qw), d_w = d; likewise
 *
 *           mn0 * low + mn1 * high half of sum(qa): both exact in int32 and below 2^24
 *
 *   apart   two steps f = fma((float)half * d_a, d * sc, f), low half first (NVFP4)
 *
 * Plain types: one chain f = fma(x[k], w[k], f) in ascending k, with w of f64 and integers rounded
 * to f32; bf16 weights round x to bf16 first. Blocks of floats (f8_e4m3, nf4): the scale of a block
 * weighs its sum,
 *
 *     s = fma(x[k], value[k], s) over the 64 k of a block, from 0; f = fma(s, d, f)
 *
 * At the end y = f * global, where the weight has one, then y + bias, then y + add. Any order
 * inside an exact sum gives the same bits, so vector code may choose it freely. */
#include "kernels/cpu/naive.h"

#include <math.h>
#include <string.h>

#include "kernels/half.h"
#include "kernels/quant/f8_e4m3.h"
#include "kernels/quant/quant.h"

enum { ROWS = 8, CHUNK = 64 }; /* rows that share a decoded weight; plain weights decoded at once */

struct group { /* 32 activations */
    int8_t q[QUANT_GROUP];
    float d;
    int sum[2]; /* of the first and the last 16 */
};

struct tile {
    float f[ROWS][NAIVE_TILE];
};

int64_t naive_linear_items(const struct op_linear *a)
{
    return (a->w.shape[0] + NAIVE_TILE - 1) / NAIVE_TILE;
}

static void quantize(const float *x, struct group *g)
{
    float top = 0;
    for (int i = 0; i < QUANT_GROUP; i++)
        top = fabsf(x[i]) > top ? fabsf(x[i]) : top;
    float inv = top >= 0x1p-100f ? 127 / top : 0;
    g->sum[0] = g->sum[1] = 0;
    for (int i = 0; i < QUANT_GROUP; i++)
        g->sum[i / 16] += g->q[i] = (int8_t)lrintf(x[i] * inv);
    g->d = inv > 0 ? top / 127 : 0;
}

static int dot16(const int8_t *a, const int8_t *b)
{
    int sum = 0;
    for (int i = 0; i < 16; i++)
        sum += a[i] * b[i];
    return sum;
}

static float group_step(const struct group *x, const struct quant_ints *w, float f)
{
    int low = dot16(x->q, w->q), high = dot16(x->q + 16, w->q + 16);

    switch (w->sum) {
    case QUANT_WHOLE:
        f = fmaf((float)(low + high) * x->d, w->d * (float)w->sc[0], f);
        break;
    case QUANT_HALVES:
        f = fmaf((float)(w->sc[0] * low + w->sc[1] * high) * x->d, w->d, f);
        break;
    case QUANT_APART:
        f = fmaf((float)low * x->d, w->d * (float)w->sc[0], f);
        f = fmaf((float)high * x->d, w->d * (float)w->sc[1], f);
        break;
    }
    int min = w->mn[0] * x->sum[0] + w->mn[1] * x->sum[1];
    return w->has_min ? fmaf(w->m, x->d * (float)min, f) : f;
}

static void tile_blocks(const struct op_linear *a, int64_t row, int rows, int64_t col, int cols,
                        struct tile *t)
{
    const struct dtype_info *type = dtype_info((enum dtype)a->w.dtype);
    int groups = type->block / QUANT_GROUP;
    struct group x[ROWS];
    struct quant_ints w;
    for (int64_t k = 0; k < a->w.shape[1]; k += QUANT_GROUP) {
        for (int r = 0; r < rows; r++)
            quantize((const float *)tensor_row(&a->x, row + r) + k, &x[r]);
        int64_t block = k / type->block, group = k / QUANT_GROUP % groups;
        for (int c = 0; c < cols; c++) {
            const char *p = tensor_row(&a->w, col + c);
            type->ints(p + block * type->bytes, (int)group, &w);
            for (int r = 0; r < rows; r++)
                t->f[r][c] = group_step(&x[r], &w, t->f[r][c]);
        }
    }
}

static void tile_plain(const struct op_linear *a, int64_t row, int rows, int64_t col, int cols,
                       struct tile *t)
{
    enum dtype type = (enum dtype)a->w.dtype;
    int size = dtype_info(type)->bytes;
    float w[CHUNK], x[ROWS][CHUNK];
    for (int64_t k = 0; k < a->w.shape[1]; k += CHUNK) {
        int n = a->w.shape[1] - k < CHUNK ? (int)(a->w.shape[1] - k) : CHUNK;
        for (int r = 0; r < rows; r++) {
            const float *from = (const float *)tensor_row(&a->x, row + r) + k;
            for (int i = 0; i < n; i++)
                x[r][i] = type == DT_BF16 ? half_bf16(half_to_bf16(from[i])) : from[i];
        }
        for (int c = 0; c < cols; c++) {
            dtype_decode(type, (const char *)tensor_row(&a->w, col + c) + k * size, w, n);
            for (int r = 0; r < rows; r++)
                for (int i = 0; i < n; i++)
                    t->f[r][c] = fmaf(x[r][i], w[i], t->f[r][c]);
        }
    }
}

static void tile_floats(const struct op_linear *a, int64_t row, int rows, int64_t col, int cols,
                        struct tile *t)
{
    enum dtype type = (enum dtype)a->w.dtype;
    const struct dtype_info *info = dtype_info(type);
    uint8_t block[F8_E4M3_BYTES];
    float w[CHUNK], d, one = 1;
    for (int64_t k = 0; k < a->w.shape[1]; k += CHUNK) {
        for (int c = 0; c < cols; c++) {
            const char *p = tensor_row(&a->w, col + c);
            memcpy(block, p + k / info->block * info->bytes, (size_t)info->bytes);
            memcpy(&d, block, sizeof d);
            memcpy(block, &one, sizeof one);
            dtype_decode(type, block, w, CHUNK);
            for (int r = 0; r < rows; r++) {
                const float *x = (const float *)tensor_row(&a->x, row + r) + k;
                float s = 0;
                for (int i = 0; i < CHUNK; i++)
                    s = fmaf(x[i], w[i], s);
                t->f[r][c] = fmaf(s, d, t->f[r][c]);
            }
        }
    }
}

void naive_linear(const struct op_linear *a, int64_t first, int64_t last)
{
    int64_t n = a->w.shape[0], m = a->x.shape[0];
    if (a->live && a->live[0] < m)
        m = a->live[0];
    const struct dtype_info *type = dtype_info((enum dtype)a->w.dtype);
    const float *bias = a->bias.data, global = a->w.q ? a->w.q->global : 0;
    for (int64_t col = first * NAIVE_TILE; col < n && col < last * NAIVE_TILE; col += NAIVE_TILE) {
        int cols = n - col < NAIVE_TILE ? (int)(n - col) : NAIVE_TILE;
        for (int64_t row = 0; row < m; row += ROWS) {
            int rows = m - row < ROWS ? (int)(m - row) : ROWS;
            struct tile t = {0};
            (type->ints        ? tile_blocks
             : type->block > 1 ? tile_floats
                               : tile_plain)(a, row, rows, col, cols, &t);
            for (int r = 0; r < rows; r++) {
                float *y = (float *)tensor_row(&a->y, row + r) + col;
                const float *add =
                    a->add.data ? (const float *)tensor_row(&a->add, row + r) + col : NULL;
                for (int c = 0; c < cols; c++) {
                    float f = global != 0 ? t.f[r][c] * global : t.f[r][c];
                    f = bias ? f + bias[col + c] : f;
                    y[c] = add ? f + add[c] : f;
                }
            }
        }
    }
}
