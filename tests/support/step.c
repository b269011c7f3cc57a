/* step.c - a scheduler of the simplest kind, for tests: every slot owns all its pages from the
 * start, and they lie scattered over the pool, so that a forward which ignores the table fails. */
#include "tests/support/step.h"

#include <string.h>

#include "kernels/base/mem.h"
#include "kernels/kv_type.h"

/* The int32 arrays of a batch, in the order in which they lie in the region of rows. */
struct rows {
    int32_t *live, *want_live, *token, *pos, *row_seq, *want, *last, *seq_start, *seq_slot, *table;
    size_t n; /* all together */
};

static struct rows lay_out(const struct stepper *s, int32_t *at)
{
    size_t r = (size_t)s->o.max_rows, q = (size_t)s->o.max_seqs;
    struct rows a = {.live = at, .want_live = at + 2, .token = at + 4};

    a.pos = a.token + r;
    a.row_seq = a.pos + r;
    a.want = a.row_seq + r;
    a.last = a.want + r;
    a.seq_start = a.last + q;
    a.seq_slot = a.seq_start + q + 1;
    a.table = a.seq_slot + q;
    a.n = 4 + 4 * r + 3 * q + 1 + q * (size_t)s->n_pages_seq;
    return a;
}

static struct batch batch_of(const struct stepper *s, struct rows a, int rows, int seqs, int want)
{
    bool upper = a.live != s->lower_region[REGION_ROWS];

    return (struct batch){.r = {.rows = rows,
                                .seqs = seqs,
                                .live = a.live,
                                .pos = a.pos,
                                .row_seq = a.row_seq,
                                .seq_start = a.seq_start,
                                .seq_slot = a.seq_slot},
                          .token = a.token,
                          .last = a.last,
                          .mem = upper ? s->mem : s->lower_mem,
                          .want = a.want,
                          .n_want = want,
                          .want_live = a.want_live};
}

static void lay_out_kv(struct stepper *s)
{
    const struct hparams *hp = &s->m->net.hp;
    struct memory *m = &s->mem[MEMORY_KV];

    s->n_pages_seq = (s->o.max_tokens + s->info.page_tokens - 1) / s->info.page_tokens;
    m->kind = MEMORY_KV;
    m->dtype = (uint8_t)s->o.kv;
    m->page_tokens = s->info.page_tokens;
    m->page_bytes = kv_page_bytes(s->o.kv, hp->n_kv_head, m->page_tokens, hp->head_dim);
    m->layer_bytes = m->page_bytes * s->n_pages_seq * s->o.max_seqs;
    m->table_stride = s->n_pages_seq;
}

/* Slot i's page j, counted from the end of the pool and interleaved. */
static int32_t page_of(const struct stepper *s, int slot, int j)
{
    return s->n_pages_seq * s->o.max_seqs - 1 - (j * s->o.max_seqs + slot);
}

/* Where a forward begins, and where it goes on. */
static void begin(struct stepper *s, struct pass *p, struct queue *q, const struct batch *upper)
{
    if (!s->o.cut) {
        pass_begin(p, q, s->region[REGION_WORK], s->work_bytes);
        return;
    }
    struct device *lower = s->on.dev[SIDE_LOWER];
    pass_begin(p, lower->backend->queue(lower), s->lower_region[REGION_WORK], s->lower_bytes);
    p->next = (struct pass_next){q, s->o.cut, s->region[REGION_WORK], s->work_bytes, upper, false};
    model_vectors(s->m, &s->on, p);
}

/* The regions of the device that has the first layers; its workspace is as large as the other's,
 * which has all that this one has and more. */
static enum status take_lower(struct stepper *s)
{
    struct device *dev = s->on.dev[SIDE_LOWER];
    const struct backend *b = dev->backend;

    s->lower_bytes = s->work_bytes;
    s->lower_mem[MEMORY_KV] = s->mem[MEMORY_KV];
    s->mem[MEMORY_KV].first = s->o.cut; /* every layer has keys and values */
    TRY(b->region(dev, REGION_WEIGHTS, s->m->lower_bytes, &s->lower_region[REGION_WEIGHTS]));
    TRY(b->region(dev, REGION_KV, (size_t)(s->mem[MEMORY_KV].layer_bytes * s->o.cut),
                  &s->lower_region[REGION_KV]));
    TRY(b->region(dev, REGION_ROWS, lay_out(s, NULL).n * 4, &s->lower_region[REGION_ROWS]));
    TRY(b->region(dev, REGION_WORK, s->lower_bytes, &s->lower_region[REGION_WORK]));
    s->lower_mem[MEMORY_KV].base = s->lower_region[REGION_KV];
    s->lower_mem[MEMORY_KV].table = lay_out(s, s->lower_region[REGION_ROWS]).table;
    s->on.weights[SIDE_LOWER] = s->lower_region[REGION_WEIGHTS];
    return OK;
}

static enum status copy(struct stepper *s, void *dst, const void *src, size_t n, enum copy_dir dir)
{
    struct queue *q = s->dev->backend->queue(s->dev);
    struct fence f;

    TRY(s->dev->backend->copy(q, dst, src, n, dir));
    TRY(s->dev->backend->record(q, &f));
    return s->dev->backend->wait(q, &f);
}

static enum status take_regions(struct stepper *s)
{
    const struct backend *b = s->dev->backend;
    size_t kv = (size_t)(s->mem[MEMORY_KV].layer_bytes * s->m->net.hp.n_kind[MEMORY_KV]);

    TRY(b->region(s->dev, REGION_WEIGHTS, s->m->weight_bytes, &s->region[REGION_WEIGHTS]));
    TRY(b->region(s->dev, REGION_KV, kv, &s->region[REGION_KV]));
    TRY(b->region(s->dev, REGION_ROWS, lay_out(s, NULL).n * 4, &s->region[REGION_ROWS]));
    TRY(step_plan(s, s->o.max_rows, s->o.max_seqs, s->o.max_rows, &s->work_bytes));
    return b->region(s->dev, REGION_WORK, s->work_bytes, &s->region[REGION_WORK]);
}

enum status step_open(struct stepper *s, const struct step_options *o)
{
    struct device_options d = {.threads = o->threads, .isa = o->isa, .round_x = o->round_x};

    memset(s, 0, sizeof *s);
    s->o = *o;
    TRY(o->backend->open(&d, &s->dev));
    o->backend->info(s->dev, &s->info);
    TRY(model_open(o->path, o->random, &s->m));
    TRY(model_place(s->m, s->dev));
    lay_out_kv(s);
    TRY(take_regions(s));
    s->on = (struct sides){.dev = {s->dev}, .weights = {s->region[REGION_WEIGHTS]}};
    if (o->cut) {
        TRY(o->lower->open(&d, &s->on.dev[SIDE_LOWER]));
        TRY(model_split(s->m, s->dev, s->on.dev[SIDE_LOWER], o->cut));
        TRY(take_lower(s));
    }
    model_context(s->m, o->max_tokens);
    TRY(model_load_sides(s->m, &s->on, NULL, NULL));
    s->mem[MEMORY_KV].base = s->region[REGION_KV];
    s->mem[MEMORY_KV].table = lay_out(s, s->region[REGION_ROWS]).table;
    return OK;
}

enum status step_plan(struct stepper *s, int rows, int seqs, int want, size_t *peak)
{
    struct device_options d = {0};
    struct memory kept[N_MEMORY_KIND];
    struct device *dev;
    struct output out;
    struct pass p;
    struct batch b;
    void *at;

    TRY(backend_null.open(&d, &dev));
    TRY(backend_null.region(dev, REGION_WEIGHTS, (size_t)1 << 40, &at));
    TRY(model_bind_plan(s->m, dev, at));
    memcpy(kept, s->mem, sizeof kept);
    s->mem[MEMORY_KV].base = at;
    s->mem[MEMORY_KV].table = at;
    b = batch_of(s, lay_out(s, at), rows, seqs, want);
    pass_begin(&p, backend_null.queue(dev), at, PASS_UNBOUNDED);
    s->m->net.arch->forward(&s->m->net, &p, &(struct input){.batch = &b}, &out);
    memcpy(s->mem, kept, sizeof kept);
    *peak = p.peak;
    backend_null.close(dev);
    return p.status;
}

/* Fills a host copy of the arrays and uploads it; counts rows and wanted rows. */
static enum status upload(struct stepper *s, const struct step_seq *seq, int n, int *rows,
                          int *want)
{
    int32_t *host = xcalloc(lay_out(s, NULL).n, sizeof *host);
    struct rows a = lay_out(s, host);
    enum status e;

    *rows = *want = 0;
    for (int i = 0; i < n; i++) {
        a.seq_start[i] = *rows;
        a.seq_slot[i] = seq[i].slot;
        for (int j = 0; j < seq[i].n; j++, ++*rows) {
            a.token[*rows] = seq[i].token[j];
            a.pos[*rows] = seq[i].pos + j;
            a.row_seq[*rows] = i;
            if (j >= seq[i].n - seq[i].want)
                a.want[(*want)++] = *rows;
        }
    }
    a.seq_start[n] = *rows;
    a.live[0] = *rows;
    a.live[1] = n;
    *a.want_live = *want;
    for (int i = 0; i < s->o.max_seqs; i++) {
        for (int j = 0; j < s->n_pages_seq; j++)
            a.table[i * s->n_pages_seq + j] = page_of(s, i, j);
    }
    e = copy(s, s->region[REGION_ROWS], host, a.n * sizeof *host, COPY_TO_DEVICE);
    if (s->o.cut)
        memcpy(s->lower_region[REGION_ROWS], host, a.n * sizeof *host);
    xfree(host);
    return e;
}

enum status step_run(struct stepper *s, const struct step_seq *seq, int n, float *logits)
{
    const struct backend *be = s->dev->backend;
    struct queue *q = be->queue(s->dev);
    struct output out;
    struct batch b, upper;
    struct pass p;
    int rows, want;

    TRY(upload(s, seq, n, &rows, &want));
    b = upper = batch_of(s, lay_out(s, s->region[REGION_ROWS]), rows, n, want);
    if (s->o.cut)
        b = batch_of(s, lay_out(s, s->lower_region[REGION_ROWS]), rows, n, want);
    begin(s, &p, q, &upper);
    if (be->step)
        be->step(q, true);
    s->m->net.arch->forward(&s->m->net, &p, &(struct input){.batch = &b}, &out);
    if (be->step)
        be->step(q, false);
    s->peak = p.peak > s->peak ? p.peak : s->peak;
    TRY(p.status);
    if (!want)
        return OK;
    return copy(s, logits, out.logits.data, (size_t)want * (size_t)s->m->net.hp.n_vocab * 4,
                COPY_TO_HOST);
}

void step_close(struct stepper *s)
{
    model_close(s->m);
    if (s->on.dev[SIDE_LOWER])
        s->on.dev[SIDE_LOWER]->backend->close(s->on.dev[SIDE_LOWER]);
    if (s->dev)
        s->dev->backend->close(s->dev);
    memset(s, 0, sizeof *s);
}
