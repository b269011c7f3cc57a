/* check_cases.c - every kernel that a model may run, on tiny shapes: see lab.h. */
#include <math.h>
#include <string.h>

#include "kernels/cuda/lab.h"
#include "kernels/gpu/registry.h"
#include "kernels/kv_type.h"

static enum status rmsnorm_case(struct lab *l)
{
    struct op_rmsnorm a = {lab_matrix(l, LAB_ROWS, LAB_WIDE, true),
                           lab_matrix(l, 1, LAB_WIDE, true),
                           lab_matrix(l, LAB_ROWS, LAB_WIDE, false), 1e-5f, NULL};
    struct tensor y = a.y;
    a.weight = tensor_1d(a.weight.data, DT_F32, LAB_WIDE);
    TRY(lab_up(l));
    DEFINED(rmsnorm, a);
    MOVE(l, a.x.data), MOVE(l, a.weight.data), MOVE(l, a.y.data);
    TRY(op_rmsnorm(&l->q->queue, &a));
    TRY(lab_down(l));
    lab_compare(l, y.data, LAB_ROWS * LAB_WIDE, DT_F32);
    return OK;
}

static enum status glu_case(struct lab *l)
{
    struct op_glu a = {lab_matrix(l, LAB_ROWS, 2 * LAB_WIDE, true),
                       lab_matrix(l, LAB_ROWS, LAB_WIDE, false), ACT_SILU, NULL};
    struct tensor y = a.y;
    TRY(lab_up(l));
    DEFINED(glu, a);
    MOVE(l, a.x.data), MOVE(l, a.y.data);
    TRY(op_glu(&l->q->queue, &a));
    TRY(lab_down(l));
    lab_compare(l, y.data, LAB_ROWS * LAB_WIDE, DT_F32);
    return OK;
}

static enum status gather_case(struct lab *l)
{
    int32_t *index = lab_take(l, 4 * sizeof *index);
    struct op_gather a = {lab_matrix(l, LAB_ROWS, LAB_WIDE, true),
                          lab_matrix(l, 4, LAB_WIDE, false), index, NULL};
    struct tensor y = a.y;
    for (int i = 0; i < 4; i++)
        index[i] = LAB_ROWS - 1 - 5 * i;
    TRY(lab_up(l));
    DEFINED(gather, a);
    MOVE(l, a.x.data), MOVE(l, a.y.data), MOVE(l, a.index);
    TRY(op_gather(&l->q->queue, &a));
    TRY(lab_down(l));
    lab_compare(l, y.data, 4 * LAB_WIDE, DT_F32);
    return OK;
}

static enum status embed_case(struct lab *l)
{
    int32_t *token = lab_take(l, LAB_ROWS * sizeof *token);
    struct tensor table = lab_weight(l), y = lab_matrix(l, LAB_ROWS, LAB_WIDE, false);
    if (!table.data)
        return OK;
    for (int i = 0; i < LAB_ROWS; i++)
        token[i] = i * 17 % LAB_OUT;
    struct op_embed a = {
        .table = table, .r = lab_sequence(l, LAB_ROWS, 0), .token = token, .y = y, .scale = 1};
    TRY(lab_up(l));
    DEFINED(embed, a);
    TRY(lab_packed(l, OP_embed, &table, &a.table));
    lab_move_ragged(l, &a.r);
    MOVE(l, a.token), MOVE(l, a.y.data);
    TRY(op_embed(&l->q->queue, &a));
    TRY(lab_down(l));
    lab_compare(l, y.data, LAB_ROWS * LAB_WIDE, DT_F32);
    return OK;
}

struct products { /* w: the file's; mine: packed, on the device; data NULL: nothing encodes it */
    struct tensor w, mine, x, y, bias, add;
    struct tensor seen; /* x as the definition gets it */
};

static enum status products(struct lab *l, struct products *p)
{
    *p = (struct products){.w = lab_weight(l)};
    p->x = p->seen = lab_matrix(l, 80, LAB_WIDE, true);
    p->y = lab_matrix(l, 80, LAB_OUT, false);
    p->add = lab_matrix(l, 80, LAB_OUT, true);
    p->bias = lab_matrix(l, 1, LAB_OUT, true);
    p->bias = tensor_1d(p->bias.data, DT_F32, LAB_OUT);
    TRY(lab_up(l));
    return p->w.data ? lab_packed(l, OP_linear, &p->w, &p->mine) : OK;
}

/* So many rows, with and without what is added to them. */
static enum status product(struct lab *l, const struct products *p, int rows, bool more)
{
    struct op_linear a = {.x = p->seen, .w = p->w, .y = p->y};
    if (more) {
        a.bias = p->bias;
        a.add = p->add;
        a.add.shape[0] = rows;
    }
    a.x.shape[0] = a.y.shape[0] = rows;
    DEFINED(linear, a);
    a.w = p->mine;
    a.x.data = p->x.data;
    MOVE(l, a.x.data), MOVE(l, a.y.data), MOVE(l, a.bias.data), MOVE(l, a.add.data);
    TRY(op_linear(&l->q->queue, &a));
    TRY(lab_down(l));
    lab_compare(l, p->y.data, rows * LAB_OUT, DT_F32);
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

/* Products that round x, whose definition gets it rounded as beside weights of `like`. All blocks
 * of a row have one scale. */
static enum status rounded_products(struct lab *l, enum dtype like, struct products *p)
{
    const size_t block = (size_t)dtype_info(l->type)->bytes;
    TRY(products(l, p));
    if (!p->w.data)
        return OK;
    for (int r = 0; r < LAB_OUT && l->type == DT_F8_E4M3; r++)
        for (size_t at = block; at < (size_t)p->w.stride[0]; at += block)
            memcpy((char *)tensor_row(&p->w, r) + at, tensor_row(&p->w, r), sizeof(float));
    p->seen = lab_matrix(l, 80, LAB_WIDE, false);
    for (int r = 0; r < 80; r++)
        x_type_round(x_type_of(like), like, 0, tensor_row(&p->x, r), LAB_WIDE,
                     tensor_row(&p->seen, r));
    return lab_packed(l, OP_linear, &p->w, &p->mine);
}

/* One such way. Refused, nothing is left to try: what takes its place has a case of its own. */
static enum status rounded(struct lab *l, const struct gpu_params *way)
{
    static const int rows[] = {33, 80};
    const struct quant says = {.x = x_type_of(l->type), .row_scale = true};
    const struct gpu_shape shape = {l->type, rows[0], LAB_OUT, LAB_WIDE};
    struct products p;
    l->used = 0;
    l->b->force(l->q->queue.dev, way);
    const bool taken =
        gpu_legal(l->q->cc, l->type, way) == OK &&
        gpu_plan_get(&l->q->plan, &shape, cuda_may(l->q, l->type, &says)).path == way->path;
    l->b->force(l->q->queue.dev, NULL);
    if (!taken)
        return OK;
    TRY(rounded_products(l, gpu_path_x_like(way->path, l->type), &p));
    p.mine.q = &says;
    for (int i = 0; i < 2 && p.w.data; i++) {
        l->b->force(l->q->queue.dev, way);
        const enum status s = product(l, &p, rows[i], i);
        l->b->force(l->q->queue.dev, NULL);
        if (s != OK)
            return s == ERR_UNSUPPORTED ? OK : s; /* then it is not taken while serving, either */
    }
    return OK;
}

/* Each tile of ours. */
static enum status rounded_by_own(struct lab *l, enum gpu_path path)
{
    for (int i = 0; i < gpu_n_mma8_tiles(); i++) {
        const struct gpu_params way = {.path = path,
                                       .nt = gpu_mma8_tiles[i].nt,
                                       .r = gpu_mma8_tiles[i].r,
                                       .stages = GPU_MMA8_STAGES,
                                       .splits = 1};
        TRY(rounded(l, &way));
    }
    return OK;
}

static enum status w8a8_case(struct lab *l)
{
    return rounded_by_own(l, GPU_PATH_W8A8);
}

static enum status w4a4_case(struct lab *l)
{
    return rounded_by_own(l, GPU_PATH_W4A4);
}

static enum status lt_fp8_case(struct lab *l)
{
    return rounded(l, &(struct gpu_params){.path = GPU_PATH_LT_FP8, .splits = 1});
}

static enum status lt_fp4_case(struct lab *l)
{
    return rounded(l, &(struct gpu_params){.path = GPU_PATH_LT_FP4, .splits = 1});
}

/* Rows that blocks make themselves, and that are made before. */
static enum status norm_linear_case(struct lab *l)
{
    static const int rows[] = {1, LAB_ROWS};
    struct tensor w = lab_weight(l), x = lab_matrix(l, LAB_ROWS, LAB_WIDE, true),
                  h = lab_matrix(l, LAB_ROWS, LAB_WIDE, false);
    struct tensor norm = lab_matrix(l, 1, LAB_WIDE, true),
                  y = lab_matrix(l, LAB_ROWS, LAB_OUT, false), mine;
    if (!w.data)
        return OK;
    norm = tensor_1d(norm.data, DT_F32, LAB_WIDE);
    TRY(lab_up(l));
    TRY(lab_packed(l, OP_linear, &w, &mine));
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
        TRY(lab_down(l));
        lab_compare(l, y.data, rows[i] * LAB_OUT, DT_F32);
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
    struct tokens t = {
        .r = lab_sequence(l, rows, pos), .kv = kv, .inv_freq = lab_numbers(l, l->dim / 2)};
    t.q = tensor_3d(lab_numbers(l, rows * HEADS * l->dim), DT_F32, rows, HEADS, l->dim);
    t.k = tensor_3d(lab_numbers(l, rows * KV_HEADS * l->dim), DT_F32, rows, KV_HEADS, l->dim);
    t.v = tensor_3d(lab_numbers(l, rows * KV_HEADS * l->dim), DT_F32, rows, KV_HEADS, l->dim);
    t.y = tensor_3d(lab_take(l, sizeof(float) * (size_t)(rows * HEADS * l->dim)), DT_F32, rows,
                    HEADS, l->dim);
    return t;
}

static struct kv_view pages(struct lab *l)
{
    int32_t *table = lab_take(l, PAGES * sizeof *table);
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
    kv.base = lab_take(l, (size_t)kv.page_bytes * PAGES);
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
        struct tokens t = tokens(l, LAB_ROWS, 3, pages(l));
        struct tensor norm = tensor_1d(lab_numbers(l, l->dim), DT_F32, l->dim);
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
        TRY(lab_up(l));
        TRY(define_rope(l, &a));
        lab_move_ragged(l, &a.r);
        move_kv(l, &a.kv);
        MOVE(l, a.q.data), MOVE(l, a.k.data), MOVE(l, a.v.data), MOVE(l, a.inv_freq);
        MOVE(l, a.q_norm.data), MOVE(l, a.k_norm.data);
        TRY(op_rope_kv(&l->q->queue, &a));
        TRY(lab_down(l));
        lab_compare(l, t.q.data, LAB_ROWS * HEADS * l->dim, DT_F32);
        if (l->kv == DT_F32 || l->kv == DT_BF16)
            lab_compare(l, t.kv.base, t.kv.page_bytes * PAGES / dtype_info(l->kv)->bytes, l->kv);
    }
    return OK;
}

/* A prompt, then a single row behind it, which sees a window: the two take different kernels. */
static enum status attention_case(struct lab *l)
{
    struct kv_view kv = pages(l);
    for (int step = 0; step < 2; step++) {
        struct tokens t = tokens(l, step ? 1 : LAB_ROWS, step ? LAB_ROWS : 0, kv);
        struct op_kv_write w = {t.k, t.v, t.r, t.kv};
        struct op_attention a = {
            .q = t.q, .r = t.r, .kv = t.kv, .scale = 1 / sqrtf((float)l->dim), .y = t.y};
        a.kv.window = step ? LAB_ROWS / 2 : 0;
        TRY(lab_up(l));
        DEFINED(kv_write, w);
        DEFINED(attention, a);
        lab_move_ragged(l, &a.r);
        move_kv(l, &a.kv);
        MOVE(l, a.q.data), MOVE(l, a.y.data), MOVE(l, w.k.data), MOVE(l, w.v.data);
        w.r = a.r;
        w.kv = a.kv;
        TRY(op_kv_write(&l->q->queue, &w));
        TRY(op_attention(&l->q->queue, &a));
        TRY(lab_down(l));
        lab_compare(l, t.y.data, t.r.rows * HEADS * l->dim, DT_F32);
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
    for (int i = 0; i < CHOICES * LAB_WIDE / 32; i++)
        mask[i] = i / (LAB_WIDE / 32) == 3 ? 0x55aa0ff0u : ~0u;
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
    struct sample_row *row = lab_take(l, CHOICES * sizeof *row);
    struct sample_bias *bias = lab_take(l, 3 * sizeof *bias);
    uint32_t *mask = lab_take(l, CHOICES * LAB_WIDE / 8);
    int32_t *last = lab_take(l, CHOICES * sizeof *last), seen[SEEN];
    size_t n_counts = (size_t)CHOICES * LAB_WIDE;
    uint16_t *counts = memset(lab_take(l, n_counts * sizeof *counts), 0, n_counts * sizeof *counts);
    struct sample_out *out = lab_take(l, CHOICES * sizeof *out);
    struct op_sample a = {.logits = lab_matrix(l, CHOICES, LAB_WIDE, true),
                          .counts = counts,
                          .last = last,
                          .out = out};
    for (int i = 0; i < SEEN; i++)
        seen[i] = i * i % LAB_WIDE;
    struct op_count c = {counts + 3 * LAB_WIDE, LAB_WIDE, seen, SEEN, SEEN / 2};
    fill_choices(&a, row, bias, mask);
    TRY(lab_up(l));
    DEFINED(count, c);
    DEFINED(sample, a);
    MOVE(l, c.counts);
    TRY(op_count(&l->q->queue, &c));
    MOVE(l, a.logits.data), MOVE(l, a.row), MOVE(l, a.last), MOVE(l, a.out), MOVE(l, a.bias);
    MOVE(l, a.mask), MOVE(l, a.counts);
    TRY(op_sample(&l->q->queue, &a));
    TRY(lab_down(l));
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
    struct op_add a = {lab_matrix(l, LAB_ROWS, LAB_WIDE, true),
                       lab_matrix(l, LAB_ROWS, LAB_WIDE, true),
                       lab_matrix(l, LAB_ROWS, LAB_WIDE, false), NULL};
    struct tensor y = a.y;
    TRY(lab_up(l));
    DEFINED(add, a);
    MOVE(l, a.a.data), MOVE(l, a.b.data), MOVE(l, a.y.data);
    TRY(op_add(&l->q->queue, &a));
    TRY(lab_down(l));
    lab_compare(l, y.data, LAB_ROWS * LAB_WIDE, DT_F32);
    return OK;
}

static enum status columns_case(struct lab *l)
{
    int32_t *index = lab_take(l, LAB_WIDE * sizeof *index);
    struct op_columns a = {lab_matrix(l, LAB_ROWS, LAB_WIDE, true),
                           lab_matrix(l, LAB_ROWS, LAB_WIDE, false), index, NULL};
    struct tensor y = a.y;
    for (int i = 0; i < LAB_WIDE; i++)
        index[i] = i * 37 % LAB_WIDE;
    TRY(lab_up(l));
    DEFINED(columns, a);
    MOVE(l, a.x.data), MOVE(l, a.y.data), MOVE(l, a.index);
    TRY(op_columns(&l->q->queue, &a));
    TRY(lab_down(l));
    lab_compare(l, y.data, LAB_ROWS * LAB_WIDE, DT_F32);
    return OK;
}

/* Behind what the state remembers; the state too. */
static enum status conv1d_case(struct lab *l)
{
    enum { WIDTH = 4 };
    float *state = lab_numbers(l, (WIDTH - 1) * LAB_OUT);
    struct op_conv1d a = {.x = lab_matrix(l, LAB_ROWS, LAB_OUT, true),
                          .y = lab_matrix(l, LAB_ROWS, LAB_OUT, false),
                          .w = lab_matrix(l, LAB_OUT, WIDTH, true),
                          .r = lab_sequence(l, LAB_ROWS, 7),
                          .state = state};
    struct tensor y = a.y;
    TRY(lab_up(l));
    DEFINED(conv1d, a);
    lab_move_ragged(l, &a.r);
    MOVE(l, a.x.data), MOVE(l, a.y.data), MOVE(l, a.w.data), MOVE(l, a.state);
    TRY(op_conv1d(&l->q->queue, &a));
    TRY(lab_down(l));
    lab_compare(l, y.data, LAB_ROWS * LAB_OUT, DT_F32);
    lab_compare(l, state, (WIDTH - 1) * LAB_OUT, DT_F32);
    return OK;
}

/* clang-format off */
const struct check_case check_cases[] = {
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
    {"w8a8",        w8a8_case,        CUDA_NO_W8A8,           NULL,                        EACH_FP8},
    {"lt_fp8",      lt_fp8_case,      CUDA_NO_LT_FP8,         NULL,                        EACH_FP8_ROWS},
    {"w4a4",        w4a4_case,        CUDA_NO_W4A4,           NULL,                        EACH_FP4},
    {"lt_fp4",      lt_fp4_case,      CUDA_NO_LT_FP4,         NULL,                        EACH_FP4},
    {"rope_kv",     rope_kv_case,     CUDA_NO_ROPE_KV,        "rope and kv_write",         EACH_HEADS},
    {"attention",   attention_case,   CUDA_NO_TUNED_ATTENTION, "attention without tiles",  EACH_HEADS},
};
/* clang-format on */

const int n_check_cases = sizeof check_cases / sizeof *check_cases;
