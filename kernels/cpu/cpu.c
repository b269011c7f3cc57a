/* cpu.c - the CPU as a device: memory regions, a queue that runs each op inside the call, packing.
 *
 * The backend is synchronous: a recorded fence is done at once. Ops are independent over their
 * items, and every item's order of arithmetic is fixed by its shape, so how they are split over
 * threads changes no bit. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "kernels/backend.h"
#include "kernels/base/mem.h"
#include "kernels/cpu/naive.h"
#include "kernels/cpu/page.h"

struct cpu_device {
    struct device dev; /* first: a struct device * is a struct cpu_device * */
    struct queue queue;
    int threads;
    void *region[N_REGION];
    size_t region_bytes[N_REGION];
};

/* --- ops */

#define CPU_OP(name, args)                                                                         \
    static enum status run_##name(struct queue *q, const args *a)                                  \
    {                                                                                              \
        (void)q;                                                                                   \
        naive_##name(a, 0, naive_##name##_items(a));                                               \
        return OK;                                                                                 \
    }
CPU_OP(embed, struct op_embed)
CPU_OP(rmsnorm, struct op_rmsnorm)
CPU_OP(linear, struct op_linear)
CPU_OP(rope, struct op_rope)
CPU_OP(kv_write, struct op_kv_write)
CPU_OP(attention, struct op_attention)
CPU_OP(glu, struct op_glu)
CPU_OP(add, struct op_add)
CPU_OP(conv1d, struct op_conv1d)
CPU_OP(gather, struct op_gather)
CPU_OP(sample, struct op_sample)
CPU_OP(count, struct op_count)
#undef CPU_OP

/* --- device */

static int cpu_count(void)
{
    return 1;
}

static enum status cpu_open(const struct device_options *o, struct device **out)
{
    if (o->index != 0)
        return fail(ERR_NOT_FOUND, "cpu device %d: there is one, device 0", o->index);
    if (o->isa && strcmp(o->isa, "scalar") != 0)
        return fail(ERR_UNSUPPORTED, "instruction set %s: this build has scalar", o->isa);
    struct cpu_device *d = xcalloc(1, sizeof *d);
    d->dev.backend = &backend_cpu;
    d->queue.dev = &d->dev;
    d->threads = 1;
    *out = &d->dev;
    return OK;
}

static void cpu_close(struct device *dev)
{
    struct cpu_device *d = (struct cpu_device *)dev;
    if (!d)
        return;
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
                                 .threads = d->threads,
                                 .total_bytes = page * sysconf(_SC_PHYS_PAGES),
                                 .free_bytes = page * sysconf(_SC_AVPHYS_PAGES),
                                 .page_tokens = PAGE_TOKENS,
                                 .synchronous = true,
                                 .exact_rows = true,
                                 .kv_dtype = DT_BF16};
    snprintf(info->name, sizeof info->name, "cpu");
    snprintf(info->isa, sizeof info->isa, "scalar");
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
    (void)dev;
    const struct dtype_info *w = dtype_info(c->w);
    bool weight = c->op == OP_linear || c->op == OP_embed;
    if (weight && (!w->decode || c->k % w->block != 0))
        return false;
    if (out)
        *out = (struct choice){"naive", LAYOUT_ROWS,
                               weight ? dtype_row_bytes(c->w, c->k) * (size_t)c->n : 0};
    return true;
}

static enum status cpu_pack(struct device *dev, const struct tensor *src, int n,
                            const struct choice *c, struct tensor *dst)
{
    (void)dev;
    enum dtype t = (enum dtype)src[0].dtype;
    int64_t rows = 0, k = src[0].shape[1];
    char *at = dst->data;
    for (int i = 0; i < n; i++)
        rows += src[i].shape[0];
    if (dtype_row_bytes(t, k) * (size_t)rows > c->bytes)
        return fail(ERR_INTERNAL, "pack: %lld rows do not fit in %zu bytes", (long long)rows,
                    c->bytes);
    *dst = tensor_2d(dst->data, t, rows, k);
    for (int i = 0; i < n; i++)
        for (int64_t r = 0; r < src[i].shape[0]; r++, at += dst->stride[0])
            memcpy(at, tensor_row(&src[i], r), (size_t)dst->stride[0]);
    return OK;
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
    .can = cpu_can,
    .pack = cpu_pack,
    .ops = {.embed = run_embed,
            .rmsnorm = run_rmsnorm,
            .linear = run_linear,
            .rope = run_rope,
            .kv_write = run_kv_write,
            .attention = run_attention,
            .glu = run_glu,
            .add = run_add,
            .conv1d = run_conv1d,
            .gather = run_gather,
            .sample = run_sample,
            .count = run_count},
};
