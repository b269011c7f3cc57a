/* cpu.c - the CPU as a device: memory regions, a queue that runs each op inside the call, packing.
 *
 * The backend is synchronous: a recorded fence is done at once. An op is taken by fast.c where it
 * has code for this ISA and shape, else its naive definition runs, shared out over the same threads
 * by items: ops are independent over their items, and every item's order of arithmetic is fixed by
 * its shape, so how they are split over threads changes no bit. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "kernels/backend.h"
#include "kernels/base/mem.h"
#include "kernels/cpu/fast.h"
#include "kernels/cpu/naive.h"
#include "kernels/cpu/page.h"

struct cpu_device {
    struct device dev; /* first: a struct device * is a struct cpu_device * */
    struct queue queue;
    struct fast fast;
    enum x_type round_x; /* of products whose weights go with it */
    float *rounded;      /* their rows of x, as large as any was */
    size_t rounded_bytes;
    void *region[N_REGION];
    size_t region_bytes[N_REGION];
};

/* --- ops */

struct naive_stage {
    const void *op;
    void (*run)(const void *op, int64_t first, int64_t last);
    int64_t items, per;
};

static void naive_chunk(void *arg, int64_t chunk, int worker)
{
    const struct naive_stage *s = arg;
    int64_t end = (chunk + 1) * s->per;

    (void)worker;
    s->run(s->op, chunk * s->per, end < s->items ? end : s->items);
}

static void naive_run(struct fast *f, struct naive_stage s)
{
    enum { CHUNKS_A_THREAD = 4 };

    s.per = s.items / (pool_threads(f->pool) * CHUNKS_A_THREAD) + 1;
    pool_run(f->pool, (s.items + s.per - 1) / s.per, naive_chunk, &s);
}

static struct fast *fast_of(struct queue *q)
{
    return &((struct cpu_device *)q->dev)->fast;
}

struct rounding { /* of the rows of x of a product */
    const struct op_linear *op;
    enum x_type type;
    float *to;
};

static void items_linear(const void *a, int64_t first, int64_t last)
{
    naive_linear(a, first, last);
}

#define CPU_OP(name, args, taken)                                                                  \
    static void items_##name(const void *a, int64_t first, int64_t last)                           \
    {                                                                                              \
        naive_##name(a, first, last);                                                              \
    }                                                                                              \
    static enum status run_##name(struct queue *q, const args *a)                                  \
    {                                                                                              \
        struct fast *f = fast_of(q);                                                               \
        if (!(taken))                                                                              \
            naive_run(f, (struct naive_stage){a, items_##name, naive_##name##_items(a), 0});       \
        return OK;                                                                                 \
    }
CPU_OP(embed, struct op_embed, fast_embed(f, a))
CPU_OP(rmsnorm, struct op_rmsnorm, fast_rmsnorm(f, a))
CPU_OP(rope, struct op_rope, fast_rope(f, a))
CPU_OP(kv_write, struct op_kv_write, false)
CPU_OP(attention, struct op_attention, fast_attention(f, a))
CPU_OP(glu, struct op_glu, fast_glu(f, a))
CPU_OP(add, struct op_add, fast_add(f, a))
CPU_OP(conv1d, struct op_conv1d, false)
CPU_OP(gather, struct op_gather, false)
CPU_OP(columns, struct op_columns, false)
CPU_OP(sample, struct op_sample, fast_sample(f, a))
CPU_OP(count, struct op_count, false)
#undef CPU_OP

static void round_rows(const void *op, int64_t first, int64_t last)
{
    const struct rounding *r = op;
    const struct op_linear *a = r->op;
    int64_t k = a->x.shape[1];

    for (int64_t i = first; i < last; i++)
        x_type_round(r->type, (enum dtype)a->w.dtype, a->w.q ? a->w.q->x_scale : 0,
                     tensor_row(&a->x, i), k, r->to + i * k);
}

static void reserve_rounded(struct cpu_device *d, const struct op_linear *a)
{
    size_t bytes = (size_t)(a->x.shape[0] * a->x.shape[1]) * sizeof *d->rounded;

    if (!x_type_goes_with(d->round_x, (enum dtype)a->w.dtype) || bytes <= d->rounded_bytes)
        return;
    xfree(d->rounded);
    d->rounded = xmalloc(bytes);
    d->rounded_bytes = bytes;
}

static enum status run_linear(struct queue *q, const struct op_linear *a)
{
    struct cpu_device *d = (struct cpu_device *)q->dev;
    struct op_linear own = *a;

    if (x_type_goes_with(d->round_x, (enum dtype)a->w.dtype)) {
        reserve_rounded(d, a);
        struct rounding r = {a, d->round_x, d->rounded};
        naive_run(&d->fast, (struct naive_stage){&r, round_rows, a->x.shape[0], 0});
        own.x = tensor_2d(d->rounded, DT_F32, a->x.shape[0], a->x.shape[1]);
    }
    if (!fast_linear(&d->fast, &own))
        naive_run(&d->fast, (struct naive_stage){&own, items_linear, naive_linear_items(&own), 0});
    return OK;
}

static enum status run_rope_kv(struct queue *q, const struct op_rope_kv *a)
{
    return fast_rope_kv(fast_of(q), a) ? OK : op_compose(q, OP_rope_kv, a);
}

/* --- device */

static int cpu_count(void)
{
    return 1;
}

static enum status cpu_open(const struct device_options *o, struct device **out)
{
    if (o->index != 0)
        return fail(ERR_NOT_FOUND, "cpu device %d: there is one, device 0", o->index);
    struct fast f;
    TRY(fast_open(&f, o->threads, o->isa));
    struct cpu_device *d = xcalloc(1, sizeof *d);
    d->dev.backend = &backend_cpu;
    d->queue.dev = &d->dev;
    d->fast = f;
    d->round_x = o->round_x == X_DECLARED ? X_EXACT : o->round_x;
    *out = &d->dev;
    return OK;
}

static void cpu_close(struct device *dev)
{
    struct cpu_device *d = (struct cpu_device *)dev;
    if (!d)
        return;
    fast_close(&d->fast);
    xfree(d->rounded);
    for (int i = 0; i < N_REGION; i++)
        if (d->region[i])
            big_free(d->region[i], d->region_bytes[i]);
    xfree(d);
}

static void cpu_info(const struct device *dev, struct device_info *info)
{
    const struct cpu_device *d = (const struct cpu_device *)dev;
    int64_t page = sysconf(_SC_PAGESIZE);
    *info = (struct device_info){.backend = "cpu",
                                 .threads = pool_threads(d->fast.pool),
                                 .total_bytes = page * sysconf(_SC_PHYS_PAGES),
                                 .free_bytes = page * sysconf(_SC_AVPHYS_PAGES),
                                 .page_tokens = PAGE_TOKENS,
                                 .synchronous = true,
                                 .exact_rows = true,
                                 .kv_dtype = DT_BF16};
    isa_cpu_name(info->name, sizeof info->name);
    snprintf(info->isa, sizeof info->isa, "%s", d->fast.isa->name);
}

static struct queue *cpu_queue(struct device *dev)
{
    return &((struct cpu_device *)dev)->queue;
}

static enum status cpu_region(struct device *dev, enum region which, size_t bytes, void **out)
{
    struct cpu_device *d = (struct cpu_device *)dev;
    if (d->region[which])
        return fail(ERR_INTERNAL, "cpu region %d: taken twice", (int)which);
    TRY(big_alloc(bytes, &d->region[which]));
    d->region_bytes[which] = bytes;
    *out = d->region[which];
    return OK;
}

/* --- queue */

static enum status cpu_copy(struct queue *q, void *dst, const void *src, size_t bytes,
                            enum copy_dir dir)
{
    (void)q;
    (void)dir;
    memmove(dst, src, bytes);
    return OK;
}

static enum status cpu_record(struct queue *q, struct fence *f)
{
    (void)q;
    f->ticket = 0;
    return OK;
}

static bool cpu_done(struct queue *q, const struct fence *f)
{
    (void)q;
    (void)f;
    return true;
}

static enum status cpu_wait(struct queue *q, const struct fence *f)
{
    (void)q;
    (void)f;
    return OK;
}

/* --- weights */

static bool cpu_can(const struct device *dev, const struct op_case *c, struct choice *out)
{
    const struct fast *f = &((const struct cpu_device *)dev)->fast;
    const struct dtype_info *w = dtype_info(c->w);
    bool weight = c->op == OP_linear || c->op == OP_embed;
    struct choice found = {.kernel = "naive", .layout = LAYOUT_ROWS};

    if (weight && (!w->decode || c->k % w->block != 0))
        return false;
    if (weight)
        found.bytes = dtype_row_bytes(c->w, c->k) * (size_t)c->n;
    if (c->op == OP_linear && fast_packs(f, c->w, c->n, c->k, &found.bytes)) {
        found.kernel = f->isa->name;
        found.layout = LAYOUT_PANEL;
    }
    if (out)
        *out = found;
    return true;
}

/* Whether the item can be packed as its choice says. */
static enum status check_item(const struct fast *f, const struct pack_item *item)
{
    enum dtype t = (enum dtype)item->src[0].dtype;
    int64_t rows = 0, k = item->src[0].shape[1];
    size_t need;

    for (int i = 0; i < item->n; i++)
        rows += item->src[i].shape[0];
    need = dtype_row_bytes(t, k) * (size_t)rows;
    if (item->how->layout == LAYOUT_PANEL && !fast_packs(f, t, rows, k, &need))
        return fail(ERR_INTERNAL, "pack: %s has no panels here", dtype_info(t)->name);
    if (need > item->how->bytes)
        return fail(ERR_INTERNAL, "pack: %lld rows need %zu bytes, the choice has %zu",
                    (long long)rows, need, item->how->bytes);
    return OK;
}

static void copy_rows(const struct pack_item *item)
{
    struct tensor *dst = item->dst;
    int64_t rows = 0;
    char *at = dst->data;

    for (int i = 0; i < item->n; i++)
        rows += item->src[i].shape[0];
    *dst = tensor_2d(dst->data, (enum dtype)item->src[0].dtype, rows, item->src[0].shape[1]);
    for (int i = 0; i < item->n; i++)
        for (int64_t r = 0; r < item->src[i].shape[0]; r++, at += dst->stride[0])
            memcpy(at, tensor_row(&item->src[i], r), (size_t)dst->stride[0]);
}

static enum status cpu_pack_all(struct device *dev, const struct pack_item *item, int n)
{
    struct fast *f = &((struct cpu_device *)dev)->fast;
    struct pack_item *panels = xmalloc((size_t)n * sizeof *panels);
    enum status s = OK;
    int n_panels = 0;

    for (int i = 0; i < n && s == OK; i++) {
        s = check_item(f, &item[i]);
        if (s == OK && item[i].how->layout == LAYOUT_PANEL)
            panels[n_panels++] = item[i];
        else if (s == OK)
            copy_rows(&item[i]);
    }
    if (s == OK)
        fast_pack(f, panels, n_panels);
    xfree(panels);
    return s;
}

static enum status cpu_pack(struct device *dev, const struct tensor *src, int n,
                            const struct choice *c, struct tensor *dst)
{
    return cpu_pack_all(dev, &(struct pack_item){src, n, c, dst}, 1);
}

static void reserve_linear(struct cpu_device *d, const struct op_linear *a)
{
    fast_reserve_linear(&d->fast, a);
    reserve_rounded(d, a);
}

static void cpu_reserve(struct device *dev, enum op op, const void *args)
{
    struct cpu_device *d = (struct cpu_device *)dev;
    struct fast *f = &d->fast;

    if (op == OP_linear) {
        reserve_linear(d, args);
    } else if (op == OP_glu_linear) { /* is composed */
        const struct op_glu_linear *a = args;
        reserve_linear(d, &(struct op_linear){a->h, a->w, a->bias, a->add, a->y, a->live});
    }
    if (op == OP_norm_linear) {
        const struct op_norm_linear *a = args;
        for (int i = 0; i < a->n_parts; i++) {
            struct op_linear part = op_norm_linear_part(a, i);
            reserve_linear(d, &part);
        }
    }
    if (op == OP_attention)
        fast_reserve_attention(f, args);
    else if (op == OP_sample)
        fast_reserve_sample(f);
    else if (op == OP_rope)
        fast_reserve_turns(f, ((const struct op_rope *)args)->r.rows,
                           ((const struct op_rope *)args)->n_freq);
    else if (op == OP_rope_kv)
        fast_reserve_turns(f, ((const struct op_rope_kv *)args)->r.rows,
                           ((const struct op_rope_kv *)args)->n_freq);
}

static void cpu_step(struct queue *q, bool begin)
{
    (begin ? pool_begin : pool_end)(fast_of(q)->pool);
}

const struct backend backend_cpu = {
    .name = "cpu",
    .count = cpu_count,
    .open = cpu_open,
    .close = cpu_close,
    .info = cpu_info,
    .queue = cpu_queue,
    .region = cpu_region,
    .copy = cpu_copy,
    .record = cpu_record,
    .done = cpu_done,
    .wait = cpu_wait,
    .step = cpu_step,
    .can = cpu_can,
    .pack = cpu_pack,
    .pack_all = cpu_pack_all,
    .reserve = cpu_reserve,
    .ops = {.embed = run_embed,
            .rmsnorm = run_rmsnorm,
            .linear = run_linear,
            .rope = run_rope,
            .kv_write = run_kv_write,
            .rope_kv = run_rope_kv,
            .attention = run_attention,
            .glu = run_glu,
            .add = run_add,
            .conv1d = run_conv1d,
            .gather = run_gather,
            .columns = run_columns,
            .sample = run_sample,
            .count = run_count},
};
