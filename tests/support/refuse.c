/* refuse.c - every call goes on to a CPU device; only the table of ops has holes. */
#include "tests/support/refuse.h"

#include "kernels/base/mem.h"

struct refuse_device {
    struct device dev;
    struct queue queue;
    struct device *inner;
    struct queue *to;
};

static struct backend table;
static bool lacks[N_OP];

bool refuse_lacks(enum op op)
{
    return lacks[op];
}

static struct queue *to(const struct queue *q)
{
    return ((struct refuse_device *)q->dev)->to;
}

static struct device *inner(const struct device *dev)
{
    return ((const struct refuse_device *)dev)->inner;
}

#define FORWARD(name, args)                                                                        \
    static enum status forward_##name(struct queue *q, const args *a)                              \
    {                                                                                              \
        return op_##name(to(q), a);                                                                \
    }
OP_LIST(FORWARD)
#undef FORWARD

static enum status refuse_open(const struct device_options *o, struct device **out)
{
    struct refuse_device *d = xcalloc(1, sizeof *d);
    enum status s = backend_cpu.open(o, &d->inner);
    if (s != OK) {
        xfree(d);
        return s;
    }
    d->dev.backend = &table;
    d->queue.dev = &d->dev;
    d->to = backend_cpu.queue(d->inner);
    *out = &d->dev;
    return OK;
}

static void refuse_close(struct device *dev)
{
    if (dev)
        backend_cpu.close(inner(dev));
    xfree(dev);
}

static void refuse_info(const struct device *dev, struct device_info *info)
{
    backend_cpu.info(inner(dev), info);
    info->backend = "refuse";
}

static struct queue *refuse_queue(struct device *dev)
{
    return &((struct refuse_device *)dev)->queue;
}

static enum status refuse_region(struct device *dev, enum region which, size_t bytes, void **out)
{
    return backend_cpu.region(inner(dev), which, bytes, out);
}

static enum status refuse_copy(struct queue *q, void *dst, const void *src, size_t bytes,
                               enum copy_dir dir)
{
    return backend_cpu.copy(to(q), dst, src, bytes, dir);
}

static enum status refuse_record(struct queue *q, struct fence *f)
{
    return backend_cpu.record(to(q), f);
}

static bool refuse_done(struct queue *q, const struct fence *f)
{
    return backend_cpu.done(to(q), f);
}

static enum status refuse_wait(struct queue *q, const struct fence *f)
{
    return backend_cpu.wait(to(q), f);
}

static void refuse_step(struct queue *q, bool begin)
{
    if (backend_cpu.step)
        backend_cpu.step(to(q), begin);
}

static bool refuse_can(const struct device *dev, const struct op_case *c, struct choice *out)
{
    return !lacks[c->op] && dtype_info(c->w)->gguf >= 0 && backend_cpu.can(inner(dev), c, out);
}

static enum status refuse_pack(struct device *dev, const struct tensor *src, int n,
                               const struct choice *c, struct tensor *dst)
{
    return backend_cpu.pack(inner(dev), src, n, c, dst);
}

const struct backend *refuse_backend(unsigned seed)
{
#define FORWARD_ENTRY(name, args) .name = forward_##name,
    table = (struct backend){.name = "refuse",
                             .count = backend_cpu.count,
                             .open = refuse_open,
                             .close = refuse_close,
                             .info = refuse_info,
                             .queue = refuse_queue,
                             .region = refuse_region,
                             .copy = refuse_copy,
                             .record = refuse_record,
                             .done = refuse_done,
                             .wait = refuse_wait,
                             .step = refuse_step,
                             .can = refuse_can,
                             .pack = refuse_pack,
                             .ops = {OP_LIST(FORWARD_ENTRY)}};
#undef FORWARD_ENTRY
    lacks[OP_norm_linear] = seed & 1;
    lacks[OP_rope_kv] = seed >> 1 & 1;
    if (lacks[OP_norm_linear])
        table.ops.norm_linear = NULL;
    if (lacks[OP_rope_kv])
        table.ops.rope_kv = NULL;
    return &table;
}
