/* lab.c - see lab.h. */
#include "kernels/cuda/lab.h"

#include <math.h>
#include <string.h>

#include "kernels/gpu/registry.h"
#include "kernels/half.h"
#include "kernels/quant/encode.h"

void lab_reset(struct lab *l)
{
    l->used = 0;
    l->off = 0;
    memset(l->host, 0xff, LAB_ARENA); /* NaN */
}

void *lab_take(struct lab *l, size_t bytes)
{
    char *p = l->host + l->used;
    l->used += (bytes + 255) / 256 * 256;
    return l->used <= LAB_ARENA ? p : NULL;
}

float *lab_numbers(struct lab *l, int n)
{
    float *x = lab_take(l, sizeof *x * (size_t)n);
    for (int i = 0; i < n; i++) {
        l->seed = l->seed * 1664525u + 1013904223u;
        x[i] = (float)(l->seed >> 8) * 0x1p-23f - 1;
    }
    return x;
}

struct tensor lab_matrix(struct lab *l, int rows, int cols, bool filled)
{
    float *x =
        filled ? lab_numbers(l, rows * cols) : lab_take(l, sizeof *x * (size_t)(rows * cols));
    return tensor_2d(x, DT_F32, rows, cols);
}

/* The same place in the device's arena. */
void *lab_moved(const struct lab *l, const void *p)
{
    return p ? l->dev + ((const char *)p - l->host) : NULL;
}

enum status lab_up(struct lab *l)
{
    return l->b->copy(&l->q->queue, l->dev, l->host, l->used, COPY_TO_DEVICE);
}

enum status lab_down(struct lab *l)
{
    struct fence f;
    TRY(l->b->copy(&l->q->queue, l->back, l->dev, l->used, COPY_TO_HOST));
    TRY(l->b->record(&l->q->queue, &f));
    return l->b->wait(&l->q->queue, &f);
}

/* Numbers at `want` in the host's arena against those that the GPU has there. */
void lab_compare(struct lab *l, const void *want, int64_t n, enum dtype t)
{
    const char *got = l->back + ((const char *)want - l->host);
    float most = 0, worst = 0;
    for (int64_t i = 0; i < n; i++) {
        float a, b;
        if (t == DT_BF16) {
            a = half_bf16(((const uint16_t *)got)[i]);
            b = half_bf16(((const uint16_t *)want)[i]);
        } else {
            a = ((const float *)got)[i];
            b = ((const float *)want)[i];
        }
        if (isnan(a) && isnan(b))
            continue; /* nobody wrote it */
        float d = fabsf(a - b);
        worst = d > worst || isnan(d) ? d : worst;
        most = fmaxf(most, fabsf(b));
    }
    float off = worst == 0 ? 0 : worst / most;
    l->compared++;
    l->off = off > l->off || isnan(off) ? off : l->off;
}

static struct tensor weight(struct lab *l)
{
    const struct dtype_info *t = dtype_info(l->type);
    size_t row = dtype_row_bytes(l->type, LAB_WIDE);
    float *x = lab_numbers(l, LAB_OUT * LAB_WIDE);
    char *w = lab_take(l, row * LAB_OUT);
    bool plain = l->type == DT_F32 || l->type == DT_F16 || l->type == DT_BF16;
    if (gpu_is_floats(l->type)) { /* any codes, but no NaN */
        memcpy(w, x, row * LAB_OUT);
        for (size_t i = 0; i < row * LAB_OUT; i++)
            w[i] = (char)(i % (size_t)t->bytes < 4 ? w[i] : w[i] & ~0x40);
        for (int b = 0; b < LAB_OUT * LAB_WIDE / t->block; b++)
            memcpy(w + b * t->bytes, &x[b], sizeof *x);
        return tensor_2d(w, l->type, LAB_OUT, LAB_WIDE);
    }
    for (int i = 0; i < LAB_OUT * LAB_WIDE && plain; i++) {
        uint16_t h = l->type == DT_F16 ? half_to_f16(x[i]) : half_to_bf16(x[i]);
        memcpy(w + i * t->bytes, l->type == DT_F32 ? (void *)&x[i] : (void *)&h, (size_t)t->bytes);
    }
    if (!plain && !t->encode && !encode_has(l->type))
        return (struct tensor){0};
    for (int b = 0; b < LAB_OUT * LAB_WIDE / t->block && !plain && t->encode; b++)
        t->encode(x + b * t->block, w + b * t->bytes);
    for (int r = 0; r < LAB_OUT && !plain && !t->encode; r++) /* slower */
        encode_row(l->type, x + r * LAB_WIDE, NULL, LAB_WIDE, w + (size_t)r * row);
    return tensor_2d(w, l->type, LAB_OUT, LAB_WIDE);
}

/* Random weights [LAB_OUT, LAB_WIDE] of the type at hand; data NULL: nothing here encodes it. */
struct tensor lab_weight(struct lab *l)
{
    const double begun = clock_now();
    struct tensor w = weight(l);
    l->cpu_s += clock_now() - begun;
    return w;
}

/* Packs `w` into the arena as the backend wants it for `op`. */
enum status lab_packed(struct lab *l, enum op op, const struct tensor *w, struct tensor *out)
{
    struct op_case c = {op, DT_F32, l->type, 0, LAB_OUT, LAB_WIDE};
    struct choice how;
    if (!l->b->can(l->q->queue.dev, &c, &how))
        return fail(ERR_INTERNAL, "no kernel for %s", dtype_info(l->type)->name);
    *out = (struct tensor){.data = lab_moved(l, lab_take(l, how.bytes))};
    return l->b->pack(l->q->queue.dev, w, 1, &how, out);
}

/* One sequence, with rows at positions from `pos` on. */
struct ragged lab_sequence(struct lab *l, int rows, int pos)
{
    int32_t *n = lab_take(l, 3 * LAB_ROWS * sizeof *n);
    for (int i = 0; i < rows; i++) {
        n[i] = pos + i;
        n[LAB_ROWS + i] = 0;
    }
    n[2 * LAB_ROWS] = n[2 * LAB_ROWS + 2] = 0;
    n[2 * LAB_ROWS + 1] = rows;
    return (struct ragged){.rows = rows,
                           .seqs = 1,
                           .pos = n,
                           .row_seq = n + LAB_ROWS,
                           .seq_start = n + 2 * LAB_ROWS,
                           .seq_slot = n + 2 * LAB_ROWS + 2};
}

void lab_move_ragged(const struct lab *l, struct ragged *r)
{
    MOVE(l, r->pos), MOVE(l, r->row_seq), MOVE(l, r->seq_start), MOVE(l, r->seq_slot);
}
