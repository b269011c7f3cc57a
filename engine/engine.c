/* engine.c - opens and closes everything in order; the rest of engine.h is a thin layer over run/
 * and load/. */
#include "engine/engine.h"

#include <string.h>

#include "engine/load/model.h"
#include "engine/run/worker.h"
#include "engine/tasks/tasks.h"
#include "kernels/base/mem.h"
#include "kernels/kv_type.h"

enum { SEQS_DEFAULT = 16, SEQS_MAX = 1024, QUEUE_DEFAULT = 512 };
static const double step_seconds = 0.05;

struct engine {
    struct worker *worker;
    char *model_path, *model_name; /* copies: the worker outlives the caller's options */
    char *isa, *cublaslt, *gpu_config, *gpu_cache;
    struct random_model random;
    char *random_shape, *random_format;
};

static enum status kv_dtype_of(const char *name, const struct backend *b, int index,
                               const struct engine_options *o, enum dtype *out)
{
    struct device_options d = {.index = index, .threads = 1, .isa = o->isa, .cublaslt = "none"};
    struct device *dev;
    struct device_info info;
    if (name)
        return kv_type_read(name, out);
    TRY(b->open(&d, &dev));
    b->info(dev, &info);
    b->close(dev);
    *out = info.kv_dtype;
    return OK;
}

static enum status limits_of(const struct engine_options *o, const struct backend *b, int index,
                             struct limits *l)
{
    if (o->context < 0 || o->kv_bytes < 0 || o->max_seqs < 0 || o->max_rows < 0 ||
        o->queue_limit < 0 || o->threads < 0)
        return fail(ERR_INVALID,
                    "context, KV size, sequences, rows, queue and threads cannot be negative");
    if (o->max_seqs > SEQS_MAX)
        return fail_field(ERR_INVALID, "max-seqs", "%d sequences at once: at most %d are possible",
                          o->max_seqs, SEQS_MAX);
    *l = (struct limits){.context = o->context,
                         .kv_bytes = o->kv_bytes,
                         .max_seqs = o->max_seqs ? o->max_seqs : SEQS_DEFAULT,
                         .max_rows = o->max_rows,
                         .prefix_cache = !o->no_prefix_cache,
                         .step_seconds = step_seconds};
    return kv_dtype_of(o->kv_type, b, index, o, &l->kv_dtype);
}

static char *copy(const char *s)
{
    return s ? xstrdup(s) : NULL;
}

static void keep_options(struct engine *e, const struct engine_options *o, struct worker_options *w)
{
    e->model_path = copy(o->model_path);
    e->model_name = copy(o->model_name);
    e->isa = copy(o->isa);
    e->cublaslt = copy(o->cublaslt);
    e->gpu_config = copy(o->gpu_config);
    e->gpu_cache = copy(o->gpu_cache);
    w->model_path = e->model_path;
    w->model_name = e->model_name;
    w->plain_sampling = o->plain_sampling;
    w->device.threads = o->threads;
    w->device.isa = e->isa;
    w->device.cublaslt = e->cublaslt;
    w->device.gpu_config = e->gpu_config;
    w->device.gpu_cache = e->gpu_cache;
    w->device.strict = o->strict;
    w->device.deterministic = o->deterministic;
    if (!o->random)
        return;
    e->random_shape = copy(o->random->shape);
    e->random_format = copy(o->random->format);
    e->random = (struct random_model){e->random_shape, e->random_format, o->random->seed};
    w->random = &e->random;
}

static void free_engine(struct engine *e)
{
    xfree(e->model_path);
    xfree(e->model_name);
    xfree(e->isa);
    xfree(e->cublaslt);
    xfree(e->gpu_config);
    xfree(e->gpu_cache);
    xfree(e->random_shape);
    xfree(e->random_format);
    xfree(e);
}

enum status engine_open(const struct engine_options *o, void (*on_state)(void *), void *ctx,
                        struct engine **out)
{
    struct worker_options w = {.on_state = on_state, .ctx = ctx, .task = tasks_find("generate")};
    if (!o->model_path == !o->random)
        return fail(ERR_INVALID, "give either a model file or random weights");
    TRY(backend_find(o->device, &w.backend, &w.device.index));
    if (o->activations)
        TRY(x_type_read(o->activations, &w.device.round_x));
    TRY(limits_of(o, w.backend, w.device.index, &w.limits));
    TRY(fit_parse(o->gpu_layers, &w.gpu_layers));
    TRY(backend_find("cpu", &w.lower, &(int){0}));
    w.queue_limit = o->queue_limit ? o->queue_limit : QUEUE_DEFAULT;
    struct engine *e = xcalloc(1, sizeof *e);
    keep_options(e, o, &w);
    enum status s = worker_start(&w, &e->worker);
    if (s != OK) {
        free_engine(e);
        return s;
    }
    *out = e;
    return OK;
}

void engine_progress(struct engine *e, struct engine_progress *out)
{
    worker_progress(e->worker, out);
}

void engine_drain(struct engine *e)
{
    worker_drain(e->worker);
}

bool engine_idle(struct engine *e)
{
    return worker_idle(e->worker);
}

void engine_close(struct engine *e)
{
    if (!e)
        return;
    worker_stop(e->worker);
    free_engine(e);
}

const struct model *engine_model(struct engine *e)
{
    return worker_ready(e->worker) ? e->worker->model : NULL;
}

const struct engine_stats *engine_stats(struct engine *e)
{
    return &e->worker->stats;
}

enum status engine_submit(struct engine *e, const struct job_spec *spec, void (*wake)(void *),
                          void *ctx, struct job **out)
{
    struct worker *w = e->worker;
    if (worker_ready(w))
        TRY(w->opt.task->check(w->model, &w->limits, spec));
    struct job *j = job_new(spec, wake, ctx);
    enum status s = worker_submit(w, j);
    if (s != OK) {
        job_unref(j);
        job_unref(j);
        return s;
    }
    *out = j;
    return OK;
}

/* ---- plan ------------------------------------------------------------------------------------ */

static void print_bytes(struct buf *out, const char *name, size_t bytes)
{
    buf_printf(out, "%-10s %14zu bytes %10.1f MiB\n", name, bytes, (double)bytes / (1 << 20));
}

/* `own` is taken when the device is opened, so it is not in `free_bytes` any more. */
static void print_regions(struct buf *out, const size_t *bytes, size_t own, int64_t free_bytes)
{
    static const char *const name[N_REGION] = {"weights", "KV cache", "job rows", "workspace"};
    size_t total = own;
    for (int r = 0; r < N_REGION; r++) {
        print_bytes(out, name[r], bytes[r]);
        total += bytes[r];
    }
    if (own)
        print_bytes(out, "kernels", own);
    buf_printf(out, "total      %14zu bytes %10.1f MiB of %.1f MiB free\n", total,
               (double)total / (1 << 20), (double)(free_bytes + (int64_t)own) / (1 << 20));
}

static void print_plan(struct buf *out, const struct model *m, const struct device_info *info,
                       const struct limits *l, const struct need *n)
{
    const int n_layer = m->net.hp.n_layer;
    buf_printf(out, "model      %s (%s, %s)\n", m->info.id, m->info.arch, m->info.format);
    buf_printf(out, "context    %lld tokens, %d sequences at once, steps of at most %d rows\n",
               (long long)l->context, l->max_seqs, l->max_rows);
    buf_printf(out, "KV         %s, %d pages of %d tokens, %lld bytes a page\n",
               kv_type_name(l->kv_dtype), n->n_pages, n->page_tokens, (long long)n->page_bytes);
    if (l->cut)
        buf_printf(out, "on the GPU: the last %d of %d layers, the output head\n", n_layer - l->cut,
                   n_layer);
    print_regions(out, n->bytes, n->own, l->free_bytes);
    if (info->margin_bytes)
        buf_printf(out, "%lld MiB more stay free, for graphs, modules and other programs\n",
                   (long long)(info->margin_bytes >> 20));
    if (!l->cut)
        return;
    buf_printf(out, "on the CPU: the embedding, the first %d layers\n", l->cut);
    print_regions(out, n->lower, 0, l->lower_free);
}

enum status engine_plan(const struct engine_options *o, struct buf *out)
{
    const struct backend *b;
    struct limits l;
    struct need n;
    struct device_info info;
    struct fit f = {.task = tasks_find("generate"),
                    .lower_options = {.threads = o->threads, .isa = o->isa}};
    struct device_options d = {.threads = o->threads, .isa = o->isa, .cublaslt = "none"};
    TRY(backend_find(o->device, &b, &d.index));
    TRY(backend_find("cpu", &f.lower, &(int){0}));
    TRY(limits_of(o, b, d.index, &l));
    TRY(fit_parse(o->gpu_layers, &f.layers));
    enum status s = b->open(&d, &f.on.dev[SIDE_UPPER]);
    if (s == OK) {
        b->info(f.on.dev[SIDE_UPPER], &info);
        l.free_bytes = info.free_bytes;
        s = model_open(o->model_path, o->random, &f.model);
    }
    if (s == OK)
        s = model_place(f.model, f.on.dev[SIDE_UPPER]);
    if (s == OK)
        s = fit_plan(&f, &l, &n);
    if (s == OK)
        print_plan(out, f.model, &info, &l, &n);
    model_close(f.model);
    for (int i = N_SIDE - 1; i >= 0; i--)
        if (f.on.dev[i])
            f.on.dev[i]->backend->close(f.on.dev[i]);
    return s;
}
