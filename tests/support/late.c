/* late.c - a list of recorded ops and copies, and how much of it has run. Generated from OP_LIST,
 * so a new op is late too. */
#include "tests/support/late.h"

#include <string.h>

#include "kernels/base/mem.h"
#include "kernels/base/rng.h"

enum { COPY = N_OP };

struct entry {
    int op; /* enum op, or COPY */
    union {
#define ENTRY_ARGS(name, args) args name;
        OP_LIST(ENTRY_ARGS)
#undef ENTRY_ARGS
        struct {
            void *dst;
            const void *src;
            size_t bytes;
            enum copy_dir dir;
        } copy;
    } u;
    int32_t *token; /* of count: the caller's array is read at once */
};

struct late_device {
    struct device dev;
    struct queue queue;
    struct device *inner;
    struct queue *to;
    struct entry *entry; /* [n], the first `run` of them have run */
    uint64_t n, cap, run;
    uint64_t seed, draws;
    int unready;
    enum status fault;
};

static uint64_t next_seed = 1;

void late_seed(uint64_t seed)
{
    next_seed = seed;
}

static struct late_device *late_of(const struct queue *q)
{
    return (struct late_device *)q->dev;
}

int late_pending(const struct device *d)
{
    const struct late_device *l = (const struct late_device *)d;
    return (int)(l->n - l->run);
}

int late_unready(const struct device *d)
{
    return ((const struct late_device *)d)->unready;
}

/* --- recording */

static struct entry *push(struct late_device *d, int op)
{
    if (d->n == d->cap) {
        d->cap = d->cap ? 2 * d->cap : 64;
        d->entry = xrealloc(d->entry, d->cap * sizeof *d->entry);
    }
    struct entry *e = &d->entry[d->n++];
    memset(e, 0, sizeof *e);
    e->op = op;
    return e;
}

/* The one host array that an op reads at once has to be kept. */
static void keep_tokens(struct entry *e)
{
    if (e->op != OP_count || e->u.count.n == 0)
        return;
    size_t bytes = (size_t)e->u.count.n * sizeof *e->token;
    e->token = xmalloc(bytes);
    memcpy(e->token, e->u.count.token, bytes);
    e->u.count.token = e->token;
}

#define LATE_OP(name, args)                                                                        \
    static enum status late_##name(struct queue *q, const args *a)                                 \
    {                                                                                              \
        struct entry *e = push(late_of(q), OP_##name);                                             \
        e->u.name = *a;                                                                            \
        keep_tokens(e);                                                                            \
        return OK;                                                                                 \
    }
OP_LIST(LATE_OP)
#undef LATE_OP

static enum status late_copy(struct queue *q, void *dst, const void *src, size_t bytes,
                             enum copy_dir dir)
{
    struct entry *e = push(late_of(q), COPY);
    e->u.copy.dst = dst;
    e->u.copy.src = src;
    e->u.copy.bytes = bytes;
    e->u.copy.dir = dir;
    return OK;
}

/* --- running */

static enum status run_entry(struct late_device *d, struct entry *e)
{
    switch (e->op) {
#define RUN_OP(name, args)                                                                         \
    case OP_##name:                                                                                \
        return op_##name(d->to, &e->u.name);
        OP_LIST(RUN_OP)
#undef RUN_OP
    default:
        return d->inner->backend->copy(d->to, e->u.copy.dst, e->u.copy.src, e->u.copy.bytes,
                                       e->u.copy.dir);
    }
}

static void run_to(struct late_device *d, uint64_t ticket)
{
    for (; d->run < ticket && d->run < d->n; d->run++) {
        struct entry *e = &d->entry[d->run];
        enum status s = run_entry(d, e);
        d->fault = d->fault == OK ? s : d->fault;
        xfree(e->token);
        e->token = NULL;
    }
}

static enum status late_record(struct queue *q, struct fence *f)
{
    f->ticket = late_of(q)->n;
    return OK;
}

/* Half of the polls do nothing, the others run up to 16 entries. */
static bool late_done(struct queue *q, const struct fence *f)
{
    struct late_device *d = late_of(q);
    uint32_t r = rng_philox(d->seed, d->draws++, 0).v[0];
    if (d->run < f->ticket && r & 1)
        run_to(d, d->run + (r >> 8) % 17);
    d->unready += d->run < f->ticket;
    return d->run >= f->ticket;
}

static enum status late_wait(struct queue *q, const struct fence *f)
{
    run_to(late_of(q), f->ticket);
    return late_of(q)->fault;
}

/* --- device: the CPU's, but not synchronous */

static int late_count_devices(void)
{
    return 1;
}

static enum status late_open(const struct device_options *o, struct device **out)
{
    struct late_device *d = xcalloc(1, sizeof *d);
    enum status s = backend_cpu.open(o, &d->inner);
    if (s != OK) {
        xfree(d);
        return s;
    }
    d->dev.backend = &backend_late;
    d->queue.dev = &d->dev;
    d->to = backend_cpu.queue(d->inner);
    d->seed = next_seed;
    *out = &d->dev;
    return OK;
}

static void late_close(struct device *dev)
{
    struct late_device *d = (struct late_device *)dev;
    if (!d)
        return;
    for (uint64_t i = d->run; i < d->n; i++)
        xfree(d->entry[i].token);
    backend_cpu.close(d->inner);
    xfree(d->entry);
    xfree(d);
}

static struct device *inner(const struct device *dev)
{
    return ((const struct late_device *)dev)->inner;
}

static void late_info(const struct device *dev, struct device_info *info)
{
    backend_cpu.info(inner(dev), info);
    info->backend = "late";
    info->synchronous = false;
    info->fault = ((const struct late_device *)dev)->fault;
}

static struct queue *late_queue(struct device *dev)
{
    return &((struct late_device *)dev)->queue;
}

static enum status late_region(struct device *dev, enum region which, size_t bytes, void **out)
{
    return backend_cpu.region(inner(dev), which, bytes, out);
}

static bool late_can(const struct device *dev, const struct op_case *c, struct choice *out)
{
    return backend_cpu.can(inner(dev), c, out);
}

static enum status late_pack(struct device *dev, const struct tensor *src, int n,
                             const struct choice *c, struct tensor *dst)
{
    return backend_cpu.pack(inner(dev), src, n, c, dst);
}

#define LATE_ENTRY(name, args) .name = late_##name,
const struct backend backend_late = {
    .name = "late",
    .count = late_count_devices,
    .open = late_open,
    .close = late_close,
    .info = late_info,
    .queue = late_queue,
    .region = late_region,
    .copy = late_copy,
    .record = late_record,
    .done = late_done,
    .wait = late_wait,
    .can = late_can,
    .pack = late_pack,
    .ops = {OP_LIST(LATE_ENTRY)},
};
#undef LATE_ENTRY
