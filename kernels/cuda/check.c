/* check.c - see check.h.
 *
 * Host and device have arenas of one layout: an op's arguments are made once, with host pointers,
 * and moved. A case runs the op by the scalar CPU on the host's arena and by the kernel on the
 * device's, then compares the output. What was not written is NaN, so a kernel that does nothing is
 * wrong too. */
#include "kernels/cuda/check.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "kernels/base/buf.h"
#include "kernels/base/clock.h"
#include "kernels/base/log.h"
#include "kernels/base/map.h"
#include "kernels/base/mem.h"
#include "kernels/gpu/registry.h"
#include "kernels/cuda/lt.h"
#include "kernels/half.h"
#include "kernels/kv_type.h"
#include "kernels/quant/encode.h"

enum { ARENA = 4 << 20, ROWS = 21, WIDE = 512, OUT = 80, FILE_MOST = 4096 };

struct lab {
    struct cuda_queue *q;
    struct queue *cpu;
    const struct backend *b;
    char *host, *back, *dev; /* arenas of ARENA bytes: the definition's, the GPU's copied back */
    size_t used;
    uint32_t seed;
    enum dtype type; /* of the weight at hand */
    enum dtype kv;   /* of the pages at hand */
    int dim;         /* head size at hand */
    float off;       /* worst |a - b| / max|b| of the case */
};

static void reset(struct lab *l)
{
    l->used = 0;
    l->off = 0;
    memset(l->host, 0xff, ARENA); /* NaN */
}

static void *take(struct lab *l, size_t bytes)
{
    char *p = l->host + l->used;
    l->used += (bytes + 255) / 256 * 256;
    return l->used <= ARENA ? p : NULL;
}

static float *numbers(struct lab *l, int n)
{
    float *x = take(l, sizeof *x * (size_t)n);
    for (int i = 0; i < n; i++) {
        l->seed = l->seed * 1664525u + 1013904223u;
        x[i] = (float)(l->seed >> 8) * 0x1p-23f - 1;
    }
    return x;
}

static struct tensor matrix(struct lab *l, int rows, int cols, bool filled)
{
    float *x = filled ? numbers(l, rows * cols) : take(l, sizeof *x * (size_t)(rows * cols));
    return tensor_2d(x, DT_F32, rows, cols);
}

/* The same place in the device's arena. */
static void *moved(const struct lab *l, const void *p)
{
    return p ? l->dev + ((const char *)p - l->host) : NULL;
}
#define MOVE(l, p) ((p) = moved(l, p))

static enum status up(struct lab *l)
{
    return l->b->copy(&l->q->queue, l->dev, l->host, l->used, COPY_TO_DEVICE);
}

static enum status down(struct lab *l)
{
    struct fence f;
    TRY(l->b->copy(&l->q->queue, l->back, l->dev, l->used, COPY_TO_HOST));
    TRY(l->b->record(&l->q->queue, &f));
    return l->b->wait(&l->q->queue, &f);
}

/* Numbers at `want` in the host's arena against those that the GPU has there. */
static void compare(struct lab *l, const void *want, int64_t n, enum dtype t)
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
    l->off = off > l->off || isnan(off) ? off : l->off;
}

/* What the op is: the scalar CPU backend computes it. */
#define DEFINED(name, a) TRY(op_##name(l->cpu, &(a)))

/* --- cases */

static enum status rmsnorm_case(struct lab *l)
{
    struct op_rmsnorm a = {matrix(l, ROWS, WIDE, true), matrix(l, 1, WIDE, true),
                           matrix(l, ROWS, WIDE, false), 1e-5f, NULL};
    struct tensor y = a.y;
    a.weight = tensor_1d(a.weight.data, DT_F32, WIDE);
    TRY(up(l));
    DEFINED(rmsnorm, a);
    MOVE(l, a.x.data), MOVE(l, a.weight.data), MOVE(l, a.y.data);
    TRY(op_rmsnorm(&l->q->queue, &a));
    TRY(down(l));
    compare(l, y.data, ROWS * WIDE, DT_F32);
    return OK;
}

static enum status glu_case(struct lab *l)
{
    struct op_glu a = {matrix(l, ROWS, 2 * WIDE, true), matrix(l, ROWS, WIDE, false), ACT_SILU,
                       NULL};
    struct tensor y = a.y;
    TRY(up(l));
    DEFINED(glu, a);
    MOVE(l, a.x.data), MOVE(l, a.y.data);
    TRY(op_glu(&l->q->queue, &a));
    TRY(down(l));
    compare(l, y.data, ROWS * WIDE, DT_F32);
    return OK;
}

static enum status gather_case(struct lab *l)
{
    int32_t *index = take(l, 4 * sizeof *index);
    struct op_gather a = {matrix(l, ROWS, WIDE, true), matrix(l, 4, WIDE, false), index, NULL};
    struct tensor y = a.y;
    for (int i = 0; i < 4; i++)
        index[i] = ROWS - 1 - 5 * i;
    TRY(up(l));
    DEFINED(gather, a);
    MOVE(l, a.x.data), MOVE(l, a.y.data), MOVE(l, a.index);
    TRY(op_gather(&l->q->queue, &a));
    TRY(down(l));
    compare(l, y.data, 4 * WIDE, DT_F32);
    return OK;
}

/* Random weights [OUT, WIDE] of the type at hand; data NULL: nothing here encodes it. */
static struct tensor weight(struct lab *l)
{
    const struct dtype_info *t = dtype_info(l->type);
    size_t row = dtype_row_bytes(l->type, WIDE);
    float *x = numbers(l, OUT * WIDE);
    char *w = take(l, row * OUT);
    bool plain = l->type == DT_F32 || l->type == DT_F16 || l->type == DT_BF16;
    if (gpu_is_floats(l->type)) { /* any codes, but no NaN */
        memcpy(w, x, row * OUT);
        for (size_t i = 0; i < row * OUT; i++)
            w[i] = (char)(i % (size_t)t->bytes < 4 ? w[i] : w[i] & ~0x40);
        for (int b = 0; b < OUT * WIDE / t->block; b++)
            memcpy(w + b * t->bytes, &x[b], sizeof *x);
        return tensor_2d(w, l->type, OUT, WIDE);
    }
    for (int i = 0; i < OUT * WIDE && plain; i++) {
        uint16_t h = l->type == DT_F16 ? half_to_f16(x[i]) : half_to_bf16(x[i]);
        memcpy(w + i * t->bytes, l->type == DT_F32 ? (void *)&x[i] : (void *)&h, (size_t)t->bytes);
    }
    if (!plain && !t->encode && !encode_has(l->type))
        return (struct tensor){0};
    for (int b = 0; b < OUT * WIDE / t->block && !plain && t->encode; b++)
        t->encode(x + b * t->block, w + b * t->bytes);
    for (int r = 0; r < OUT && !plain && !t->encode; r++) /* slower */
        encode_row(l->type, x + r * WIDE, NULL, WIDE, w + (size_t)r * row);
    return tensor_2d(w, l->type, OUT, WIDE);
}

/* Packs `w` into the arena as the backend wants it for `op`. */
static enum status packed(struct lab *l, enum op op, const struct tensor *w, struct tensor *out)
{
    struct op_case c = {op, DT_F32, l->type, 0, OUT, WIDE};
    struct choice how;
    if (!l->b->can(l->q->queue.dev, &c, &how))
        return fail(ERR_INTERNAL, "no kernel for %s", dtype_info(l->type)->name);
    *out = (struct tensor){.data = moved(l, take(l, how.bytes))};
    return l->b->pack(l->q->queue.dev, w, 1, &how, out);
}

/* One sequence, with rows at positions from `pos` on. */
static struct ragged sequence(struct lab *l, int rows, int pos)
{
    int32_t *n = take(l, 3 * ROWS * sizeof *n);
    for (int i = 0; i < rows; i++) {
        n[i] = pos + i;
        n[ROWS + i] = 0;
    }
    n[2 * ROWS] = n[2 * ROWS + 2] = 0;
    n[2 * ROWS + 1] = rows;
    return (struct ragged){.rows = rows,
                           .seqs = 1,
                           .pos = n,
                           .row_seq = n + ROWS,
                           .seq_start = n + 2 * ROWS,
                           .seq_slot = n + 2 * ROWS + 2};
}

static void move_ragged(const struct lab *l, struct ragged *r)
{
    MOVE(l, r->pos), MOVE(l, r->row_seq), MOVE(l, r->seq_start), MOVE(l, r->seq_slot);
}

static enum status embed_case(struct lab *l)
{
    int32_t *token = take(l, ROWS * sizeof *token);
    struct tensor table = weight(l), y = matrix(l, ROWS, WIDE, false);
    if (!table.data)
        return OK;
    for (int i = 0; i < ROWS; i++)
        token[i] = i * 17 % OUT;
    struct op_embed a = {
        .table = table, .r = sequence(l, ROWS, 0), .token = token, .y = y, .scale = 1};
    TRY(up(l));
    DEFINED(embed, a);
    TRY(packed(l, OP_embed, &table, &a.table));
    move_ragged(l, &a.r);
    MOVE(l, a.token), MOVE(l, a.y.data);
    TRY(op_embed(&l->q->queue, &a));
    TRY(down(l));
    compare(l, y.data, ROWS * WIDE, DT_F32);
    return OK;
}

struct products { /* w: the file's; mine: packed, on the device; data NULL: nothing encodes it */
    struct tensor w, mine, x, y, bias, add;
};

static enum status products(struct lab *l, struct products *p)
{
    *p = (struct products){.w = weight(l)};
    p->x = matrix(l, 80, WIDE, true);
    p->y = matrix(l, 80, OUT, false);
    p->add = matrix(l, 80, OUT, true);
    p->bias = matrix(l, 1, OUT, true);
    p->bias = tensor_1d(p->bias.data, DT_F32, OUT);
    TRY(up(l));
    return p->w.data ? packed(l, OP_linear, &p->w, &p->mine) : OK;
}

/* So many rows, with and without what is added to them. */
static enum status product(struct lab *l, const struct products *p, int rows, bool more)
{
    struct op_linear a = {.x = p->x, .w = p->w, .y = p->y};
    if (more) {
        a.bias = p->bias;
        a.add = p->add;
        a.add.shape[0] = rows;
    }
    a.x.shape[0] = a.y.shape[0] = rows;
    DEFINED(linear, a);
    a.w = p->mine;
    MOVE(l, a.x.data), MOVE(l, a.y.data), MOVE(l, a.bias.data), MOVE(l, a.add.data);
    TRY(op_linear(&l->q->queue, &a));
    TRY(down(l));
    compare(l, p->y.data, rows * OUT, DT_F32);
    return OK;
}

/* As many rows as each shape of the kernels takes, and more. */
static enum status linear_case(struct lab *l)
{
    static const int rows[] = {1, 9, 20, 40, 80};
    struct products p;
    TRY(products(l, &p));
    for (int i = 0; i < 5 && p.w.data; i++)
        TRY(product(l, &p, rows[i], i % 2 == 1));
    return OK;
}

/* The same by cuBLASLt, from whatever number of rows on it is preferred. */
static enum status lt_case(struct lab *l)
{
    const bool half = l->type == DT_F16 || l->type == DT_BF16;
    const struct gpu_params lt = {.path = half ? GPU_PATH_LT : GPU_PATH_DEQUANT_LT};
    const bool replaced = l->q->refused & CUDA_NO_LT;
    struct products p;
    if (!l->q->lt || l->q->deterministic || l->type == DT_F32)
        return OK;
    TRY(products(l, &p));
    for (int i = 0; i < 2 && p.w.data; i++) {
        l->b->force(l->q->queue.dev, replaced ? NULL : &lt);
        enum status s = product(l, &p, i ? 80 : 33, i);
        l->b->force(l->q->queue.dev, NULL);
        if (s != OK)
            return s == ERR_UNSUPPORTED ? OK : s; /* then it is not taken while serving, either */
    }
    return OK;
}

/* Rows that blocks make themselves, and that are made before. */
static enum status norm_linear_case(struct lab *l)
{
    static const int rows[] = {1, ROWS};
    struct tensor w = weight(l), x = matrix(l, ROWS, WIDE, true), h = matrix(l, ROWS, WIDE, false);
    struct tensor norm = matrix(l, 1, WIDE, true), y = matrix(l, ROWS, OUT, false), mine;
    if (!w.data)
        return OK;
    norm = tensor_1d(norm.data, DT_F32, WIDE);
    TRY(up(l));
    TRY(packed(l, OP_linear, &w, &mine));
    for (int i = 0; i < 2; i++) {
        struct op_norm_linear a = {.x = x, .weight = norm, .eps = 1e-5f, .h = h, .n_parts = 1};
        a.x.shape[0] = a.h.shape[0] = rows[i];
        a.y = y;
        a.y.shape[0] = rows[i];
        struct op_rmsnorm first = {a.x, norm, a.h, a.eps, NULL};
        struct op_linear then = {.x = a.h, .w = w, .y = a.y};
        DEFINED(rmsnorm, first);
        DEFINED(linear, then);
        a.w[0] = mine;
        MOVE(l, a.x.data), MOVE(l, a.weight.data), MOVE(l, a.h.data), MOVE(l, a.y.data);
        TRY(op_norm_linear(&l->q->queue, &a));
        TRY(down(l));
        compare(l, y.data, rows[i] * OUT, DT_F32);
    }
    return OK;
}

enum {
    HEADS = 4,
    KV_HEADS = 2,
    PAGE = 8,
    PAGE_FP8 = 16,
    PAGES = 4
}; /* other pages than the CPU's: plain order */

struct tokens { /* one sequence: its rows at positions from `pos` on */
    struct tensor q, k, v, y;
    struct ragged r;
    struct kv_view kv;
    float *inv_freq;
};

static struct tokens tokens(struct lab *l, int rows, int pos, struct kv_view kv)
{
    struct tokens t = {.r = sequence(l, rows, pos), .kv = kv, .inv_freq = numbers(l, l->dim / 2)};
    t.q = tensor_3d(numbers(l, rows * HEADS * l->dim), DT_F32, rows, HEADS, l->dim);
    t.k = tensor_3d(numbers(l, rows * KV_HEADS * l->dim), DT_F32, rows, KV_HEADS, l->dim);
    t.v = tensor_3d(numbers(l, rows * KV_HEADS * l->dim), DT_F32, rows, KV_HEADS, l->dim);
    t.y = tensor_3d(take(l, sizeof(float) * (size_t)(rows * HEADS * l->dim)), DT_F32, rows, HEADS,
                    l->dim);
    return t;
}

static struct kv_view pages(struct lab *l)
{
    int32_t *table = take(l, PAGES * sizeof *table);
    int each = l->kv == DT_F8_E4M3 ? PAGE_FP8 : PAGE;
    struct kv_view kv = {.dtype = (uint8_t)l->kv,
                         .page_tokens = each,
                         .n_head = KV_HEADS,
                         .head_dim = l->dim,
                         .page_bytes = kv_page_bytes(l->kv, KV_HEADS, each, l->dim),
                         .table = table,
                         .table_stride = PAGES};
    for (int i = 0; i < PAGES; i++)
        table[i] = PAGES - 1 - i;
    kv.base = take(l, (size_t)kv.page_bytes * PAGES);
    return kv;
}

static void move_kv(const struct lab *l, struct kv_view *kv)
{
    MOVE(l, kv->base), MOVE(l, kv->table);
}

/* Norms of the heads where `norm` has weights, rotation, and the store. */
static enum status define_rope(struct lab *l, const struct op_rope_kv *a)
{
    struct op_rmsnorm q_norm = {a->q, a->q_norm, a->q, a->eps, NULL};
    struct op_rmsnorm k_norm = {a->k, a->k_norm, a->k, a->eps, NULL};
    struct op_rope q = {a->q, a->r, a->inv_freq, a->n_freq, a->neox, a->factor};
    struct op_rope k = {a->k, a->r, a->inv_freq, a->n_freq, a->neox, a->factor};
    struct op_kv_write w = {a->k, a->v, a->r, a->kv};
    if (a->q_norm.data) {
        DEFINED(rmsnorm, q_norm);
        DEFINED(rmsnorm, k_norm);
    }
    DEFINED(rope, q);
    DEFINED(rope, k);
    DEFINED(kv_write, w);
    return OK;
}

/* Halves and pairs are rotated, with norms and without. */
static enum status rope_kv_case(struct lab *l)
{
    for (int way = 0; way < 2; way++) {
        l->used = 0;
        struct tokens t = tokens(l, ROWS, 3, pages(l));
        struct tensor norm = tensor_1d(numbers(l, l->dim), DT_F32, l->dim);
        struct op_rope_kv a = {.q = t.q,
                               .k = t.k,
                               .v = t.v,
                               .q_norm = way ? norm : (struct tensor){0},
                               .k_norm = way ? norm : (struct tensor){0},
                               .eps = 1e-5f,
                               .r = t.r,
                               .inv_freq = t.inv_freq,
                               .n_freq = l->dim / 2,
                               .neox = way == 0,
                               .factor = 1,
                               .kv = t.kv};
        TRY(up(l));
        TRY(define_rope(l, &a));
        move_ragged(l, &a.r);
        move_kv(l, &a.kv);
        MOVE(l, a.q.data), MOVE(l, a.k.data), MOVE(l, a.v.data), MOVE(l, a.inv_freq);
        MOVE(l, a.q_norm.data), MOVE(l, a.k_norm.data);
        TRY(op_rope_kv(&l->q->queue, &a));
        TRY(down(l));
        compare(l, t.q.data, ROWS * HEADS * l->dim, DT_F32);
        if (l->kv == DT_F32 || l->kv == DT_BF16)
            compare(l, t.kv.base, t.kv.page_bytes * PAGES / dtype_info(l->kv)->bytes, l->kv);
    }
    return OK;
}

/* A prompt, then a single row behind it, which sees a window: the two take different kernels. */
static enum status attention_case(struct lab *l)
{
    struct kv_view kv = pages(l);
    for (int step = 0; step < 2; step++) {
        struct tokens t = tokens(l, step ? 1 : ROWS, step ? ROWS : 0, kv);
        struct op_kv_write w = {t.k, t.v, t.r, t.kv};
        struct op_attention a = {
            .q = t.q, .r = t.r, .kv = t.kv, .scale = 1 / sqrtf((float)l->dim), .y = t.y};
        a.kv.window = step ? ROWS / 2 : 0;
        TRY(up(l));
        DEFINED(kv_write, w);
        DEFINED(attention, a);
        move_ragged(l, &a.r);
        move_kv(l, &a.kv);
        MOVE(l, a.q.data), MOVE(l, a.y.data), MOVE(l, w.k.data), MOVE(l, w.v.data);
        w.r = a.r;
        w.kv = a.kv;
        TRY(op_kv_write(&l->q->queue, &w));
        TRY(op_attention(&l->q->queue, &a));
        TRY(down(l));
        compare(l, t.y.data, t.r.rows * HEADS * l->dim, DT_F32);
    }
    return OK;
}

enum { CHOICES = 5, SEEN = 30, TOPS = 3 };

/* Greedy, drawn, narrowed, with penalties, biases and a mask, and a token that is forced. */
static void fill_choices(struct op_sample *a, struct sample_row *row, struct sample_bias *bias,
                         uint32_t *mask)
{
    for (int i = 0; i < 3; i++)
        bias[i] = (struct sample_bias){i * 7, i ? 2.5f : -INFINITY};
    for (int i = 0; i < CHOICES * WIDE / 32; i++)
        mask[i] = i / (WIDE / 32) == 3 ? 0x55aa0ff0u : ~0u;
    for (int i = 0; i < CHOICES; i++)
        row[i] = (struct sample_row){.slot = i,
                                     .forced = i == 4 ? 9 : -1,
                                     .seed = 5,
                                     .counter = 7,
                                     .n_top = TOPS,
                                     .temperature = i ? 0.8f : 0,
                                     .top_p = i == 2 ? 0.7f : 1,
                                     .min_p = i == 2 ? 0.01f : 0,
                                     .top_k = i == 2 ? 40 : 0,
                                     .presence = i == 3 ? 0.5f : 0,
                                     .frequency = i == 3 ? 0.25f : 0,
                                     .repetition = i == 3 ? 1.2f : 1,
                                     .n_bias = i == 3 ? 3 : 0};
    a->row = row;
    a->bias = bias;
    a->mask = mask;
}

static bool same_choice(const struct sample_out *a, const struct sample_out *b)
{
    bool same = a->token == b->token && a->rank == b->rank && a->n_top == b->n_top &&
                fabsf(a->logprob - b->logprob) < 1e-3f;
    for (int i = 0; i < b->n_top && same; i++)
        same = a->top_id[i] == b->top_id[i] && fabsf(a->top_logprob[i] - b->top_logprob[i]) < 1e-3f;
    return same;
}

static bool same_bytes(const struct lab *l, const void *want, size_t n)
{
    return memcmp(l->back + ((const char *)want - l->host), want, n) == 0;
}

/* With them the counts that penalties are made of. */
static enum status sample_case(struct lab *l)
{
    struct sample_row *row = take(l, CHOICES * sizeof *row);
    struct sample_bias *bias = take(l, 3 * sizeof *bias);
    uint32_t *mask = take(l, CHOICES * WIDE / 8);
    int32_t *last = take(l, CHOICES * sizeof *last), seen[SEEN];
    size_t n_counts = (size_t)CHOICES * WIDE;
    uint16_t *counts = memset(take(l, n_counts * sizeof *counts), 0, n_counts * sizeof *counts);
    struct sample_out *out = take(l, CHOICES * sizeof *out);
    struct op_sample a = {
        .logits = matrix(l, CHOICES, WIDE, true), .counts = counts, .last = last, .out = out};
    for (int i = 0; i < SEEN; i++)
        seen[i] = i * i % WIDE;
    struct op_count c = {counts + 3 * WIDE, WIDE, seen, SEEN, SEEN / 2};
    fill_choices(&a, row, bias, mask);
    TRY(up(l));
    DEFINED(count, c);
    DEFINED(sample, a);
    MOVE(l, c.counts);
    TRY(op_count(&l->q->queue, &c));
    MOVE(l, a.logits.data), MOVE(l, a.row), MOVE(l, a.last), MOVE(l, a.out), MOVE(l, a.bias);
    MOVE(l, a.mask), MOVE(l, a.counts);
    TRY(op_sample(&l->q->queue, &a));
    TRY(down(l));
    const struct sample_out *got = (struct sample_out *)(l->back + ((char *)out - l->host));
    for (int i = 0; i < CHOICES; i++)
        if (!same_choice(&got[i], &out[i]))
            l->off = NAN;
    if (!same_bytes(l, last, CHOICES * sizeof *last) ||
        !same_bytes(l, counts, n_counts * sizeof *counts))
        l->off = NAN;
    return OK;
}

static enum status add_case(struct lab *l)
{
    struct op_add a = {matrix(l, ROWS, WIDE, true), matrix(l, ROWS, WIDE, true),
                       matrix(l, ROWS, WIDE, false), NULL};
    struct tensor y = a.y;
    TRY(up(l));
    DEFINED(add, a);
    MOVE(l, a.a.data), MOVE(l, a.b.data), MOVE(l, a.y.data);
    TRY(op_add(&l->q->queue, &a));
    TRY(down(l));
    compare(l, y.data, ROWS * WIDE, DT_F32);
    return OK;
}

static enum status columns_case(struct lab *l)
{
    int32_t *index = take(l, WIDE * sizeof *index);
    struct op_columns a = {matrix(l, ROWS, WIDE, true), matrix(l, ROWS, WIDE, false), index, NULL};
    struct tensor y = a.y;
    for (int i = 0; i < WIDE; i++)
        index[i] = i * 37 % WIDE;
    TRY(up(l));
    DEFINED(columns, a);
    MOVE(l, a.x.data), MOVE(l, a.y.data), MOVE(l, a.index);
    TRY(op_columns(&l->q->queue, &a));
    TRY(down(l));
    compare(l, y.data, ROWS * WIDE, DT_F32);
    return OK;
}

/* Behind what the state remembers; the state too. */
static enum status conv1d_case(struct lab *l)
{
    enum { WIDTH = 4 };
    float *state = numbers(l, (WIDTH - 1) * OUT);
    struct op_conv1d a = {.x = matrix(l, ROWS, OUT, true),
                          .y = matrix(l, ROWS, OUT, false),
                          .w = matrix(l, OUT, WIDTH, true),
                          .r = sequence(l, ROWS, 7),
                          .state = state};
    struct tensor y = a.y;
    TRY(up(l));
    DEFINED(conv1d, a);
    move_ragged(l, &a.r);
    MOVE(l, a.x.data), MOVE(l, a.y.data), MOVE(l, a.w.data), MOVE(l, a.state);
    TRY(op_conv1d(&l->q->queue, &a));
    TRY(down(l));
    compare(l, y.data, ROWS * OUT, DT_F32);
    compare(l, state, (WIDTH - 1) * OUT, DT_F32);
    return OK;
}

/* --- all of them */

/* What a kernel may be off by; bf16 in attention is the coarsest. */
#define ALLOWED 2e-2f

/* clang-format off */
static const struct {
    const char *name;
    enum status (*run)(struct lab *);
    unsigned refuse;     /* 0: nothing takes its place */
    const char *instead;
    enum { ONCE, EACH_WEIGHT, EACH_TABLE, EACH_HEADS } times;
} cases[] = {
    {"rmsnorm",     rmsnorm_case,     0,                      NULL,                        ONCE},
    {"glu",         glu_case,         0,                      NULL,                        ONCE},
    {"gather",      gather_case,      0,                      NULL,                        ONCE},
    {"add",         add_case,         0,                      NULL,                        ONCE},
    {"columns",     columns_case,     0,                      NULL,                        ONCE},
    {"conv1d",      conv1d_case,      0,                      NULL,                        ONCE},
    {"sample",      sample_case,      0,                      NULL,                        ONCE},
    {"embed",       embed_case,       0,                      NULL,                        EACH_TABLE},
    {"linear",      linear_case,      0,                      NULL,                        EACH_WEIGHT},
    {"norm_linear", norm_linear_case, CUDA_NO_NORM_LINEAR,    "rmsnorm and linear",        EACH_WEIGHT},
    {"linear by cuBLASLt", lt_case,   CUDA_NO_LT,             "linear of our own",         EACH_WEIGHT},
    {"rope_kv",     rope_kv_case,     CUDA_NO_ROPE_KV,        "rope and kv_write",         EACH_HEADS},
    {"attention",   attention_case,   CUDA_NO_TUNED_ATTENTION, "attention without tiles",  EACH_HEADS},
};
/* clang-format on */

static enum status try_case(struct lab *l, int i, const char *what)
{
    reset(l);
    TRY(cases[i].run(l));
    if (l->off <= ALLOWED)
        return OK;
    const float off = l->off;
    if (l->q->strict && cases[i].refuse)
        return fail(ERR_DEVICE,
                    "--strict: kernel %s%s computes wrongly here (off by %.2g of its largest "
                    "result); without it %s would take its place",
                    cases[i].name, what, (double)off, cases[i].instead);
    if (cases[i].refuse && !(l->q->refused & cases[i].refuse)) {
        l->q->refused |= cases[i].refuse;
        reset(l);
        TRY(cases[i].run(l));
        if (l->off <= ALLOWED) {
            log_warn("cuda: kernel %s%s computes wrongly here (off by %.2g of its largest result): "
                     "%s takes its place",
                     cases[i].name, what, (double)off, cases[i].instead);
            return OK;
        }
    }
    return fail(ERR_DEVICE,
                "cuda: kernel %s%s computes wrongly on this GPU (off by %.2g of its largest "
                "result), and nothing takes its place",
                cases[i].name, what, (double)off);
}

static enum status try_all(struct lab *l, const struct cuda_used *used)
{
    char what[64];
    for (int i = 0; i < (int)(sizeof cases / sizeof *cases); i++) {
        uint64_t types = cases[i].times == EACH_WEIGHT ? used->linear : used->tables;
        if (cases[i].times == ONCE)
            TRY(try_case(l, i, ""));
        for (int t = 0; t < N_DTYPE && cases[i].times != EACH_HEADS && cases[i].times != ONCE;
             t++) {
            l->type = (enum dtype)t;
            snprintf(what, sizeof what, " of %s", dtype_info(l->type)->name);
            if (types >> t & 1)
                TRY(try_case(l, i, what));
        }
        for (int d = 0; d < used->n_heads && cases[i].times == EACH_HEADS; d++) {
            l->kv = used->heads[d].kv;
            l->dim = used->heads[d].dim;
            snprintf(what, sizeof what, " of head size %d over %s", l->dim, kv_type_name(l->kv));
            TRY(try_case(l, i, what));
        }
    }
    return OK;
}

static enum status run_checks(struct cuda_queue *q, const struct cuda_used *used)
{
    struct lab l = {.q = q, .b = q->queue.dev->backend, .seed = 1};
    struct device_options scalar = {.threads = 1, .isa = "scalar"};
    struct device *cpu;
    double start = clock_now();
    TRY(cuda_check(cudaMalloc((void **)&l.dev, ARENA), "memory for the self-check"));
    TRY(backend_cpu.open(&scalar, &cpu));
    l.cpu = backend_cpu.queue(cpu);
    l.host = xmalloc(ARENA);
    l.back = xmalloc(ARENA);
    enum status s = try_all(&l, used);
    backend_cpu.close(cpu);
    cudaFree(l.dev);
    xfree(l.host);
    xfree(l.back);
    if (s == OK)
        log_info("cuda: kernels checked against the CPU in %.0f ms", 1000 * (clock_now() - start));
    return s;
}

/* --- what was found before */

/* All that the result depends on: GPU, driver, this program, the formats. */
static void describe(struct buf *b, const struct cuda_used *used, const char *gpu)
{
    struct stat st = {0};
    if (stat("/proc/self/exe", &st) != 0)
        st.st_size = 0;
    buf_printf(b, "inferd self-check 2\n%s\nprogram %lld %lld\nformats %llx %llx\n", gpu,
               (long long)st.st_size, (long long)st.st_mtime, (unsigned long long)used->linear,
               (unsigned long long)used->tables);
    for (int i = 0; i < used->n_heads; i++)
        buf_printf(b, "heads of %d over %s\n", used->heads[i].dim, kv_type_name(used->heads[i].kv));
}

static void seal(struct buf *b, unsigned refused)
{
    buf_printf(b, "refused %u\n", refused);
    buf_printf(b, "sum %016llx\n", (unsigned long long)hash_bytes(b->data, b->len, 1));
}

/* Whether the file is what was written for this description, with any result. */
static bool remembered(const char *path, const struct buf *about, unsigned *refused)
{
    char *text = NULL;
    size_t n = 0;
    bool found = false;
    if (file_read(path, FILE_MOST, &text, &n) != OK)
        return false;
    for (unsigned r = 0; r <= CUDA_NO_ALL && !found; r++) {
        struct buf want = {0};
        buf_append(&want, about->data, about->len);
        seal(&want, r);
        found = want.len == n && memcmp(want.data, text, n) == 0;
        *refused = r;
        buf_clear(&want);
    }
    xfree(text);
    return found;
}

/* Whole or not at all; a folder that cannot be written to only costs the next start its time. */
static void remember(const char *where, const char *path, struct buf *about, unsigned refused)
{
    char part[1100];
    snprintf(part, sizeof part, "%s.part", path);
    seal(about, refused);
    mkdir(where, 0777);
    FILE *f = fopen(part, "wb");
    if (!f)
        return;
    bool good = fwrite(about->data, 1, about->len, f) == about->len;
    good = fclose(f) == 0 && good;
    if (!good || rename(part, path) != 0)
        remove(part);
}

enum status cuda_self_check(struct cuda_queue *q, const struct cuda_used *used, const char *gpu,
                            const char *where)
{
    struct buf about = {0};
    char path[1024] = "";
    enum status s = OK;
    describe(&about, used, gpu);
    buf_printf(&about, "cuBLASLt %d\n", q->lt && !q->deterministic ? lt_version(q->lt) : 0);
    if (where)
        snprintf(path, sizeof path, "%s/check-%016llx", where,
                 (unsigned long long)hash_bytes(about.data, about.len, 0));
    bool known = where && remembered(path, &about, &q->refused);
    if (!known || (q->strict && q->refused)) {
        q->refused = 0;
        s = run_checks(q, used);
        if (s == OK && where)
            remember(where, path, &about, q->refused);
    }
    buf_clear(&about);
    return s;
}
