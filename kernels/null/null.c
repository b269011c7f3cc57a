/* null.c - the backend that plans: contracts are checked by ops.c as for any other, then counted.
 */
#include "kernels/null/null.h"

#include <stdio.h>
#include <string.h>

#include "kernels/base/mem.h"

#define NULL_BASE   ((uintptr_t)1 << 55)
#define NULL_REGION ((size_t)1 << 50)

struct null_device {
    struct device dev;
    struct queue queue;
    struct device *like; /* borrowed; NULL: none */
    struct null_stats stats;
    bool taken[N_REGION];
    uint64_t ticket;
};

static struct null_device *null_of(const struct queue *q)
{
    return (struct null_device *)q->dev;
}

/* --- what an op would move and compute */

static double bytes_of(const struct tensor *t)
{
    return t->data ? (double)tensor_bytes(t) : 0;
}

static struct null_count cost_embed(const struct op_embed *a)
{
    double row = (double)dtype_row_bytes((enum dtype)a->table.dtype, a->table.shape[1]);
    return (struct null_count){1, 0, a->r.rows * row + bytes_of(&a->y)};
}

static struct null_count cost_rmsnorm(const struct op_rmsnorm *a)
{
    return (struct null_count){1, 4.0 * (double)tensor_count(&a->x),
                               bytes_of(&a->x) + bytes_of(&a->weight) + bytes_of(&a->y)};
}

static struct null_count cost_linear(const struct op_linear *a)
{
    double m = (double)a->x.shape[0], n = (double)a->w.shape[0], k = (double)a->w.shape[1];
    return (struct null_count){1, 2 * m * n * k,
                               bytes_of(&a->x) + bytes_of(&a->w) + bytes_of(&a->bias) +
                                   bytes_of(&a->add) + bytes_of(&a->y)};
}

static struct null_count cost_norm_linear(const struct op_norm_linear *a)
{
    struct null_count c = {1, 4.0 * (double)tensor_count(&a->x),
                           bytes_of(&a->x) + bytes_of(&a->weight) + bytes_of(&a->y) +
                               bytes_of(&a->bias)};
    for (int i = 0; i < a->n_parts; i++) {
        c.flops += 2 * (double)a->x.shape[0] * (double)tensor_count(&a->w[i]);
        c.bytes += bytes_of(&a->w[i]);
    }
    return c;
}

static struct null_count cost_rope(const struct op_rope *a)
{
    double n = (double)a->r.rows * (double)a->x.shape[1] * a->n_freq;
    return (struct null_count){1, 6 * n, 16 * n};
}

static struct null_count cost_kv_write(const struct op_kv_write *a)
{
    double page = (double)a->kv.page_bytes / a->kv.page_tokens * a->r.rows;
    return (struct null_count){1, 0, bytes_of(&a->k) + bytes_of(&a->v) + page};
}

static struct null_count cost_rope_kv(const struct op_rope_kv *a)
{
    double page = (double)a->kv.page_bytes / a->kv.page_tokens * a->r.rows;
    double heads = (double)(a->q.shape[1] + a->k.shape[1]);
    return (struct null_count){1, 6.0 * a->r.rows * heads * a->n_freq,
                               2 * bytes_of(&a->q) + 2 * bytes_of(&a->k) + bytes_of(&a->v) + page};
}

static struct null_count cost_attention(const struct op_attention *a)
{
    double own = (double)a->kv.page_bytes / a->kv.page_tokens * a->r.rows;
    return (struct null_count){1, 4.0 * (double)tensor_count(&a->q),
                               bytes_of(&a->q) + bytes_of(&a->y) + own};
}

static struct null_count cost_glu(const struct op_glu *a)
{
    return (struct null_count){1, 5.0 * (double)tensor_count(&a->y),
                               bytes_of(&a->x) + bytes_of(&a->y)};
}

static struct null_count cost_glu_linear(const struct op_glu_linear *a)
{
    struct op_linear linear = {a->h, a->w, a->bias, a->add, a->y, a->live};
    struct null_count c = cost_linear(&linear);
    c.flops += 5.0 * (double)tensor_count(&a->h);
    c.bytes += bytes_of(&a->x) - bytes_of(&a->h);
    return c;
}

static struct null_count cost_add(const struct op_add *a)
{
    return (struct null_count){1, (double)tensor_count(&a->y), 3 * bytes_of(&a->y)};
}

static struct null_count cost_conv1d(const struct op_conv1d *a)
{
    double k = (double)a->w.shape[1], state = 8 * (k - 1) * (double)(a->x.shape[1] * a->r.seqs);
    return (struct null_count){1, 2 * k * (double)tensor_count(&a->x),
                               bytes_of(&a->x) + bytes_of(&a->w) + bytes_of(&a->y) + state};
}

static struct null_count cost_gather(const struct op_gather *a)
{
    return (struct null_count){1, 0, 2 * bytes_of(&a->y)};
}

static struct null_count cost_columns(const struct op_columns *a)
{
    return (struct null_count){1, 0, 2 * bytes_of(&a->y) + 4 * (double)a->y.shape[1]};
}

static struct null_count cost_sample(const struct op_sample *a)
{
    return (struct null_count){1, 2.0 * (double)tensor_count(&a->logits), bytes_of(&a->logits)};
}

static struct null_count cost_count(const struct op_count *a)
{
    return (struct null_count){1, 0, 2.0 * (double)a->n_vocab};
}

/* The device in whose place this one stands learns what it will have to do. */
static void tell(const struct null_device *d, enum op op, const void *args)
{
    if (d->like && d->like->backend->reserve)
        d->like->backend->reserve(d->like, op, args);
}

#define NULL_OP(name, args)                                                                        \
    static enum status run_##name(struct queue *q, const args *a)                                  \
    {                                                                                              \
        struct null_count *sum = &null_of(q)->stats.op[OP_##name], one = cost_##name(a);           \
        sum->calls += one.calls;                                                                   \
        sum->flops += one.flops;                                                                   \
        sum->bytes += one.bytes;                                                                   \
        tell(null_of(q), OP_##name, a);                                                            \
        return OK;                                                                                 \
    }
OP_LIST(NULL_OP)
#undef NULL_OP

/* --- device */

static int null_count_devices(void)
{
    return 1;
}

enum status null_like(struct device *like, struct device **out)
{
    struct null_device *d = xcalloc(1, sizeof *d);
    d->dev.backend = &backend_null;
    d->queue.dev = &d->dev;
    d->like = like;
    *out = &d->dev;
    return OK;
}

static enum status null_open(const struct device_options *o, struct device **out)
{
    return null_like(o->like, out);
}

static void null_close(struct device *dev)
{
    xfree(dev);
}

static void null_info(const struct device *dev, struct device_info *info)
{
    const struct null_device *d = (const struct null_device *)dev;
    if (d->like) {
        d->like->backend->info(d->like, info);
    } else {
        *info = (struct device_info){.threads = 1,
                                     .total_bytes = INT64_MAX,
                                     .free_bytes = INT64_MAX,
                                     .page_tokens = 16,
                                     .exact_rows = true,
                                     .kv_dtype = DT_BF16};
        snprintf(info->isa, sizeof info->isa, "none");
    }
    info->backend = "null";
    info->synchronous = true;
    snprintf(info->name, sizeof info->name, "null");
}

static struct queue *null_queue(struct device *dev)
{
    return &((struct null_device *)dev)->queue;
}

/* Nothing is there to be read, so nothing is mapped: a terabyte is planned where a process may map
 * little. The addresses lie above those that user space has, far apart, and fault when touched. */
static enum status null_region(struct device *dev, enum region which, size_t bytes, void **out)
{
    struct null_device *d = (struct null_device *)dev;
    if (d->taken[which])
        return fail(ERR_INTERNAL, "null region %d: taken twice", (int)which);
    if (bytes > NULL_REGION)
        return fail(ERR_NO_MEMORY, "null region: %zu bytes, at most %zu", bytes, NULL_REGION);
    d->taken[which] = true;
    d->stats.region[which] = bytes;
    *out = (void *)(NULL_BASE + (uintptr_t)which * NULL_REGION);
    return OK;
}

/* --- queue: nothing is there to be copied; host memory is left as zeros */

static enum status null_copy(struct queue *q, void *dst, const void *src, size_t bytes,
                             enum copy_dir dir)
{
    struct null_device *d = null_of(q);
    (void)src;
    d->stats.copies++;
    d->stats.copy_bytes += (double)bytes;
    if (dir == COPY_TO_HOST)
        memset(dst, 0, bytes);
    return OK;
}

static enum status null_record(struct queue *q, struct fence *f)
{
    f->ticket = ++null_of(q)->ticket;
    return OK;
}

static bool null_done(struct queue *q, const struct fence *f)
{
    return f->ticket <= null_of(q)->ticket;
}

static enum status null_wait(struct queue *q, const struct fence *f)
{
    (void)q;
    (void)f;
    return OK;
}

/* --- weights */

static bool null_can(const struct device *dev, const struct op_case *c, struct choice *out)
{
    const struct null_device *d = (const struct null_device *)dev;
    if (d->like)
        return d->like->backend->can(d->like, c, out);
    const struct dtype_info *w = dtype_info(c->w);
    bool weight = c->op == OP_linear || c->op == OP_embed;
    if (weight && (!w->decode || c->k % w->block != 0))
        return false;
    if (out)
        *out = (struct choice){.kernel = "null",
                               .layout = LAYOUT_ROWS,
                               .bytes = weight ? dtype_row_bytes(c->w, c->k) * (size_t)c->n : 0};
    return true;
}

static enum status null_pack(struct device *dev, const struct tensor *src, int n,
                             const struct choice *c, struct tensor *dst)
{
    (void)dev;
    int64_t rows = 0;
    for (int i = 0; i < n; i++)
        rows += src[i].shape[0];
    *dst = tensor_2d(dst->data, (enum dtype)src[0].dtype, rows, src[0].shape[1]);
    dst->layout = (uint8_t)c->layout;
    if (c->layout != LAYOUT_ROWS)
        memset(dst->stride, 0, sizeof dst->stride);
    return OK;
}

const struct null_stats *null_stats(const struct device *dev)
{
    return &((const struct null_device *)dev)->stats;
}

void null_reset(struct device *dev)
{
    struct null_stats *s = &((struct null_device *)dev)->stats;
    memset(s->op, 0, sizeof s->op);
    s->copies = 0;
    s->copy_bytes = 0;
}

#define NULL_ENTRY(name, args) .name = run_##name,
const struct backend backend_null = {
    .name = "null",
    .count = null_count_devices,
    .open = null_open,
    .close = null_close,
    .info = null_info,
    .queue = null_queue,
    .region = null_region,
    .copy = null_copy,
    .record = null_record,
    .done = null_done,
    .wait = null_wait,
    .can = null_can,
    .pack = null_pack,
    .ops = {OP_LIST(NULL_ENTRY)},
};
#undef NULL_ENTRY
