/* attn.c - attention over paged KV: which rows, pages and blocks meet, and how pieces are merged.
 *
 * A unit is up to 64 query rows (heads of a group x tokens of a sequence) that share a KV head: a
 * block of 64 positions is read once from memory for all of them. Positions are cut into pieces of
 * 1024, aligned to 0, which are computed apart and merged in ascending order: so a few rows over a
 * long context can be shared out over threads, and a row's bits depend on its own range alone,
 * whether its pieces were shared out or not. Up to 1024 positions these are the bits of
 * naive_attn.c (vdpbf16ps excepted). A block of fp8 pages becomes bf16 pages in panels first, once
 * for all rows of a unit: its numbers are exact in bf16. */
#include <math.h>
#include <string.h>

#include "kernels/cpu/exp2.h"
#include "kernels/cpu/fast.h"
#include "kernels/cpu/page.h"
#include "kernels/half.h"
#include "kernels/kv_type.h"
#include "kernels/quant/f8_e4m3.h"

enum {
    UNIT_ROWS = 64,
    PIECE = 1024,
    LINE = 64,
    SPLIT_MAX = 16 << 20, /* bytes of partial results; above it units are not split */
    UNITS_A_THREAD = 2,   /* fewer units than this, and their pieces are shared out */
};

struct unit {
    int row, tokens, head, slot; /* first row of the step, rows, KV head */
    int lo, hi;                  /* positions that some row sees: [lo, hi) */
    int64_t item;                /* first of its (unit, piece) items */
};

/* Rows of a unit in work, or of one piece of it. */
struct part {
    struct attn_state state[UNIT_ROWS];
    _Alignas(LINE) float out[UNIT_ROWS * ATTN_DIM_MAX];
};

struct worker_space {
    struct part sum, piece;
    _Alignas(LINE) float q[UNIT_ROWS * ATTN_DIM_MAX]; /* f32 or bf16 */
    int lo[UNIT_ROWS], hi[UNIT_ROWS];
    /* a block of fp8 pages as bf16 ones, in panels: K, V, K, V ... */
    _Alignas(LINE) uint16_t wide[ATTN_BLOCK * 2 * ATTN_DIM_MAX];
};

struct attn_stage {
    struct fast *f;
    const struct op_attention *op;
    struct unit *unit;
    struct worker_space *space; /* [threads] */
    char *partial;              /* items, each part_bytes: states, then outputs */
    size_t part_bytes;
    int64_t n_units, n_items;
    int group;
    uint16_t value[256]; /* of an e4m3, as bf16 */
};

static int least(int a, int b)
{
    return a < b ? a : b;
}

static int most(int a, int b)
{
    return a > b ? a : b;
}

/* Positions row r sees: [*lo, returned). */
static int range(const struct op_attention *a, int row, int *lo)
{
    int pos = a->r.pos[row], window = a->kv.window;

    *lo = window > 0 && pos >= window ? pos - window + 1 : 0;
    return (a->r.span ? a->r.span[row] : pos) + 1;
}

/* Splits the step's rows into units; with unit NULL only counts them. */
static int64_t find_units(const struct op_attention *a, int rows, int group, struct unit *unit)
{
    int per = UNIT_ROWS / group, heads = a->kv.n_head;
    int64_t n = 0;

    for (int row = 0, c; row < rows; row += c) {
        struct unit u = {.row = row, .lo = INT32_MAX, .slot = a->r.seq_slot[a->r.row_seq[row]]};
        for (c = 0; c < per && row + c < rows && a->r.row_seq[row + c] == a->r.row_seq[row]; c++) {
            int lo, hi = range(a, row + c, &lo);
            u.lo = least(u.lo, lo);
            u.hi = most(u.hi, hi);
        }
        u.tokens = c;
        for (int h = 0; unit && h < heads; h++) {
            u.head = h;
            unit[n + h] = u;
        }
        n += heads;
    }
    return n;
}

static int64_t pieces(const struct unit *u)
{
    return (u->hi + PIECE - 1) / PIECE - u->lo / PIECE;
}

/* The unit's query rows, scaled and rounded as the kernels want them, and what each sees. */
static void load_rows(const struct attn_stage *s, const struct unit *u, struct worker_space *w)
{
    const struct op_attention *a = s->op;
    int dim = a->kv.head_dim, n = 0;
    float scale = a->softcap != 0 ? a->scale : a->scale * EXP2_LOG2E;
    bool bf16 = a->kv.dtype != DT_F32;

    for (int t = 0; t < u->tokens; t++) {
        int lo, hi = range(a, u->row + t, &lo);
        for (int g = 0; g < s->group; g++, n++) {
            const float *q =
                (const float *)(const void *)((char *)tensor_row(&a->q, u->row + t) +
                                              (u->head * s->group + g) * a->q.stride[1]);
            w->lo[n] = lo;
            w->hi[n] = hi;
            for (int d = 0; d < dim; d++) {
                float v = q[d] * scale;
                if (bf16 && s->f->isa->q_bf16)
                    ((uint16_t *)w->q)[n * dim + d] = half_to_bf16(v);
                else
                    w->q[n * dim + d] = bf16 ? half_bf16(half_to_bf16(v)) : v;
            }
        }
    }
}

/* One half of a page of fp8, 16 positions in plain order, as rows of bf16. */
static void widen(const struct kv_view *kv, const char *half, const uint16_t *value, uint16_t *out)
{
    int dim = kv->head_dim;

    for (int t = 0; t < PAGE_TOKENS; t++) {
        int by = (*page_scale(kv, half, t) - 127) * (1 << 7); /* to the exponent of bf16 */
        const uint8_t *code = (const uint8_t *)half + t * dim;
        for (int d = 0; d < dim; d++) {
            uint16_t v = value[code[d]];
            out[t * dim + d] = (uint16_t)(v & 0x7fff ? v + by : v);
        }
    }
}

/* The pages of the block at t0 that the unit sees, from fp8 to panels of bf16 in w->wide. */
static void widen_block(const struct attn_stage *s, const struct unit *u, struct worker_space *w,
                        int t0)
{
    const struct kv_view *kv = &s->op->kv;
    int dim = kv->head_dim;
    uint16_t plain[PAGE_TOKENS * ATTN_DIM_MAX];

    for (int i = 0; i < ATTN_PAGES; i++) {
        int at = t0 + i * PAGE_TOKENS;
        if (at + PAGE_TOKENS <= u->lo || at >= u->hi)
            continue;
        const char *page = page_head(kv, u->slot, at, u->head);
        uint16_t *k = w->wide + i * PAGE_TOKENS * 2 * dim, *v = k + PAGE_TOKENS * dim;
        widen(kv, page, s->value, plain);
        for (int d = 0; d < dim; d += 2, k += 2 * PAGE_TOKENS)
            for (int t = 0; t < PAGE_TOKENS; t++)
                memcpy(k + 2 * t, plain + t * dim + d, 4);
        widen(kv, page + page_half(kv), s->value, plain);
        for (int t = 0; t < PAGE_TOKENS; t += 2, v += 2 * dim)
            for (int d = 0; d < dim; d++) {
                v[2 * d] = plain[t * dim + d];
                v[2 * d + 1] = plain[(t + 1) * dim + d];
            }
    }
}

/* The tile's view of the block of 64 positions at t0: pages, and what each row sees of it. */
static bool aim(const struct attn_stage *s, const struct unit *u, struct attn_tile *t, int t0,
                const struct worker_space *w, int row)
{
    const struct kv_view *kv = &s->op->kv;
    const int *lo = w->lo + row, *hi = w->hi + row;
    const uint16_t *wide = kv->dtype == DT_F8_E4M3 ? w->wide : NULL;

    t->first = ATTN_BLOCK;
    t->last = 0;
    for (int i = 0; i < t->rows; i++) {
        t->lo[i] = most(lo[i] - t0, 0);
        t->hi[i] = most(least(hi[i] - t0, ATTN_BLOCK), 0);
        if (t->lo[i] < t->hi[i]) {
            t->first = least(t->first, t->lo[i]);
            t->last = most(t->last, t->hi[i]);
        }
    }
    if (t->first >= t->last)
        return false;
    for (int i = 0; i < ATTN_PAGES; i++) { /* pages beyond the range may not exist: any other */
        int p = most(least(i, (t->last - 1) / PAGE_TOKENS), t->first / PAGE_TOKENS);
        t->page[i] = wide ? (const char *)wide + p * 2 * t->v_at
                          : page_head(kv, u->slot, t0 + p * PAGE_TOKENS, u->head);
    }
    return true;
}

/* One piece of a unit from nothing: blocks outside, rows inside, so that a block stays in L1. */
static void run_piece(const struct attn_stage *s, const struct unit *u, int64_t piece,
                      struct worker_space *w, struct part *p)
{
    const struct op_attention *a = s->op;
    const struct cpu_isa *isa = s->f->isa;
    int dim = a->kv.head_dim, rows = u->tokens * s->group;
    bool fp8 = a->kv.dtype == DT_F8_E4M3;
    enum dtype type = fp8 ? DT_BF16 : (enum dtype)a->kv.dtype;
    bool narrow = type == DT_BF16 && isa->q_bf16;
    int begin = most(u->lo / ATTN_BLOCK * ATTN_BLOCK, (int)piece * PIECE);
    int end = least(u->hi, (int)(piece + 1) * PIECE);
    struct attn_tile t = {.v_at = fp8 ? PAGE_TOKENS * dim * 2 : page_half(&a->kv),
                          .dim = dim,
                          .softcap = a->softcap,
                          .round_p = type == DT_BF16 && !narrow};

    for (int i = 0; i < rows; i++)
        p->state[i] = (struct attn_state){-1e30f, 0};
    memset(p->out, 0, (size_t)(rows * dim) * sizeof *p->out);
    for (int t0 = begin; t0 < end; t0 += ATTN_BLOCK) {
        if (fp8)
            widen_block(s, u, w, t0);
        for (int i = 0; i < rows; i += ATTN_TILE) {
            t.rows = least(rows - i, ATTN_TILE);
            if (!aim(s, u, &t, t0, w, i))
                continue;
            t.q = (const char *)w->q + (size_t)(i * dim) * (narrow ? 2 : 4);
            t.state = p->state + i;
            t.out = p->out + i * dim;
            isa->scores[type](&t);
            isa->softmax(&t);
            isa->values[type](&t);
        }
    }
}

/* sum += piece, for n rows. A row that saw nothing yet takes the piece exactly as it is. */
static void merge(struct attn_state *to, float *to_out, const struct attn_state *from,
                  const float *from_out, int n, int dim)
{
    for (int i = 0; i < n; i++) {
        float top = from[i].top > to[i].top ? from[i].top : to[i].top;
        float old = cpu_exp2(to[i].top - top), new = cpu_exp2(from[i].top - top);
        to[i] = (struct attn_state){top, to[i].sum * old + from[i].sum * new};
        for (int d = 0; d < dim; d++)
            to_out[i * dim + d] = to_out[i * dim + d] * old + from_out[i * dim + d] * new;
    }
}

static void begin_sum(const struct attn_stage *s, const struct unit *u, struct part *sum)
{
    const float *sink = s->op->sinks.data;
    int rows = u->tokens * s->group;

    for (int i = 0; i < rows; i++) {
        int h = u->head * s->group + i % s->group;
        sum->state[i] = (struct attn_state){-1e30f, 0};
        if (sink)
            sum->state[i] = (struct attn_state){sink[h] * EXP2_LOG2E, 1};
    }
    memset(sum->out, 0, (size_t)(rows * s->op->kv.head_dim) * sizeof *sum->out);
}

static void store_rows(const struct attn_stage *s, const struct unit *u, const struct part *sum)
{
    const struct op_attention *a = s->op;
    int dim = a->kv.head_dim;

    for (int i = 0; i < u->tokens * s->group; i++) {
        float *y = (float *)(void *)((char *)tensor_row(&a->y, u->row + i / s->group) +
                                     (u->head * s->group + i % s->group) * a->y.stride[1]);
        for (int d = 0; d < dim; d++)
            y[d] = sum->out[i * dim + d] / sum->state[i].sum;
    }
}

static void unit_chunk(void *arg, int64_t chunk, int worker)
{
    struct attn_stage *s = arg;
    const struct unit *u = &s->unit[s->n_units - 1 - chunk]; /* late rows see most: first */
    struct worker_space *w = &s->space[worker];
    int rows = u->tokens * s->group, dim = s->op->kv.head_dim;

    load_rows(s, u, w);
    begin_sum(s, u, &w->sum);
    for (int64_t p = 0; p < pieces(u); p++) {
        run_piece(s, u, u->lo / PIECE + p, w, &w->piece);
        merge(w->sum.state, w->sum.out, w->piece.state, w->piece.out, rows, dim);
    }
    store_rows(s, u, &w->sum);
}

static void piece_chunk(void *arg, int64_t item, int worker)
{
    struct attn_stage *s = arg;
    struct worker_space *w = &s->space[worker];
    const struct unit *u = s->unit;

    while (u + 1 < s->unit + s->n_units && u[1].item <= item)
        u++;
    int rows = u->tokens * s->group, dim = s->op->kv.head_dim;
    char *to = s->partial + (size_t)item * s->part_bytes;
    load_rows(s, u, w);
    run_piece(s, u, u->lo / PIECE + item - u->item, w, &w->piece);
    memcpy(to, w->piece.state, sizeof w->piece.state);
    memcpy(to + sizeof w->piece.state, w->piece.out, (size_t)(rows * dim) * sizeof(float));
}

static void merge_chunk(void *arg, int64_t chunk, int worker)
{
    struct attn_stage *s = arg;
    const struct unit *u = &s->unit[chunk];
    struct part *sum = &s->space[worker].sum;

    begin_sum(s, u, sum);
    for (int64_t p = 0; p < pieces(u); p++) {
        const char *from = s->partial + (size_t)(u->item + p) * s->part_bytes;
        merge(sum->state, sum->out, (const void *)from, (const void *)(from + sizeof sum->state),
              u->tokens * s->group, s->op->kv.head_dim);
    }
    store_rows(s, u, sum);
}

bool fast_kv(const struct fast *f, const struct kv_view *kv)
{
    enum dtype type = kv->dtype == DT_F8_E4M3 ? DT_BF16 : (enum dtype)kv->dtype;
    return kv->page_tokens == PAGE_TOKENS && kv->head_dim % 16 == 0 &&
           kv->head_dim <= ATTN_DIM_MAX && f->isa->softmax && f->isa->scores[type] &&
           f->isa->values[type];
}

/* Lists the units and numbers their pieces; returns the rows of the largest. */
static int list_units(struct attn_stage *s, int rows)
{
    int largest = 0;

    s->unit = s->f->scratch;
    s->n_units = find_units(s->op, rows, s->group, s->unit);
    s->n_items = 0;
    for (int64_t i = 0; i < s->n_units; i++) {
        s->unit[i].item = s->n_items;
        s->n_items += pieces(&s->unit[i]);
        largest = most(largest, s->unit[i].tokens * s->group);
    }
    return largest;
}

/* Units that `rows` of `seqs` sequences make at most, and the pieces of those that are split. */
void fast_reserve_attention(struct fast *f, const struct op_attention *a)
{
    int group = (int)a->q.shape[1] / a->kv.n_head, threads = pool_threads(f->pool);
    if (!fast_kv(f, &a->kv) || group > UNIT_ROWS)
        return;
    size_t per = (size_t)(UNIT_ROWS / group), rows = (size_t)a->r.rows, seqs = (size_t)a->r.seqs;
    size_t units = (rows / per + (seqs < rows ? seqs : rows)) * (size_t)a->kv.n_head;
    size_t context = (size_t)a->kv.table_stride * (size_t)a->kv.page_tokens;
    size_t split = (size_t)(threads * UNITS_A_THREAD) * (context / PIECE + 2);
    size_t part = sizeof(struct part) * split;
    fast_reserve(f, units * sizeof(struct unit) + LINE +
                        (size_t)threads * sizeof(struct worker_space) +
                        (part < SPLIT_MAX ? part : SPLIT_MAX));
}

bool fast_attention(struct fast *f, const struct op_attention *a)
{
    int rows = a->r.live ? least(a->r.rows, a->r.live[0]) : a->r.rows;
    int threads = pool_threads(f->pool);
    struct attn_stage s = {.f = f, .op = a, .group = (int)a->q.shape[1] / a->kv.n_head};

    if (!fast_kv(f, &a->kv) || s.group > UNIT_ROWS)
        return false;
    for (int i = 0; i < 256 && a->kv.dtype == DT_F8_E4M3; i++)
        s.value[i] = half_to_bf16(f8_e4m3_value(i));
    size_t units = (size_t)find_units(a, rows, s.group, NULL) * sizeof *s.unit;
    size_t spaces = (size_t)threads * sizeof *s.space;
    units = (units + LINE - 1) / LINE * LINE;
    fast_reserve(f, units + spaces);
    size_t part = (size_t)(list_units(&s, rows) * a->kv.head_dim) * sizeof(float);
    s.part_bytes = (sizeof s.space->piece.state + part + LINE - 1) / LINE * LINE;
    bool split = s.n_units < threads * UNITS_A_THREAD && s.n_items > s.n_units &&
                 (size_t)s.n_items * s.part_bytes <= SPLIT_MAX;
    if (split) {
        fast_reserve(f, units + spaces + (size_t)s.n_items * s.part_bytes);
        list_units(&s, rows); /* the scratch may have moved */
    }
    s.space = (void *)((char *)f->scratch + units);
    s.partial = (char *)s.space + spaces;
    if (split) {
        pool_run(f->pool, s.n_items, piece_chunk, &s);
        pool_run(f->pool, s.n_units, merge_chunk, &s);
    } else {
        pool_run(f->pool, s.n_units, unit_chunk, &s);
    }
    return true;
}
