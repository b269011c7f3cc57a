/* rows.c - ops over single rows: norms, activations, sums, rotation, and the store of new keys and
 * values. Rows are shared out over the pool; each is one thread's, from memory to memory. */
#include <math.h>
#include <string.h>

#include "kernels/base/mem.h"
#include "kernels/cpu/fast.h"
#include "kernels/cpu/naive.h"
#include "kernels/cpu/page.h"

enum { CHUNK_FLOATS = 8192 /* a few microseconds of such work */ };

struct rows_stage {
    struct fast *f;
    const void *op;
    void (*run)(const struct rows_stage *s, int64_t row);
    int64_t rows, per;
    const struct rope_cache *turn;
};

static void rows_chunk(void *arg, int64_t chunk, int worker)
{
    const struct rows_stage *s = arg;
    int64_t end = (chunk + 1) * s->per;

    (void)worker;
    for (int64_t r = chunk * s->per; r < end && r < s->rows; r++)
        s->run(s, r);
}

/* `width`: floats of work in a row. */
static bool run_rows(struct rows_stage s, const int32_t *live, int64_t rows, int64_t width)
{
    s.rows = live && live[0] < rows ? live[0] : rows;
    s.per = CHUNK_FLOATS / (width + 1) + 1;
    pool_run(s.f->pool, (s.rows + s.per - 1) / s.per, rows_chunk, &s);
    return true;
}

static float *head(const struct tensor *t, int64_t row, int64_t h)
{
    return (float *)(void *)((char *)tensor_row(t, row) + h * t->stride[1]);
}

/* --- norms, activations, sums */

static void rmsnorm_row(const struct rows_stage *s, int64_t r)
{
    const struct op_rmsnorm *a = s->op;
    int64_t n = a->weight.shape[0], heads = a->x.ndim == 3 ? a->x.shape[1] : 1;

    if (a->x.ndim == 2)
        s->f->isa->rmsnorm(tensor_row(&a->x, r), a->weight.data, n, a->eps, tensor_row(&a->y, r));
    for (int64_t h = 0; a->x.ndim == 3 && h < heads; h++)
        s->f->isa->rmsnorm(head(&a->x, r, h), a->weight.data, n, a->eps, head(&a->y, r, h));
}

bool fast_rmsnorm(struct fast *f, const struct op_rmsnorm *a)
{
    return f->isa->rmsnorm && run_rows((struct rows_stage){.f = f, .op = a, .run = rmsnorm_row},
                                       a->live, a->x.shape[0], a->x.stride[0] / 4);
}

static void glu_row(const struct rows_stage *s, int64_t r)
{
    const struct op_glu *a = s->op;
    const float *x = tensor_row(&a->x, r);
    int64_t n = a->y.shape[1];

    s->f->isa->glu(x, x + n, n, a->act, tensor_row(&a->y, r));
}

bool fast_glu(struct fast *f, const struct op_glu *a)
{
    return f->isa->glu && a->act != ACT_GELU_ERF &&
           run_rows((struct rows_stage){.f = f, .op = a, .run = glu_row}, a->live, a->x.shape[0],
                    3 * a->y.shape[1]);
}

static void add_row(const struct rows_stage *s, int64_t r)
{
    const struct op_add *a = s->op;

    s->f->isa->add(tensor_row(&a->a, r), tensor_row(&a->b, r), a->y.shape[1], tensor_row(&a->y, r));
}

bool fast_add(struct fast *f, const struct op_add *a)
{
    return f->isa->add && a->y.ndim == 2 &&
           run_rows((struct rows_stage){.f = f, .op = a, .run = add_row}, a->live, a->y.shape[0],
                    a->y.shape[1]);
}

/* --- rotation. Sine and cosine cost more than all the rest of it, and are the same in all layers
 * of a step and for q and k: they are kept, and found again by positions and frequencies. */

struct turn_stage {
    struct rope_cache *c;
    int per;
};

static void turn_chunk(void *arg, int64_t chunk, int worker)
{
    const struct turn_stage *s = arg;
    struct rope_cache *c = s->c;
    int end = (int)(chunk + 1) * s->per;

    (void)worker;
    for (int r = (int)chunk * s->per; r < end && r < c->rows; r++) {
        float *turn = c->turn + (size_t)r * 2 * (size_t)c->n_freq;
        for (int i = 0; i < c->n_freq; i++) { /* as naive_rope */
            double angle = (double)c->pos[r] * (double)c->inv_freq[i];
            turn[i] = (float)(cos(angle) * (double)c->factor);
            turn[c->n_freq + i] = (float)(sin(angle) * (double)c->factor);
        }
    }
}

void rope_cache_free(struct rope_cache *c)
{
    xfree(c->pos);
    xfree(c->inv_freq);
    xfree(c->turn);
    *c = (struct rope_cache){.rows = 0};
}

struct turning {
    const struct ragged *r;
    const float *inv_freq;
    int n_freq, rows;
    float factor;
};

static bool holds(const struct rope_cache *c, const struct turning *t)
{
    return c->rows >= t->rows && c->n_freq == t->n_freq && c->factor == t->factor &&
           !memcmp(c->pos, t->r->pos, (size_t)t->rows * sizeof *c->pos) &&
           !memcmp(c->inv_freq, t->inv_freq, (size_t)t->n_freq * sizeof *c->inv_freq);
}

/* Room for rows x n_freq is enough for either alone. */
static void make_room(struct rope_cache *c, int room)
{
    if (c->room >= room)
        return;
    rope_cache_free(c);
    c->room = room;
    c->pos = xmalloc((size_t)room * sizeof *c->pos);
    c->inv_freq = xmalloc((size_t)room * sizeof *c->inv_freq);
    c->turn = xmalloc((size_t)room * 2 * sizeof *c->turn);
}

void fast_reserve_turns(struct fast *f, int rows, int n_freq)
{
    for (int i = 0; i < 2 && f->isa->rope; i++)
        make_room(&f->rope[i], rows * n_freq);
}

static const struct rope_cache *turns(struct fast *f, const struct turning *t)
{
    for (int i = 0; i < 2; i++)
        if (f->rope[i].rows > 0 && holds(&f->rope[i], t))
            return &f->rope[i];
    struct rope_cache *c = &f->rope[f->rope_next];
    f->rope_next = 1 - f->rope_next;
    make_room(c, t->rows * t->n_freq);
    c->rows = t->rows;
    c->n_freq = t->n_freq;
    c->factor = t->factor;
    memcpy(c->pos, t->r->pos, (size_t)t->rows * sizeof *c->pos);
    memcpy(c->inv_freq, t->inv_freq, (size_t)t->n_freq * sizeof *c->inv_freq);
    struct turn_stage s = {c, 256 / t->n_freq + 1};
    pool_run(f->pool, (t->rows + s.per - 1) / s.per, turn_chunk, &s);
    return c;
}

static struct turning turning(const struct ragged *r, const float *inv_freq, int n, float factor)
{
    int rows = r->live && r->live[0] < r->rows ? r->live[0] : r->rows;

    return (struct turning){r, inv_freq, n, rows, factor};
}

static void rope_heads(const struct rows_stage *s, const struct tensor *x, int64_t row, bool neox)
{
    int n = s->turn->n_freq;
    const float *turn = s->turn->turn + (size_t)row * 2 * (size_t)n;

    for (int64_t h = 0; h < x->shape[1]; h++)
        s->f->isa->rope(head(x, row, h), turn, turn + n, n, neox);
}

static void rope_row(const struct rows_stage *s, int64_t r)
{
    const struct op_rope *a = s->op;

    rope_heads(s, &a->x, r, a->neox);
}

bool fast_rope(struct fast *f, const struct op_rope *a)
{
    struct turning t = turning(&a->r, a->inv_freq, a->n_freq, a->factor);

    if (!f->isa->rope || t.rows == 0)
        return false;
    struct rows_stage s = {.f = f, .op = a, .run = rope_row, .turn = turns(f, &t)};
    return run_rows(s, a->r.live, a->r.rows, a->x.shape[1] * a->x.shape[2]);
}

/* --- norm of heads, rotation and store */

/* One head's key and value at position `t` of its page; what page.h defines, a line at a time. */
static void store_head(const struct cpu_isa *isa, const struct kv_view *kv, char *page, int t,
                       const float *k, const float *v)
{
    int dim = kv->head_dim;

    if (kv->dtype == DT_F8_E4M3) {
        naive_put_fp8(kv, page, t, k);
        naive_put_fp8(kv, page + page_half(kv), t, v);
        return;
    }
    if (kv->dtype == DT_F32) {
        float *to = (float *)(void *)page;
        for (int d = 0; d < dim; d++)
            to[d * PAGE_TOKENS + t] = k[d];
        memcpy(page + page_half(kv) + (size_t)(t * dim) * 4, v, (size_t)dim * 4);
        return;
    }
    uint16_t narrow[ATTN_DIM_MAX], *to = (uint16_t *)(void *)page;
    isa->act(DT_BF16, k, dim, narrow);
    for (int d = 0; d < dim; d += 2)
        memcpy(to + d / 2 * 2 * PAGE_TOKENS + 2 * t, narrow + d, 4);
    to = (uint16_t *)(void *)(page + page_half(kv)) + t / 2 * 2 * dim + t % 2;
    isa->act(DT_BF16, v, dim, narrow);
    for (int d = 0; d < dim; d++)
        to[2 * d] = narrow[d];
}

static void norm_heads(const struct rows_stage *s, const struct tensor *x,
                       const struct tensor *weight, int64_t row, float eps)
{
    for (int64_t h = 0; weight->data && h < x->shape[1]; h++)
        s->f->isa->rmsnorm(head(x, row, h), weight->data, x->shape[2], eps, head(x, row, h));
}

static void rope_kv_row(const struct rows_stage *s, int64_t r)
{
    const struct op_rope_kv *a = s->op;
    int slot = a->r.seq_slot[a->r.row_seq[r]], pos = a->r.pos[r];

    norm_heads(s, &a->q, &a->q_norm, r, a->eps);
    norm_heads(s, &a->k, &a->k_norm, r, a->eps);
    rope_heads(s, &a->q, r, a->neox);
    rope_heads(s, &a->k, r, a->neox);
    for (int h = 0; h < a->kv.n_head; h++)
        store_head(s->f->isa, &a->kv, page_head(&a->kv, slot, pos, h), pos % PAGE_TOKENS,
                   head(&a->k, r, h), head(&a->v, r, h));
}

bool fast_rope_kv(struct fast *f, const struct op_rope_kv *a)
{
    struct turning t = turning(&a->r, a->inv_freq, a->n_freq, a->factor);

    if (!f->isa->rope || !f->isa->rmsnorm || !fast_kv(f, &a->kv) || t.rows == 0)
        return false;
    struct rows_stage s = {.f = f, .op = a, .run = rope_kv_row, .turn = turns(f, &t)};
    int64_t heads = a->q.shape[1] + 4 * a->k.shape[1];
    return run_rows(s, a->r.live, a->r.rows, heads * a->q.shape[2]);
}
