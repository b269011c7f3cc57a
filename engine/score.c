/* score.c - see score.h: one sequence in one slot whose pages lie in order, in steps of up to
 * STEP_ROWS rows. */
#include "engine/score.h"

#include <string.h>

#include "engine/run/pack.h"
#include "engine/tasks/generate.h"
#include "kernels/base/mem.h"
#include "kernels/kv_type.h"

enum { STEP_ROWS = 128 };

struct scorer {
    struct model *m;
    struct device *dev;
    struct device_info info;
    struct limits limits;
    struct need need;
    struct pack_sizes max;
    struct pack pack;
    struct memory mem[N_MEMORY_KIND];
    void *region[N_REGION];
    float *logits; /* [STEP_ROWS, n_vocab] */
    void (*tap)(void *ctx, const struct tensor *x, const struct tensor *w, const int32_t *live);
    void *tap_ctx;
};

static enum status settle(struct scorer *s, const struct score_options *o)
{
    const struct hparams *hp = &s->m->net.hp;
    enum dtype kv = s->info.kv_dtype;

    if (o->kv_type)
        TRY(kv_type_read(o->kv_type, &kv));
    if (o->window < 2 || o->window > hp->n_ctx)
        return fail_field(ERR_INVALID, "ctx", "%s: a window of %d tokens; 2 to %d are possible",
                          o->path, o->window, hp->n_ctx);
    s->limits = (struct limits){.context = o->window,
                                .max_seqs = 1,
                                .max_rows = o->window < STEP_ROWS ? o->window : STEP_ROWS,
                                .kv_dtype = kv};
    s->need.page_tokens = s->info.page_tokens;
    s->max = (struct pack_sizes){.rows = s->limits.max_rows,
                                 .seqs = 1,
                                 .want = s->limits.max_rows,
                                 .slots = 1,
                                 .table_stride =
                                     (o->window + s->info.page_tokens - 1) / s->info.page_tokens};
    s->need.n_pages = s->max.table_stride;
    gen_memories(hp, &s->limits, &s->need, SIDE_UPPER, NULL, s->mem);
    s->need.bytes[REGION_WEIGHTS] = s->m->weight_bytes;
    s->need.bytes[REGION_ROWS] = pack_device_bytes(&s->max);
    s->need.bytes[REGION_KV] = (size_t)(s->mem[MEMORY_KV].layer_bytes * hp->n_kind[MEMORY_KV] +
                                        hp->state_bytes * hp->n_kind[MEMORY_STATE]);
    return OK;
}

static struct batch batch_of(const struct scorer *s, const struct pack_arrays *a, int rows,
                             int want)
{
    return (struct batch){.r = {.rows = rows,
                                .seqs = 1,
                                .live = a->live,
                                .pos = a->pos,
                                .row_seq = a->row_seq,
                                .seq_start = a->seq_start,
                                .seq_slot = a->seq_slot},
                          .token = a->token,
                          .last = s->pack.last,
                          .mem = s->mem,
                          .want = a->want,
                          .n_want = want,
                          .want_live = a->want_live};
}

/* The workspace of the largest step, from a forward on the null device. */
static enum status plan_work(struct scorer *s)
{
    struct device_options d = {0};
    struct device *dev;
    struct pack_arrays a;
    struct output out;
    struct pass p;
    struct batch b;
    void *at;
    enum status e;

    TRY(backend_null.open(&d, &dev));
    e = backend_null.region(dev, REGION_WEIGHTS, (size_t)1 << 40, &at);
    if (e == OK)
        e = model_bind_plan(s->m, dev, at);
    if (e == OK) {
        a = (struct pack_arrays){at, at, at, at, at, at, at, at, at, at};
        s->mem[MEMORY_KV].table = at;
        s->mem[MEMORY_KV].table_stride = s->max.table_stride;
        s->mem[MEMORY_KV].base = s->mem[MEMORY_STATE].base = at;
        b = batch_of(s, &a, s->max.rows, s->max.want);
        b.last = at;
        pass_begin(&p, backend_null.queue(dev), at, PASS_UNBOUNDED);
        p.b = &b;
        s->m->net.arch->forward(&s->m->net, &p, &(struct input){.batch = &b}, &out);
        e = p.status;
        s->need.bytes[REGION_WORK] = p.peak;
    }
    backend_null.close(dev);
    return e;
}

static enum status take_regions(struct scorer *s)
{
    for (int r = 0; r < N_REGION; r++) {
        if (s->need.bytes[r] > 0)
            TRY(s->dev->backend->region(s->dev, (enum region)r, s->need.bytes[r], &s->region[r]));
    }
    return OK;
}

/* The slot's pages are all of the pool, in order. */
static enum status upload_pages(struct scorer *s)
{
    struct queue *q = s->dev->backend->queue(s->dev);
    int32_t *page = xmalloc((size_t)s->need.n_pages * sizeof *page);
    struct pack_pages pages = {0, 0, s->need.n_pages, page};
    struct fence f;
    enum status e;

    for (int i = 0; i < s->need.n_pages; i++)
        page[i] = i;
    e = pack_table(&s->pack, 0, q, &pages);
    if (e == OK)
        e = s->dev->backend->record(q, &f);
    if (e == OK)
        e = s->dev->backend->wait(q, &f);
    xfree(page);
    return e;
}

static enum status open_all(struct scorer *s, const struct score_options *o)
{
    struct device_options d = {.threads = o->threads, .isa = o->isa};

    if (o->activations)
        TRY(x_type_read(o->activations, &d.round_x));
    s->tap = o->tap;
    s->tap_ctx = o->tap_ctx;
    TRY(backend_cpu.open(&d, &s->dev));
    backend_cpu.info(s->dev, &s->info);
    TRY(model_open(o->path, NULL, &s->m));
    TRY(model_place(s->m, s->dev));
    TRY(settle(s, o));
    TRY(plan_work(s));
    TRY(take_regions(s));
    model_context(s->m, s->limits.context);
    TRY(model_load(s->m, s->dev, s->region[REGION_WEIGHTS], o->progress, o->ctx));
    gen_memories(&s->m->net.hp, &s->limits, &s->need, SIDE_UPPER, s->region[REGION_KV], s->mem);
    pack_open(&s->pack, &s->max, s->region[REGION_ROWS]);
    s->mem[MEMORY_KV].table = s->pack.table;
    s->mem[MEMORY_KV].table_stride = s->max.table_stride;
    TRY(upload_pages(s));
    s->logits = xmalloc((size_t)s->max.want * (size_t)s->m->net.hp.n_vocab * sizeof(float));
    return OK;
}

enum status score_open(const struct score_options *o, struct scorer **out)
{
    struct scorer *s = xcalloc(1, sizeof *s);
    enum status e = open_all(s, o);

    *out = s;
    if (e != OK) {
        score_close(s);
        *out = NULL;
    }
    return e;
}

const struct model *score_model(const struct scorer *s)
{
    return s->m;
}

void score_close(struct scorer *s)
{
    if (!s)
        return;
    pack_close(&s->pack);
    model_close(s->m);
    if (s->dev)
        s->dev->backend->close(s->dev);
    xfree(s->logits);
    xfree(s);
}

struct stretch { /* of a text: positions [pos, pos + n), logits of the last `want` */
    int pos, n, want;
};

static enum status upload(struct scorer *s, const struct token_list *text, struct stretch p)
{
    struct queue *q = s->dev->backend->queue(s->dev);
    struct pack_arrays a = pack_host(&s->pack, 0);
    struct fence f;

    a.live[0] = p.n;
    a.live[1] = 1;
    *a.want_live = p.want;
    a.seq_start[0] = 0;
    a.seq_start[1] = p.n;
    a.seq_slot[0] = 0;
    for (int i = 0; i < p.n; i++) {
        a.token[i] = text->id[p.pos + i];
        a.pos[i] = p.pos + i;
        a.row_seq[i] = 0;
        if (i >= p.n - p.want)
            a.want[i - (p.n - p.want)] = i;
    }
    TRY(pack_upload(&s->pack, 0, q, 0));
    TRY(s->dev->backend->record(q, &f));
    return s->dev->backend->wait(q, &f);
}

static enum status compute(struct scorer *s, struct stretch p)
{
    const struct backend *be = s->dev->backend;
    struct queue *q = be->queue(s->dev);
    struct pack_arrays a = pack_dev(&s->pack);
    struct batch b = batch_of(s, &a, p.n, p.want);
    struct output out = {0};
    struct pass pass;
    struct fence f;

    pass_begin(&pass, q, s->region[REGION_WORK], s->need.bytes[REGION_WORK]);
    pass.b = &b;
    pass.tap = s->tap;
    pass.tap_ctx = s->tap_ctx;
    if (be->step)
        be->step(q, true);
    s->m->net.arch->forward(&s->m->net, &pass, &(struct input){.batch = &b}, &out);
    if (be->step)
        be->step(q, false);
    TRY(pass.status);
    if (p.want > 0)
        TRY(be->copy(q, s->logits, out.logits.data,
                     (size_t)p.want * (size_t)s->m->net.hp.n_vocab * sizeof(float), COPY_TO_HOST));
    TRY(be->record(q, &f));
    return be->wait(q, &f);
}

enum status score_run(struct scorer *s, const struct token_list *text, int first,
                      enum status (*take)(void *ctx, int pos, const float *logits), void *ctx)
{
    size_t n_vocab = (size_t)s->m->net.hp.n_vocab;

    if (text->n > s->limits.context)
        return fail(ERR_CONTEXT, "a text of %d tokens, the window has %lld", text->n,
                    (long long)s->limits.context);
    for (struct stretch p = {0}; p.pos < text->n; p.pos += p.n) {
        p.n = text->n - p.pos < s->max.rows ? text->n - p.pos : s->max.rows;
        p.want = !take || first >= p.pos + p.n ? 0 : first <= p.pos ? p.n : p.pos + p.n - first;
        TRY(upload(s, text, p));
        TRY(compute(s, p));
        for (int i = 0; i < p.want; i++)
            TRY(take(ctx, p.pos + p.n - p.want + i, s->logits + (size_t)i * n_vocab));
    }
    return OK;
}
