/* naive.c - the definitions of the ops that move or scale numbers; linear, attention and sample
 * have files of their own.
 *
 * Sums run in a fixed order that vectors of 16 lanes can repeat: element i goes to lane i % 16 in
 * ascending order, then the lanes are folded in halves (8, 4, 2, 1). */
#include "kernels/cpu/naive.h"

#include <math.h>
#include <string.h>

#include "kernels/cpu/exp2.h"
#include "kernels/cpu/page.h"
#include "kernels/half.h"
#include "kernels/kv_type.h"
#include "kernels/quant/f8_e4m3.h"

enum { LANES = 16 };

static int64_t live_rows(const int32_t *live, int64_t rows)
{
    return live && live[0] < rows ? live[0] : rows;
}

static float fold(float *lane)
{
    for (int half = LANES / 2; half > 0; half /= 2)
        for (int i = 0; i < half; i++)
            lane[i] += lane[i + half];
    return lane[0];
}

/* --- embed: items are rows */

int64_t naive_embed_items(const struct op_embed *a)
{
    return live_rows(a->r.live, a->r.rows);
}

void naive_embed(const struct op_embed *a, int64_t first, int64_t last)
{
    int64_t k = a->table.shape[1];
    for (int64_t r = first; r < last; r++) {
        float *y = tensor_row(&a->y, r);
        int32_t token = a->token[r];
        if (token == TOKEN_FROM_SLOT)
            token = a->last[a->r.seq_slot[a->r.row_seq[r]]];
        if (token < 0)
            memcpy(y, tensor_row(&a->rows, ~token), (size_t)k * sizeof *y);
        else
            dtype_decode((enum dtype)a->table.dtype, tensor_row(&a->table, token), y, k);
        if (a->scale != 1)
            for (int64_t i = 0; i < k; i++)
                y[i] *= a->scale;
    }
}

/* --- rmsnorm: items are rows, or rows x heads of a 3-D x */

int64_t naive_rmsnorm_items(const struct op_rmsnorm *a)
{
    return live_rows(a->live, a->x.shape[0]) * (a->x.ndim == 3 ? a->x.shape[1] : 1);
}

void naive_rmsnorm(const struct op_rmsnorm *a, int64_t first, int64_t last)
{
    bool heads = a->x.ndim == 3;
    int64_t per_row = heads ? a->x.shape[1] : 1, n = a->weight.shape[0];
    const float *w = a->weight.data;
    for (int64_t item = first; item < last; item++) {
        int64_t r = item / per_row, h = item % per_row;
        const float *x = (const float *)((char *)tensor_row(&a->x, r) + h * a->x.stride[1] * heads);
        float *y = (float *)((char *)tensor_row(&a->y, r) + h * a->y.stride[1] * heads);
        float lane[LANES] = {0};
        for (int64_t i = 0; i < n; i++)
            lane[i % LANES] = fmaf(x[i], x[i], lane[i % LANES]);
        float scale = 1 / sqrtf(fold(lane) / (float)n + a->eps);
        for (int64_t i = 0; i < n; i++)
            y[i] = x[i] * scale * w[i];
    }
}

/* --- rope: items are rows */

int64_t naive_rope_items(const struct op_rope *a)
{
    return live_rows(a->r.live, a->r.rows);
}

/* The angle is taken in double and its sine and cosine rounded once: at position 100000 a float
 * angle would already be off by 0.004. Products and sums are rounded each (no FMA). */
void naive_rope(const struct op_rope *a, int64_t first, int64_t last)
{
    int n = a->n_freq, step = a->neox ? n : 1, pair = a->neox ? 1 : 2;
    for (int64_t r = first; r < last; r++) {
        for (int i = 0; i < n; i++) {
            double angle = (double)a->r.pos[r] * (double)a->inv_freq[i];
            float c = (float)(cos(angle) * (double)a->factor);
            float s = (float)(sin(angle) * (double)a->factor);
            for (int64_t h = 0; h < a->x.shape[1]; h++) {
                float *x = (float *)((char *)tensor_row(&a->x, r) + h * a->x.stride[1]) + i * pair;
                float u = x[0], v = x[step];
                x[0] = u * c - v * s;
                x[step] = v * c + u * s;
            }
        }
    }
}

/* --- kv_write: items are rows */

int64_t naive_kv_write_items(const struct op_kv_write *a)
{
    return live_rows(a->r.live, a->r.rows);
}

static void put(const struct kv_view *kv, char *at, int index, float f)
{
    if (kv->dtype == DT_F32)
        ((float *)at)[index] = f;
    else
        ((uint16_t *)at)[index] = half_to_bf16(f);
}

void naive_put_fp8(const struct kv_view *kv, char *half, int t, const float *x)
{
    float top = 0;
    for (int d = 0; d < kv->head_dim; d++)
        top = fmaxf(top, fabsf(x[d]));
    int scale = kv_fp8_scale(top);
    float by = kv_fp8_inverse(scale);
    for (int d = 0; d < kv->head_dim; d++)
        half[t * kv->head_dim + d] = (char)f8_e4m3_code(fminf(fmaxf(x[d] * by, -448), 448));
    *page_scale(kv, half, t) = (uint8_t)scale;
}

void naive_kv_write(const struct op_kv_write *a, int64_t first, int64_t last)
{
    const struct kv_view *kv = &a->kv;
    for (int64_t r = first; r < last; r++) {
        int slot = a->r.seq_slot[a->r.row_seq[r]], pos = a->r.pos[r], t = pos % kv->page_tokens;
        for (int h = 0; h < kv->n_head; h++) {
            char *page = page_head(kv, slot, pos, h);
            const float *k = (const float *)((char *)tensor_row(&a->k, r) + h * a->k.stride[1]);
            const float *v = (const float *)((char *)tensor_row(&a->v, r) + h * a->v.stride[1]);
            if (kv->dtype == DT_F8_E4M3) {
                naive_put_fp8(kv, page, t, k);
                naive_put_fp8(kv, page + page_half(kv), t, v);
                continue;
            }
            for (int d = 0; d < kv->head_dim; d++) {
                put(kv, page, page_k(kv, t, d), k[d]);
                put(kv, page + page_half(kv), page_v(kv, t, d), v[d]);
            }
        }
    }
}

/* --- glu: items are rows */

int64_t naive_glu_items(const struct op_glu *a)
{
    return live_rows(a->live, a->x.shape[0]);
}

/* x / (1 + 2^(-k x)): silu with k = log2 e. */
static float swish(float x, float z)
{
    return x / (1 + cpu_exp2(-EXP2_LOG2E * z));
}

static float activate(enum act act, float x)
{
    switch (act) {
    case ACT_SILU:
        return swish(x, x);
    case ACT_GELU_TANH: /* 0.5 x (1 + tanh u) = x * sigmoid(2 u) */
        return swish(x, 2 * (0.797884561f * (x + 0.044715f * (x * x * x))));
    case ACT_GELU_ERF:
        return 0.5f * x * (1 + erff(x * 0.707106781f));
    case ACT_RELU:
        return x > 0 ? x : 0;
    }
    return x;
}

void naive_glu(const struct op_glu *a, int64_t first, int64_t last)
{
    int64_t f = a->y.shape[1];
    for (int64_t r = first; r < last; r++) {
        const float *x = tensor_row(&a->x, r);
        float *y = tensor_row(&a->y, r);
        for (int64_t i = 0; i < f; i++)
            y[i] = activate(a->act, x[i]) * x[f + i];
    }
}

/* --- add, gather, columns: items are rows */

int64_t naive_add_items(const struct op_add *a)
{
    return live_rows(a->live, a->y.shape[0]);
}

void naive_add(const struct op_add *a, int64_t first, int64_t last)
{
    for (int64_t r = first; r < last; r++) {
        const float *u = tensor_row(&a->a, r), *v = tensor_row(&a->b, r);
        float *y = tensor_row(&a->y, r);
        for (int64_t i = 0; i < a->y.shape[1]; i++)
            y[i] = u[i] + v[i];
    }
}

int64_t naive_gather_items(const struct op_gather *a)
{
    return live_rows(a->n_live, a->y.shape[0]);
}

void naive_gather(const struct op_gather *a, int64_t first, int64_t last)
{
    size_t bytes = dtype_row_bytes((enum dtype)a->x.dtype, a->x.shape[1]);
    for (int64_t i = first; i < last; i++)
        memcpy(tensor_row(&a->y, i), tensor_row(&a->x, a->index[i]), bytes);
}

int64_t naive_columns_items(const struct op_columns *a)
{
    return live_rows(a->live, a->y.shape[0]);
}

void naive_columns(const struct op_columns *a, int64_t first, int64_t last)
{
    for (int64_t r = first; r < last; r++) {
        const float *x = tensor_row(&a->x, r);
        float *y = tensor_row(&a->y, r);
        for (int64_t i = 0; i < a->y.shape[1]; i++)
            y[i] = x[a->index[i]];
    }
}

/* --- count: one item */

int64_t naive_count_items(const struct op_count *a)
{
    (void)a;
    return 1;
}

void naive_count(const struct op_count *a, int64_t first, int64_t last)
{
    if (first >= last)
        return;
    memset(a->counts, 0, (size_t)a->n_vocab * sizeof *a->counts);
    for (int i = 0; i < a->n; i++) {
        uint16_t *c = &a->counts[a->token[i]];
        if (i < a->n_prompt)
            *c |= 0x8000;
        else if ((*c & 0x7fff) != 0x7fff)
            ++*c;
    }
}
