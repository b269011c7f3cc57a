/* repack.c - the loading loop: weights in batches, source pages dropped as they are done.
 *
 * The host holds at most one weight in a second copy, and that only for formats whose bytes are
 * made here. Vectors are small and many: they lie together behind the matrices, on each device
 * that has part of the network, and go over in one copy, first, because what they are read from
 * is dropped with the matrices around them. The invariant: place, plan and load agree on every
 * offset, since only place computes them. */
#include "engine/load/repack.h"

#include <string.h>

enum {
    ALIGN = 256,     /* of each weight in the region */
    FEW_ROWS = 1024, /* that stand for all where they mean nothing */
    MANY = 2048,     /* rows of a prompt */
};
/* Of sources packed at once, for each thread: enough that they end nearly together, and little
 * enough that what is dropped after it hardly counts. */
static const size_t BATCH_BYTES = (size_t)32 << 20;

static size_t align_up(size_t n)
{
    return (n + ALIGN - 1) / ALIGN * ALIGN;
}

static bool is_vector(const struct bound *b)
{
    return b->kind == WEIGHT_VECTOR || b->kind == WEIGHT_BIAS;
}

/* A device without kernels for blocks of floats gets such weights as f16: their bytes are made
 * anyway. */
static void settle_format(struct bound *b, struct device *dev)
{
    bool table = b->kind == WEIGHT_TABLE;
    struct op_case multiply = {OP_linear, DT_F32, b->dtype, 0, b->n, b->k};
    struct op_case look = {OP_embed, DT_F32, b->dtype, 0, b->n, b->k};
    bool floats = b->dtype == DT_F8_E4M3 || b->dtype == DT_NF4;

    if (floats && ((table && !dev->backend->can(dev, &look, &b->choice)) ||
                   ((!table || b->also) && !dev->backend->can(dev, &multiply, &b->choice))))
        b->dtype = DT_F16;
}

static enum status choose(struct bound *b, struct device *dev)
{
    settle_format(b, dev);
    struct op_case look = {OP_embed, DT_F32, b->dtype, 0, b->n, b->k};
    struct op_case multiply = {OP_linear, DT_F32, b->dtype, 0, b->n, b->k};
    bool table = b->kind == WEIGHT_TABLE;

    if (table && !dev->backend->can(dev, &look, &b->choice))
        return fail(ERR_UNSUPPORTED, "tensor %s: %s has no kernel that looks up rows of %s",
                    b->src[0]->name, dev->backend->name, dtype_info(b->dtype)->name);
    if ((!table || b->also) && !dev->backend->can(dev, &multiply, &b->choice))
        return fail(ERR_UNSUPPORTED, "tensor %s: %s has no kernel for %s [%lld, %lld]",
                    b->src[0]->name, dev->backend->name, dtype_info(b->dtype)->name,
                    (long long)b->n, (long long)b->k);
    if (dev->backend->many && (!table || b->also)) {
        struct choice any;
        multiply.m = MANY;
        dev->backend->many(dev, &multiply, &b->quant, &any);
    }
    b->bytes = b->choice.bytes;
    return OK;
}

static enum side side_of(const struct placement *p, const struct bound *b)
{
    return b->layer < p->cut ? SIDE_LOWER : SIDE_UPPER;
}

enum status repack_place(struct placement *p, const struct sides *on, size_t total[N_SIDE])
{
    size_t at[N_SIDE] = {0}, vectors = 0;

    for (int i = 0; i < p->n; i++) {
        struct bound *b = &p->bound[i];
        enum side side = side_of(p, b);

        if (is_vector(b)) {
            b->bytes = (size_t)b->n * sizeof(float);
            b->offset = vectors;
            vectors = align_up(vectors + b->bytes);
            continue;
        }
        TRY(choose(b, on->dev[side]));
        b->offset = at[side];
        at[side] = align_up(at[side] + b->bytes);
    }
    p->vector_bytes = vectors;
    for (int i = 0; i < N_SIDE; i++) {
        p->vectors[i] = at[i];
        total[i] = on->dev[i] ? at[i] + vectors : 0;
    }
    return OK;
}

/* The view of a weight that is, or would be, at `data`. */
static struct tensor view_of(const struct bound *b, void *data)
{
    struct tensor t;

    if (is_vector(b))
        return tensor_1d(data, b->dtype, b->n);
    t = tensor_2d(data, b->dtype, b->n, b->k);
    t.layout = (uint8_t)b->choice.layout;
    if (t.layout != LAYOUT_ROWS)
        memset(t.stride, 0, sizeof t.stride);
    return t;
}

/* Where b lies on its own side. */
static void *address(const struct placement *p, const struct sides *on, const struct bound *b)
{
    enum side side = side_of(p, b);

    return on->weights[side] + (is_vector(b) ? p->vectors[side] : 0) + b->offset;
}

/* `t` is what the network sees of b. */
static void set_view(const struct placement *p, const struct sides *on, struct bound *b,
                     struct tensor t)
{
    t.dev = (int8_t)on->dev[side_of(p, b)]->index;
    if (b->order)
        b->quant.order = address(p, on, &p->bound[b->order]);
    bool says =
        b->quant.global != 0 || b->quant.order || b->quant.row_scale || b->quant.x != X_EXACT;
    t.q = says ? &b->quant : NULL;
    if (b->dst)
        *b->dst = t;
    if (b->also)
        *b->also = t;
}

void repack_plan(const struct placement *p, const struct sides *on)
{
    for (int i = 0; i < p->n; i++)
        set_view(p, on, &p->bound[i], view_of(&p->bound[i], address(p, on, &p->bound[i])));
}

/* A source tensor in the format that the weight has on the device: `t` itself, or in `own` what is
 * made in another one. */
static const struct ckpt_tensor *as_bound(const struct bound *b, const struct ckpt_tensor *t,
                                          struct ckpt_tensor *own)
{
    if (!t->made || is_vector(b) || t->dtype == (int)b->dtype)
        return t;
    *own = *t;
    own->dtype = (int)b->dtype;
    own->bytes = dtype_row_bytes(b->dtype, b->k) * (size_t)t->shape[0];
    return own;
}

/* The bytes of a source tensor: in the file, or made into `scratch`. */
static enum status source(const struct checkpoint *c, const struct ckpt_tensor *t, void *scratch,
                          struct tensor *out)
{
    *out = checkpoint_view(c, t);
    if (!t->made)
        return OK;
    out->data = scratch;
    enum status s = c->format->fill(c, t, scratch);
    return s == OK ? OK : fail_in(s, "%s: tensor %s", c->path, t->name);
}

static size_t source_bytes(const struct bound *b)
{
    size_t n = 0;

    for (int i = 0; i < b->n_src; i++)
        n += b->src[i]->bytes;
    return n;
}

static size_t made_bytes(const struct bound *b)
{
    struct ckpt_tensor own;
    size_t n = 0;

    for (int i = 0; i < b->n_src; i++)
        n += b->src[i]->made ? as_bound(b, b->src[i], &own)->bytes : 0;
    return n;
}

struct loading {
    const struct checkpoint *c;
    const struct placement *p;
    const struct sides *on;
    enum side side; /* whose weights are packed now */
    struct device *dev;
    char *scratch;
    size_t scratch_bytes, batch_bytes;
    bool repeat; /* random weights for a device that copies faster than a processor makes them */
};

/* Not packed now: vectors, which are loaded before, and what the other side has. */
static bool skips(const struct loading *l, const struct bound *b)
{
    return is_vector(b) || side_of(l->p, b) != l->side;
}

static enum status pack_items(const struct loading *l, const struct pack_item *item, int n)
{
    const struct backend *b = l->dev->backend;

    if (b->pack_all)
        return b->pack_all(l->dev, item, n);
    for (int i = 0; i < n; i++)
        TRY(b->pack(l->dev, item[i].src, item[i].n, item[i].how, item[i].dst));
    return OK;
}

/* Whether the first rows, packed alone as `few` says, are the beginning of the packed weight. */
static bool repeats(const struct loading *l, const struct bound *b, struct bound *few)
{
    *few = *b;
    few->n = FEW_ROWS;
    return l->repeat && !skips(l, b) && b->src[0]->made && b->src[0]->shape[0] > FEW_ROWS &&
           choose(few, l->dev) == OK && few->choice.layout == b->choice.layout &&
           few->bytes < b->bytes;
}

/* One past the last weight of the batch that begins with `first`: what its sources take. */
static int batch_end(const struct loading *l, int first, size_t *bytes)
{
    size_t made = 0;
    int i = first;

    *bytes = 0;
    for (; i < l->p->n && (i == first || *bytes < l->batch_bytes); i++) {
        const struct bound *b = &l->p->bound[i];
        struct bound few;

        if (skips(l, b))
            continue;
        if (made + made_bytes(b) > l->scratch_bytes || (i > first && repeats(l, b, &few)))
            break;
        made += made_bytes(b);
        *bytes += source_bytes(b);
    }
    return i;
}

/* What is read of the file for weight b is not needed any more. */
static void drop_sources(const struct checkpoint *c, const struct bound *b)
{
    for (int i = 0; i < b->n_src; i++) {
        if (!b->src[i]->made)
            file_map_drop(&c->file[b->src[i]->file], b->src[i]->offset, b->src[i]->bytes);
    }
}

/* Lists the matrices among the weights [first, last) in `item`; `src` and `dst` have room. */
static enum status list_items(const struct loading *l, int first, int last, struct tensor *src,
                              struct pack_item *item, int *n)
{
    char *scratch = l->scratch;
    struct tensor *dst = src + (last - first) * WEIGHT_PARTS;

    *n = 0;
    for (int i = first; i < last; i++) {
        const struct bound *b = &l->p->bound[i];

        if (skips(l, b))
            continue;
        dst[*n] = view_of(b, address(l->p, l->on, b));
        item[*n] = (struct pack_item){src, b->n_src, &b->choice, &dst[*n]};
        for (int j = 0; j < b->n_src; j++, src++) {
            struct ckpt_tensor own;
            const struct ckpt_tensor *t = as_bound(b, b->src[j], &own);

            TRY(source(l->c, t, scratch, src));
            scratch += t->made ? t->bytes : 0;
        }
        ++*n;
    }
    return OK;
}

/* Packs a few rows and copies them over the whole weight, on the device. */
static enum status pack_repeated(const struct loading *l, struct bound *b, struct bound *few)
{
    const struct backend *device = l->dev->backend;
    struct ckpt_tensor t = *b->src[0];
    char *at = address(l->p, l->on, b);
    struct tensor src, dst = view_of(few, at);
    size_t have = few->bytes;

    t.shape[0] = few->n;
    t.bytes = dtype_row_bytes(b->dtype, b->k) * (size_t)few->n;
    TRY(source(l->c, &t, l->scratch, &src));
    TRY(device->pack(l->dev, &src, 1, &few->choice, &dst));
    for (size_t n; have < b->bytes; have += n) { /* doubles what is there */
        n = have < b->bytes - have ? have : b->bytes - have;
        TRY(device->copy(device->queue(l->dev), at + have, at, n, COPY_ON_DEVICE));
    }
    set_view(l->p, l->on, b, view_of(b, at));
    return OK;
}

/* Packs the matrices among the weights [first, last). */
static enum status pack(const struct loading *l, int first, int last)
{
    size_t room = (size_t)(last - first);
    struct tensor *tensor = xmalloc(room * (WEIGHT_PARTS + 1) * sizeof *tensor);
    struct pack_item *item = xmalloc(room * sizeof *item);
    int n;
    enum status s = list_items(l, first, last, tensor, item, &n);

    if (s == OK && n > 0) {
        s = pack_items(l, item, n);
        if (s != OK)
            fail_in(s, "%s", l->c->path);
    }
    for (int i = first, k = 0; i < last && s == OK; i++) {
        if (skips(l, &l->p->bound[i]))
            continue;
        set_view(l->p, l->on, &l->p->bound[i], *item[k++].dst);
        drop_sources(l->c, &l->p->bound[i]);
    }
    xfree(tensor);
    xfree(item);
    return s;
}

/* All vectors as f32 into `host`, which mirrors a side's vectors. */
static enum status gather_vectors(const struct checkpoint *c, const struct placement *p, char *host)
{
    for (int i = 0; i < p->n; i++) {
        const struct bound *b = &p->bound[i];
        float *at = (float *)(void *)(host + b->offset);

        if (!is_vector(b))
            continue;
        if (b->host)
            memcpy(at, b->host, b->bytes);
        for (int j = 0; j < b->n_src; j++) {
            char *scratch = b->src[j]->made ? xmalloc(b->src[j]->bytes) : NULL;
            struct tensor t;
            enum status s = source(c, b->src[j], scratch, &t);

            if (s == OK)
                dtype_decode((enum dtype)t.dtype, t.data, at, t.shape[0]);
            xfree(scratch);
            if (s != OK)
                return s;
            at += t.shape[0];
        }
    }
    return OK;
}

static enum status load_vectors(const struct checkpoint *c, const struct placement *p,
                                const struct sides *on)
{
    char *host = xcalloc(1, p->vector_bytes);
    enum status s = gather_vectors(c, p, host);

    for (int i = 0; i < N_SIDE && s == OK; i++) {
        struct device *dev = on->dev[i];
        struct fence f;

        if (!dev)
            continue;
        struct queue *q = dev->backend->queue(dev);
        s = dev->backend->copy(q, on->weights[i] + p->vectors[i], host, p->vector_bytes,
                               COPY_TO_DEVICE);
        if (s == OK)
            s = dev->backend->record(q, &f);
        if (s == OK)
            s = dev->backend->wait(q, &f);
    }
    for (int i = 0; i < p->n; i++) {
        struct bound *b = &p->bound[i];

        if (is_vector(b))
            set_view(p, on, b, view_of(b, address(p, on, b)));
    }
    xfree(host);
    return s;
}

struct progress {
    void (*report)(void *, double);
    void *ctx;
    size_t done, total;
};

/* The matrices of one side. */
static enum status load_side(struct loading *l, enum side side, struct progress *p)
{
    struct device_info info;
    enum status s = OK;
    size_t bytes;

    l->side = side;
    l->dev = l->on->dev[side];
    l->dev->backend->info(l->dev, &info);
    l->repeat = l->c->format->repeats && !info.synchronous;
    l->batch_bytes = BATCH_BYTES * (size_t)(info.threads > 1 ? info.threads : 1);
    for (int i = 0, last; i < l->p->n && s == OK; i = last) {
        struct bound few;

        if (repeats(l, &l->p->bound[i], &few)) {
            last = i + 1;
            bytes = source_bytes(&l->p->bound[i]);
            s = pack_repeated(l, &l->p->bound[i], &few);
        } else {
            last = batch_end(l, i, &bytes);
            s = pack(l, i, last);
        }
        p->done += bytes;
        if (p->report)
            p->report(p->ctx, (double)p->done / (double)p->total);
    }
    return s;
}

enum status repack_load(const struct checkpoint *c, const struct placement *p,
                        const struct sides *on, void (*progress)(void *, double), void *ctx)
{
    struct loading l = {.c = c, .p = p, .on = on};
    struct progress at = {progress, ctx, 0, 1};
    void *scratch = NULL;

    for (int i = 0; i < p->n; i++) {
        size_t n = is_vector(&p->bound[i]) ? 0 : made_bytes(&p->bound[i]);

        at.total += is_vector(&p->bound[i]) ? 0 : source_bytes(&p->bound[i]);
        l.scratch_bytes = n > l.scratch_bytes ? n : l.scratch_bytes;
    }
    if (l.scratch_bytes)
        TRY(big_alloc(l.scratch_bytes, &scratch));
    l.scratch = scratch;
    enum status s = load_vectors(c, p, on);
    for (int side = N_SIDE - 1; side >= 0 && s == OK; side--)
        if (on->dev[side])
            s = load_side(&l, (enum side)side, &at);
    big_free(scratch, l.scratch_bytes);
    return s;
}

/* Is an earlier weight of the same class as i? */
static bool reported(const struct placement *p, int i)
{
    for (int j = 0; j < i; j++) {
        if (!is_vector(&p->bound[j]) && p->bound[j].dtype == p->bound[i].dtype &&
            strcmp(p->bound[j].choice.kernel, p->bound[i].choice.kernel) == 0)
            return true;
    }
    return false;
}

enum { WAYS_MAX = 4 };

struct class
{ /* of weights, summed up */
    int n;
    size_t bytes;
    double us, bound_us;           /* of one row */
    double many_us, many_bound_us; /* of MANY */
    int n_ways;
    struct {
        const char *kernel; /* that takes MANY rows */
        int n;
    } way[WAYS_MAX];
};

static void add_many(const struct placement *p, const struct sides *on, const struct bound *b,
                     struct class *to)
{
    const struct device *dev = on->dev[side_of(p, b)];
    const struct op_case c = {OP_linear, DT_F32, b->dtype, MANY, b->n, b->k};
    struct choice many;
    int i = 0;

    if (!dev->backend->many || (b->kind == WEIGHT_TABLE && !b->also))
        return;
    dev->backend->many(dev, &c, &b->quant, &many);
    to->many_us += many.us;
    to->many_bound_us += many.bound_us;
    while (i < to->n_ways && strcmp(to->way[i].kernel, many.kernel) != 0)
        i++;
    if (i == WAYS_MAX)
        return;
    to->way[i].kernel = many.kernel;
    to->way[i].n++;
    to->n_ways += i == to->n_ways;
}

/* All weights of the class that b is of. */
static void sum_class(const struct placement *p, const struct sides *on, const struct bound *b,
                      struct class *to)
{
    *to = (struct class){0};
    for (int i = 0; i < p->n; i++) {
        const struct bound *o = &p->bound[i];

        if (is_vector(o) || o->dtype != b->dtype || strcmp(o->choice.kernel, b->choice.kernel) != 0)
            continue;
        to->n++;
        to->bytes += o->bytes;
        to->us += o->choice.us;
        to->bound_us += o->choice.bound_us;
        add_many(p, on, o, to);
    }
}

void repack_report(const struct placement *p, const struct sides *on, struct buf *out)
{
    size_t vectors = 0;
    int n_vectors = 0;

    for (int i = 0; i < p->n; i++) {
        const struct bound *b = &p->bound[i];
        struct class c;

        if (is_vector(b)) {
            vectors += b->bytes;
            n_vectors++;
            continue;
        }
        if (!b->choice.kernel || reported(p, i))
            continue;
        sum_class(p, on, b, &c);
        buf_printf(out, "%-5s %4d matrices %8.1f MiB  %s", dtype_info(b->dtype)->name, c.n,
                   (double)c.bytes / (1 << 20), b->choice.kernel);
        if (c.us > 0) /* of one row, where memory is the limit */
            buf_printf(out, ", %s, %.0f %% of the roofline expected", b->choice.source,
                       100 * c.bound_us / c.us);
        for (int j = 0; j < c.n_ways; j++)
            buf_printf(out, "%s%s (%d)", j ? ", " : "; of 2048 rows: ", c.way[j].kernel,
                       c.way[j].n);
        if (c.many_us > 0)
            buf_printf(out, ", %.0f %%", 100 * c.many_bound_us / c.many_us);
        buf_putc(out, '\n');
    }
    buf_printf(out, "f32   %4d vectors  %8.1f MiB\n", n_vectors, (double)vectors / (1 << 20));
}
