/* tune_backend_attn.c - attention as a step runs it: sequences whose pages lie scattered, keys and
 * values random. Larger than any cache where there are many; one sequence's are read again and
 * again, as in a step, between whose layers other bytes pass: what is timed alone is a little warm.
 *
 * Right is what the host computes, in double, for some rows and heads; all of these rows must have
 * been written. */
#include "kernels/gpu/tune_backend_attn.h"

#include <math.h>
#include <string.h>

#include "kernels/base/mem.h"
#include "kernels/base/rng.h"
#include "kernels/gpu/select.h"
#include "kernels/gpu/tune_time.h"
#include "kernels/half.h"

enum { PATTERN = 1 << 20, SAMPLES = 4, POISON = 0xcd, ALIGN = 256 };
/* Scores are spread so far that few positions make a result, of about 0.4. bf16 rounds it by 1 % on
 * the way; another cut rounds it otherwise. */
static const double SPREAD = 6, NEAR = 0.06, SAME = 0.02;

struct tune_pages {
    struct device *dev;
    const struct backend *b;
    struct queue *q;
    char *memory; /* on the device: pages, tables, q, y */
    size_t bytes;
    int page_tokens;
    uint16_t *pattern; /* bf16, which all pages repeat */
    struct tune_heads heads;
    struct tune_step step;
    struct op_attention op;
    int32_t *table; /* of the host */
    int per_seq;    /* pages */
    float *x;       /* q, of the host */
    double *want;   /* what the host computed for the samples; NaN: not yet */
    float *first;   /* rows that the first right cut gave; NaN before */
};

static size_t up(size_t n)
{
    return (n + ALIGN - 1) / ALIGN * ALIGN;
}

static int64_t page_bytes(const struct tune_pages *t, const struct tune_heads *h)
{
    return (int64_t)h->kv_heads * t->page_tokens * 2 * h->head_dim * 2;
}

/* Of a step: pages, then tables, then q and y. */
struct places {
    size_t pages, tables, rows, all;
    int per_seq, n_pages, n_rows;
};

static struct places places_of(const struct tune_pages *t, const struct tune_heads *h,
                               const struct tune_step *s)
{
    struct places l = {.per_seq = (s->context + t->page_tokens - 1) / t->page_tokens};
    l.n_rows = s->seqs * s->rows;
    l.n_pages = l.per_seq * s->seqs;
    l.pages = up((size_t)l.n_pages * (size_t)page_bytes(t, h));
    l.tables = up(sizeof(int32_t) * (size_t)(l.n_pages + 2 * l.n_rows + 2 * s->seqs + 1));
    l.rows = up((size_t)l.n_rows * (size_t)(h->heads * h->head_dim) * sizeof(float));
    l.all = l.pages + l.tables + 2 * l.rows;
    return l;
}

/* ---- operands -------------------------------------------------------------------------------- */

static enum status fill_pages(struct tune_pages *t, size_t all)
{
    size_t have = all < PATTERN ? all : PATTERN;
    TRY(t->b->copy(t->q, t->memory, t->pattern, have, COPY_TO_DEVICE));
    for (size_t at = have; at < all; at += PATTERN)
        TRY(t->b->copy(t->q, t->memory + at, t->memory, all - at < PATTERN ? all - at : PATTERN,
                       COPY_ON_DEVICE));
    return OK;
}

/* Page tables, then position, sequence and first row, as struct ragged has them. */
static enum status fill_tables(struct tune_pages *t, const struct places *l, char *to)
{
    const struct tune_step *s = &t->step;
    size_t n = (size_t)(l->n_pages + 2 * l->n_rows + 2 * s->seqs + 1);
    xfree(t->table);
    t->table = xmalloc(n * sizeof *t->table);
    int32_t *pos = t->table + l->n_pages, *seq = pos + l->n_rows, *start = seq + l->n_rows,
            *slot = start + s->seqs + 1;
    for (int i = 0; i < l->n_pages; i++) /* 7919 is prime: each page once, but if it divides them */
        t->table[i] = (int32_t)((int64_t)i * 7919 % l->n_pages);
    for (int i = 0; i < l->n_pages && l->n_pages % 7919 == 0; i++)
        t->table[i] = i;
    for (int i = 0; i < l->n_rows; i++) {
        seq[i] = i / s->rows;
        pos[i] = s->context - s->rows + i % s->rows;
    }
    for (int i = 0; i <= s->seqs; i++)
        start[i] = i * s->rows;
    for (int i = 0; i < s->seqs; i++)
        slot[i] = i;
    const int32_t *on = (const int32_t *)to;
    t->op.kv.table = on;
    t->op.kv.table_stride = l->per_seq;
    t->op.r = (struct ragged){.rows = l->n_rows,
                              .seqs = s->seqs,
                              .pos = on + (pos - t->table),
                              .row_seq = on + (seq - t->table),
                              .seq_start = on + (start - t->table),
                              .seq_slot = on + (slot - t->table),
                              .longest = s->context,
                              .singles = s->rows == 1};
    return t->b->copy(t->q, to, t->table, n * sizeof *t->table, COPY_TO_DEVICE);
}

static struct tensor rows_at(const struct tune_pages *t, char *at, int rows)
{
    const struct tune_heads *h = &t->heads;
    struct tensor x = tensor_2d(at, DT_F32, rows, (int64_t)h->heads * h->head_dim);
    return tensor_heads(x, h->heads, h->head_dim);
}

static enum status begin(void *ctx, const struct tune_heads *h, const struct tune_step *s)
{
    struct tune_pages *t = ctx;
    struct places l = places_of(t, h, s);
    size_t numbers = (size_t)l.n_rows * (size_t)(h->heads * h->head_dim);
    if (l.all > t->bytes)
        return fail(ERR_NO_MEMORY, "tune: %d sequences of %d positions do not fit", s->seqs,
                    s->context);
    t->heads = *h;
    t->step = *s;
    t->per_seq = l.per_seq;
    char *tables = t->memory + l.pages, *q = tables + l.tables, *y = q + l.rows;
    t->op = (struct op_attention){.q = rows_at(t, q, l.n_rows),
                                  .y = rows_at(t, y, l.n_rows),
                                  .scale = (float)(SPREAD / sqrt(h->head_dim))};
    t->op.kv = (struct kv_view){.base = t->memory,
                                .dtype = DT_BF16,
                                .page_tokens = t->page_tokens,
                                .n_head = h->kv_heads,
                                .head_dim = h->head_dim,
                                .page_bytes = page_bytes(t, h)};
    xfree(t->x);
    t->x = xmalloc(numbers * sizeof *t->x);
    for (size_t i = 0; i < numbers; i++)
        t->x[i] = 4 * rng_uniform(rng_philox(21, i, 0).v[0]) - 2;
    xfree(t->first);
    xfree(t->want);
    t->want = xmalloc(SAMPLES * (size_t)h->head_dim * sizeof *t->want);
    t->want[0] = NAN;
    t->first = xmalloc(SAMPLES * (size_t)(h->heads * h->head_dim) * sizeof *t->first);
    for (size_t i = 0; i < SAMPLES * (size_t)(h->heads * h->head_dim); i++)
        t->first[i] = NAN;
    TRY(fill_pages(t, (size_t)l.n_pages * (size_t)page_bytes(t, h)));
    TRY(fill_tables(t, &l, tables));
    TRY(t->b->copy(t->q, q, t->x, numbers * sizeof *t->x, COPY_TO_DEVICE));
    return tune_settle(t->dev);
}

static enum status launch(void *ctx, const void *cut)
{
    struct tune_pages *t = ctx;
    t->b->force_cut(t->dev, cut);
    enum status s = op_attention(t->q, &t->op);
    t->b->force_cut(t->dev, NULL);
    return s;
}

/* ---- right ----------------------------------------------------------------------------------- */

/* The samples' rows, from the first to the last, and heads. */
static int row_of(const struct tune_pages *t, int i)
{
    return i * (t->step.seqs * t->step.rows - 1) / (SAMPLES - 1);
}

static int head_of(const struct tune_pages *t, int i)
{
    return (int)(rng_philox(22, (uint64_t)i, 0).v[0] % (uint32_t)t->heads.heads);
}

/* Number `i` of the key (or value) of a position. */
static double number(const struct tune_pages *t, int seq, int pos, int head, bool value, int i)
{
    const struct tune_heads *h = &t->heads;
    int64_t page = t->table[seq * t->per_seq + pos / t->page_tokens];
    int64_t in = ((int64_t)head * 2 + value) * t->page_tokens + pos % t->page_tokens;
    int64_t at = page * (page_bytes(t, h) / 2) + in * h->head_dim + i;
    return (double)half_bf16(t->pattern[at % (PATTERN / 2)]);
}

/* One row and head, in double. */
static void exact(const struct tune_pages *t, int row, int head, double *y)
{
    const struct tune_heads *h = &t->heads;
    const float *q = t->x + ((size_t)row * (size_t)h->heads + (size_t)head) * (size_t)h->head_dim;
    int seq = row / t->step.rows, kv = head / (h->heads / h->kv_heads);
    int see = t->step.context - t->step.rows + row % t->step.rows + 1;
    double sum = 0;
    memset(y, 0, (size_t)h->head_dim * sizeof *y);
    for (int p = 0; p < see; p++) { /* scores are within 100 of 0 */
        double score = 0;
        for (int i = 0; i < h->head_dim; i++)
            score += (double)q[i] * number(t, seq, p, kv, false, i);
        double e = exp(score * (double)t->op.scale);
        sum += e;
        for (int i = 0; i < h->head_dim; i++)
            y[i] += e * number(t, seq, p, kv, true, i);
    }
    for (int i = 0; i < h->head_dim; i++)
        y[i] /= sum;
}

static bool row_right(const double *want, const float *got, int n)
{
    for (int i = 0; i < n; i++)
        if (!(fabs((double)got[i] - want[i]) <= NEAR))
            return false;
    return true;
}

/* Every number of a row is there, and near what another cut gave. */
static bool all_there(const float *got, const float *first, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!(fabsf(got[i]) <= 1 + (float)NEAR) || /* the poison is not, nor is NaN */
            fabs((double)got[i] - first[i]) > SAME)
            return false;
    return true;
}

static enum status check(void *ctx, const struct gpu_cut *cut, bool *right)
{
    struct tune_pages *t = ctx;
    const struct tune_heads *h = &t->heads;
    size_t width = (size_t)(h->heads * h->head_dim), row_bytes = width * sizeof(float);
    float *got = xmalloc(row_bytes), *now = xmalloc(SAMPLES * row_bytes);
    enum status s = OK;
    *right = true;
    if (isnan(t->want[0]))
        for (int i = 0; i < SAMPLES; i++)
            exact(t, row_of(t, i), head_of(t, i), t->want + i * h->head_dim);
    for (int i = 0; i < SAMPLES && s == OK && *right; i++) {
        char *at = (char *)t->op.y.data + (size_t)row_of(t, i) * row_bytes;
        memset(got, POISON, row_bytes);
        s = t->b->copy(t->q, at, got, row_bytes, COPY_TO_DEVICE);
        if (s == OK)
            s = launch(t, cut);
        if (s == OK)
            s = t->b->copy(t->q, got, at, row_bytes, COPY_TO_HOST);
        if (s == OK)
            s = tune_settle(t->dev);
        *right =
            s == OK && all_there(got, t->first + (size_t)i * width, width) &&
            row_right(t->want + i * h->head_dim, got + head_of(t, i) * h->head_dim, h->head_dim);
        memcpy(now + (size_t)i * width, got, row_bytes);
    }
    if (*right && isnan(t->first[0]))
        memcpy(t->first, now, SAMPLES * row_bytes);
    xfree(now);
    xfree(got);
    return s;
}

static enum status time_cut(void *ctx, const struct gpu_cut *cut, double *us)
{
    struct tune_pages *t = ctx;
    return tune_time(t->dev, launch, t, cut, us);
}

struct tune_attn_device tune_pages_device(struct tune_pages *t)
{
    return (struct tune_attn_device){t, begin, check, time_cut};
}

/* ---- open and close -------------------------------------------------------------------------- */

static enum status take(struct tune_pages *t, const struct tune_attn_options *o)
{
    struct device_info info;
    void *p;
    t->b->info(t->dev, &info);
    if (!t->b->force_cut || info.kv_dtype != DT_BF16)
        return fail(ERR_UNSUPPORTED, "tune: attention of %s has one cut", t->b->name);
    t->page_tokens = info.page_tokens;
    for (int i = 0; i < o->n_heads; i++)
        for (int j = 0; j < o->n_steps; j++) {
            size_t all = places_of(t, &o->heads[i], &o->steps[j]).all;
            if (all > t->bytes && all <= (size_t)info.free_bytes / 2)
                t->bytes = all;
        }
    TRY(t->b->region(t->dev, REGION_KV, t->bytes, &p));
    t->memory = p;
    return OK;
}

enum status tune_pages_open(struct device *dev, const struct tune_attn_options *o,
                            struct tune_pages **out)
{
    struct tune_pages *t = xcalloc(1, sizeof *t);
    t->dev = dev;
    t->b = dev->backend;
    t->q = t->b->queue(dev);
    t->pattern = xmalloc(PATTERN);
    for (size_t i = 0; i < PATTERN / 2; i++)
        t->pattern[i] = half_to_bf16(2 * rng_uniform(rng_philox(23, i, 0).v[0]) - 1);
    enum status s = take(t, o);
    if (s != OK) {
        tune_pages_close(t);
        return s;
    }
    *out = t;
    return OK;
}

void tune_pages_close(struct tune_pages *t)
{
    if (!t)
        return;
    xfree(t->pattern);
    xfree(t->table);
    xfree(t->x);
    xfree(t->first);
    xfree(t->want);
    xfree(t);
}
