/* tune.c - `inferd tune`: measures which launches are fastest on this GPU and writes them to the
 * user's cache, where `serve` finds them.
 *
 * The raw timings lie beside the configuration, one JSON object a line, and grow with each weight
 * that is done; --resume takes over what is there. The configuration names their SHA-256 and is
 * written whole or not at all. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "engine/load/bind.h"
#include "engine/load/model.h"
#include "kernels/base/clock.h"
#include "kernels/base/log.h"
#include "kernels/base/mem.h"
#include "kernels/base/sha256.h"
#include "kernels/gpu/registry.h"
#include "kernels/gpu/select.h"
#include "kernels/gpu/tune_backend.h"
#include "kernels/gpu/tune_backend_attn.h"
#include "server/cmd/cmd.h"
#include "server/cmd/loader.h"
#include "server/version.h"

enum { WEIGHTS_MAX = 512, QUICK_WEIGHTS = 6, LOG_MAX = 256 << 20 };
static const double QUICK_SECONDS = 20, FULL_SECONDS = 480;

static const int rows_full[] = {1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 256, 512, 1024, 2048};
static const int rows_quick[] = {1, 8, 32, 256};

/* Without a model: matrices of 0.5B to 8B networks, in the usual formats. */
static const enum dtype common_types[] = {DT_Q4_K, DT_BF16, DT_Q8_0, DT_Q4_0, DT_Q6_K};
static const struct {
    int64_t n, k;
} common[] = {
    {6144, 4096},  {4096, 4096},  {28672, 4096}, {4096, 14336}, {128256, 4096}, {3072, 2048},
    {2048, 2048},  {16384, 2048}, {2048, 8192},  {4608, 3584},  {3584, 3584},   {37888, 3584},
    {3584, 18944}, {1152, 896},   {896, 896},    {9728, 896},   {896, 4864},
};
/* Heads of these, and steps of one to many sequences. */
static const struct tune_heads common_heads[] = {
    {128, 32, 8}, {64, 32, 8}, {128, 28, 4}, {64, 14, 2}};
static const int tuned_dims[] = {64, 80, 96, 128, 256};
static const struct tune_step steps_full[] = {{1, 1, 2176},  {8, 1, 2176}, {64, 1, 2176},
                                              {1, 1, 16384}, {8, 1, 8192}, {1, 512, 1024}};
static const struct tune_step steps_quick[] = {{1, 1, 2176}, {16, 1, 2176}};

#define COUNT(a) (int)(sizeof(a) / sizeof *(a))

struct session {
    const struct config *c;
    struct device *dev;
    struct device_info info;
    struct arena arena;
    enum x_type x; /* what products may round to, where their weights go with it */
    struct tune_weight weight[WEIGHTS_MAX];
    int n_weights;
    struct tune_options options;
    struct tune_heads heads[COUNT(common_heads)];
    struct tune_attn_options attn;
    const char *out, *log_path; /* the configuration, the timings */
    struct gpu_ceil ceil;       /* as measured, else as configured */
    const char *ceilings;       /* names of those that were measured */
    struct buf log;
    size_t saved; /* bytes of it that are in the file */
    bool terminal;
    double begun;
};

/* ---- what to tune ---------------------------------------------------------------------------- */

static void add_weight(struct session *s, enum dtype w, int64_t n, int64_t k)
{
    for (int i = 0; i < s->n_weights; i++)
        if (s->weight[i].w == w && s->weight[i].n == n && s->weight[i].k == k)
            return;
    if (s->n_weights < WEIGHTS_MAX)
        s->weight[s->n_weights++] = (struct tune_weight){w, n, k};
}

static void add_heads(struct session *s, const struct model *m)
{
    const struct hparams *hp = &m->net.hp;
    for (int i = 0; i < COUNT(tuned_dims) && hp->n_kv_head > 0; i++)
        if (tuned_dims[i] == hp->head_dim)
            s->heads[s->attn.n_heads++] =
                (struct tune_heads){hp->head_dim, hp->n_head, hp->n_kv_head};
}

/* Shapes of the matrices that the model multiplies; largest first. */
static enum status model_weights(struct session *s)
{
    struct engine_options o;
    struct random_model random;
    struct model *m;
    engine_options_of(s->c, &o, &random);
    TRY(model_begin(o.model_path, o.random, &m));
    enum status st = model_place(m, s->dev);
    for (int i = 0; st == OK && i < m->place->n; i++) {
        const struct bound *b = &m->place->bound[i];
        bool matrix = b->kind != WEIGHT_VECTOR && b->kind != WEIGHT_BIAS && b->dtype != DT_F32;
        if (matrix && (b->kind != WEIGHT_TABLE || b->also))
            add_weight(s, b->dtype, b->n, b->k);
    }
    if (st == OK)
        add_heads(s, m);
    model_close(m);
    for (int i = 1; i < s->n_weights; i++)
        for (int j = i;
             j > 0 && s->weight[j].n * s->weight[j].k > s->weight[j - 1].n * s->weight[j - 1].k;
             j--) {
            struct tune_weight w = s->weight[j];
            s->weight[j] = s->weight[j - 1];
            s->weight[j - 1] = w;
        }
    return st;
}

static void attn_options(struct session *s)
{
    s->attn.heads = s->heads;
    s->attn.steps = s->c->quick ? steps_quick : steps_full;
    s->attn.n_steps = s->c->quick ? COUNT(steps_quick) : COUNT(steps_full);
    s->attn.quick = s->c->quick;
}

/* Rows of x and y take a quarter of what is free, at most: more rows are left out, by name. */
static void limit_rows(struct session *s)
{
    struct tune_options *o = &s->options;
    double most = (double)s->info.free_bytes / 4;
    int n = o->n_rows;
    for (int i = 0; i < o->n_weights; i++) {
        double each = (double)(o->weights[i].n + o->weights[i].k) * sizeof(float);
        while (n > 1 && o->rows[n - 1] * each > most)
            n--;
    }
    if (n < o->n_rows)
        fprintf(stderr, "%d rows and more do not fit into the memory and are left out\n",
                o->rows[n]);
    o->n_rows = n;
}

static enum status choose_shapes(struct session *s)
{
    bool given = s->c->model || s->c->random;
    if (given)
        TRY(model_weights(s));
    for (int t = 0; t < COUNT(common_types) && !given; t++)
        for (int i = 0; i < COUNT(common); i++)
            add_weight(s, common_types[t], common[i].n, common[i].k);
    if (s->n_weights == 0)
        return fail(ERR_INVALID, "the model has no matrix of a format that can be tuned");
    if (s->c->quick && s->n_weights > QUICK_WEIGHTS)
        s->n_weights = QUICK_WEIGHTS;
    if (!given) {
        memcpy(s->heads, common_heads, sizeof common_heads);
        s->attn.n_heads = COUNT(common_heads);
    }
    attn_options(s);
    s->options.weights = s->weight;
    s->options.n_weights = s->n_weights;
    s->options.rows = s->c->quick ? rows_quick : rows_full;
    s->options.n_rows = s->c->quick ? COUNT(rows_quick) : COUNT(rows_full);
    s->options.quick = s->c->quick;
    s->options.lt = s->info.lt;
    s->options.x = s->x;
    s->options.budget = s->c->budget > 0 ? s->c->budget
                        : s->c->quick    ? QUICK_SECONDS
                                         : FULL_SECONDS;
    limit_rows(s);
    return OK;
}

/* ---- files ----------------------------------------------------------------------------------- */

static enum status make_folders(const char *path)
{
    char *copy = xstrdup(path);
    enum status s = OK;
    for (char *p = copy + 1; *p && s == OK; p++) {
        if (*p != '/')
            continue;
        *p = '\0';
        if (mkdir(copy, 0777) && errno != EEXIST)
            s = fail(ERR_IO, "cannot make the folder %s: %s", copy, strerror(errno));
        *p = '/';
    }
    xfree(copy);
    return s;
}

static enum status write_file(const char *path, const char *mode, const char *data, size_t n)
{
    FILE *f = fopen(path, mode);
    bool good = f && fwrite(data, 1, n, f) == n && fflush(f) == 0 && fsync(fileno(f)) == 0;
    if (f && fclose(f))
        good = false;
    return good ? OK : fail(ERR_IO, "cannot write %s: %s", path, strerror(errno));
}

/* Beside it, then in its place: a reader sees the old file or the new one. */
static enum status write_whole(struct session *s, const char *path, const struct buf *text)
{
    const char *part = arena_printf(&s->arena, "%s.%d.part", path, (int)getpid());
    enum status st = write_file(part, "w", text->data, text->len);
    if (st == OK && rename(part, path))
        st = fail(ERR_IO, "cannot write %s: %s", path, strerror(errno));
    if (st != OK)
        unlink(part);
    return st;
}

/* What a run before this one measured, if it was of this GPU, driver and kernels. */
static enum status open_log(struct session *s)
{
    const struct gpu_facts *f = &s->info.gpu->facts;
    const char *gpu =
        arena_printf(&s->arena, "%04x:%04x %d SM %s%s%s", f->pci >> 16, f->pci & 0xffff, f->sms,
                     s->info.name, s->x ? ", x " : "", s->x ? x_type_name(s->x) : "");
    char *text;
    size_t n;
    if (s->c->resume && file_read(s->log_path, LOG_MAX, &text, &n) == OK) {
        buf_append(&s->log, text, n);
        xfree(text);
        s->saved = s->log.len;
        if (tune_log_matches(&s->log, gpu, f->driver, s->info.lt)) {
            if (n && s->log.data[n - 1] != '\n')
                buf_putc(&s->log, '\n'); /* it was cut off there */
            return OK;
        }
        fprintf(stderr, "%s is of another GPU, driver, cuBLASLt or program: it is begun anew\n",
                s->log_path);
    }
    buf_reset(&s->log);
    s->saved = 0;
    tune_log_begin(&s->log, gpu, f->driver, s->info.lt);
    return write_file(s->log_path, "w", "", 0);
}

static enum status save_log(struct session *s)
{
    size_t from = s->saved;
    s->saved = s->log.len;
    return write_file(s->log_path, "a", s->log.data + from, s->log.len - from);
}

/* ---- telling --------------------------------------------------------------------------------- */

static void show(void *ctx, const struct tune_progress *p)
{
    struct session *s = ctx;
    char left[48] = "";
    if (save_log(s) != OK)
        log_warn("%s", fail_text());
    if (p->left >= 0)
        snprintf(left, sizeof left, ", %.0f s left", p->left);
    fprintf(stderr, s->terminal ? "\r\033[K" : "");
    if (p->weight)
        fprintf(stderr, "%d of %d: %s [%lld, %lld], %.0f s%s, speed x %.3f%s", p->done + 1,
                p->total, dtype_info(p->weight->w)->name, (long long)p->weight->n,
                (long long)p->weight->k, p->elapsed, left, p->gain, s->terminal ? "" : "\n");
    fflush(stderr);
}

/* Measured against what the configuration has of the sheet. */
static void say_ceilings(const struct session *s, const struct gpu_ceil *measured)
{
    const struct gpu_ceil *sheet = &s->info.gpu->config.ceil;
    const char *name;
    size_t at;
    for (int i = 0; gpu_ceil_row(i, &name, &at); i++) {
        double now = *(const double *)((const char *)measured + at);
        double was = *(const double *)((const char *)sheet + at);
        if (now > 0 && was > 0)
            printf("%-16s %10.4g measured, %10.4g configured, x %.3f\n", name, now, was, now / was);
        else if (now > 0)
            printf("%-16s %10.4g measured\n", name, now);
        else if (was > 0)
            printf("%-16s %10s          %10.4g configured, kept\n", name, "", was);
    }
    fflush(stdout);
}

static enum status measure_ceilings(struct session *s)
{
    struct gpu_ceil measured = {0};
    const struct backend *b = s->dev->backend;
    s->ceil = s->info.gpu->config.ceil;
    s->ceilings = "";
    if (!b->ceilings)
        return OK;
    TRY(b->ceilings(s->dev, &measured));
    say_ceilings(s, &measured);
    s->ceilings = gpu_ceil_merge(&s->arena, &measured, &s->ceil);
    s->options.ceil = &s->ceil;
    return OK;
}

/* From how many rows another path is taken, where that is new. */
static void say_crossovers(const struct gpu_config *was, const struct gpu_config *is)
{
    for (int k = GPU_SKINNY_16; k <= GPU_SKINNY_ANY; k++) {
        const char *class = gpu_kernel_name((enum gpu_kernel)k) + strlen("skinny_");
        if (is->skinny_max_m[k] != was->skinny_max_m[k])
            printf("crossover %-4s skinny to %d rows, was %d\n", class, is->skinny_max_m[k],
                   was->skinny_max_m[k]);
        if (is->mma8_max_m[k] != was->mma8_max_m[k])
            printf("crossover %-4s mma8 to %d rows, was %d\n", class, is->mma8_max_m[k],
                   was->mma8_max_m[k]);
    }
}

static void say_result(const struct session *s, const struct tune_result *r)
{
    printf(
        "%d of %d matrices, %d shapes: %d have a faster launch; %d launches were wrong, %d rounds "
        "were dropped\n",
        r->weights, s->n_weights, r->shapes, r->changed, r->rejected, r->dropped);
    printf("speed after / before: %.3f in the mean, %.3f at least\n", r->gain, r->worst);
    if (r->fitted)
        printf("cost model: %d kernels fitted, %.1f %% off in the median\n", r->fitted,
               100 * r->off);
    if (r->fitted && r->foresight >= 0)
        printf("foresight: %d rows, by a fit to all other numbers of rows: %.1f %% off\n",
               r->unseen, 100 * r->foresight);
    if (!r->complete)
        printf("the time was over before all were measured: --resume goes on\n");
}

/* ---- the runs -------------------------------------------------------------------------------- */

static void set_provenance(struct session *s, struct gpu_config *c, const struct tune_result *r)
{
    const struct gpu_facts *f = &s->info.gpu->facts;
    char date[16], *sha = arena_alloc(&s->arena, 65);
    time_t now = time(NULL);
    struct tm tm;
    gmtime_r(&now, &tm);
    strftime(date, sizeof date, "%Y-%m-%d", &tm);
    sha256_hex(s->log.data, s->log.len, sha);
    c->from = (struct gpu_provenance){
        .kind = GPU_MEASURED,
        .date = arena_strndup(&s->arena, date, strlen(date)),
        .how = "",
        .parent = c->from.kind == GPU_DERIVED ? c->from.parent : "",
        .tool = arena_printf(&s->arena, "inferd %s tune%s", INFERD_VERSION,
                             s->options.quick ? " --quick" : ""),
        .driver = f->driver,
        .raw_sha256 = sha,
        .kernel_abi = gpu_kernel_abi(),
        .ceilings = s->ceilings,
        .model = GPU_MODEL,
        .cuda = f->cuda,
        .cublaslt = s->info.lt,
        .gain = r->gain,
        .worst = r->worst,
        .entries = r->shapes,
        .sm_mhz = f->mhz,
    };
}

/* Of a device with one cut there is nothing to tune. */
static enum status tune_attention(struct session *s, struct gpu_config *c)
{
    struct tune_attn_result r;
    struct tune_pages *t;
    if (s->attn.n_heads == 0 || !s->dev->backend->force_cut)
        return OK;
    fprintf(stderr, "attention of %d kinds of heads, a few seconds each\n", s->attn.n_heads);
    TRY(tune_pages_open(s->dev, &s->attn, &t));
    struct tune_attn_device d = tune_pages_device(t);
    enum status st = tune_attn_run(&d, &s->attn, &s->arena, c, &s->log, &r);
    tune_pages_close(t);
    TRY(st);
    TRY(save_log(s));
    printf(
        "attention of %d kinds of heads: %d have a faster cut, speed x %.3f; %d cuts were wrong\n",
        r.heads, r.changed, r.gain, r.rejected);
    return OK;
}

static enum status run(struct session *s, const struct tune_device *d)
{
    struct gpu_config c = s->info.gpu->config;
    struct tune_result r;
    struct buf text = {0};
    TRY(make_folders(s->out));
    TRY(open_log(s));
    TRY(tune_attention(s, &c));
    s->options.budget = fmax(0.01, s->options.budget - (clock_now() - s->begun));
    TRY(tune_run(d, &s->options, &s->arena, &c, &s->log, &r));
    TRY(save_log(s));
    set_provenance(s, &c, &r);
    enum status st = gpu_check(&c);
    if (st == OK) {
        gpu_config_write(&text, &c);
        st = write_whole(s, s->out, &text);
    }
    buf_clear(&text);
    if (st != OK)
        return st;
    say_result(s, &r);
    say_crossovers(&s->info.gpu->config, &c);
    printf("configuration %s\nraw timings   %s\n", s->out, s->log_path);
    return OK;
}

static enum status verify_attention(struct session *s, const struct gpu_config *c)
{
    struct tune_attn_result r;
    struct tune_pages *t;
    if (c->n_attn == 0)
        return OK;
    s->heads[0] = (struct tune_heads){256, 64, 8}; /* room for the largest */
    s->attn.n_heads = 1;
    attn_options(s);
    TRY(tune_pages_open(s->dev, &s->attn, &t));
    struct tune_attn_device d = tune_pages_device(t);
    enum status st = tune_attn_verify(&d, &s->attn, c, &r);
    tune_pages_close(t);
    TRY(st);
    printf("attention: %d cuts against the one without: speed x %.3f\n", r.heads, r.gain);
    return OK;
}

static enum status verify(struct session *s, const struct tune_device *d)
{
    const struct gpu_config *c = &s->info.gpu->config;
    struct tune_result r;
    if (c->n_gemm + c->n_attn == 0) {
        printf("%s: nothing in it was measured\n", gpu_selected_title(&s->arena, s->info.gpu));
        return OK;
    }
    TRY(verify_attention(s, c));
    if (c->n_gemm == 0)
        return OK;
    enum status st = tune_verify(d, &s->options, c, &r);
    printf("%s: %d choices against the model's: speed x %.3f in the mean, %.3f at least\n",
           gpu_selected_title(&s->arena, s->info.gpu), r.shapes, r.gain, r.worst);
    return st;
}

/* For verifying: the shapes of the exceptions, so that there is room for them. */
static void exception_shapes(struct session *s)
{
    const struct gpu_config *c = &s->info.gpu->config;
    int *m = arena_alloc(&s->arena, ((size_t)c->n_gemm + 1) * sizeof *m);
    s->n_weights = 0;
    for (int i = 0; i < c->n_gemm; i++) {
        add_weight(s, c->gemm[i].w, c->gemm[i].n, c->gemm[i].k);
        m[i] = c->gemm[i].m;
    }
    s->options = (struct tune_options){.weights = s->weight,
                                       .n_weights = s->n_weights,
                                       .rows = m,
                                       .n_rows = c->n_gemm,
                                       .lt = s->info.lt,
                                       .x = s->x,
                                       .quick = s->c->quick};
}

static enum status open_device(struct session *s)
{
    const struct config *c = s->c;
    const struct backend *b;
    struct device_options o = {.gpu_config = c->gpu_config,
                               .gpu_cache = c->gpu_cache,
                               .strict = c->strict,
                               .cublaslt = c->cublaslt};
    TRY(x_type_read(c->activations, &s->x));
    s->x = s->x == X_DECLARED ? X_EXACT : s->x; /* shapes declare nothing */
    o.round_x = s->x;
    TRY(backend_find(strcmp(c->device, "auto") ? c->device : "cuda", &b, &o.index));
    TRY(b->open(&o, &s->dev));
    b->info(s->dev, &s->info);
    if (!b->force || !s->info.gpu)
        return fail(ERR_UNSUPPORTED, "tune: %s computes each product in one way only", b->name);
    if (!c->output && !c->gpu_cache)
        return fail(ERR_INVALID, "where to? neither --output nor --gpu-cache is given, and HOME is "
                                 "not set");
    s->out = c->output ? c->output : gpu_cache_path(&s->arena, c->gpu_cache, &s->info.gpu->facts);
    s->log_path = arena_printf(&s->arena, "%s.timings.jsonl", s->out);
    fprintf(stderr, "%s, %s: begins with %s\n", s->info.name, s->info.isa,
            gpu_selected_title(&s->arena, s->info.gpu));
    return OK;
}

int cmd_tune(const struct config *c)
{
    struct session s = {.c = c, .terminal = isatty(STDERR_FILENO), .begun = clock_now()};
    struct tune_backend *t = NULL;
    arena_init(&s.arena, 0);
    enum status st = open_device(&s);
    if (st == OK && c->verify)
        exception_shapes(&s);
    else if (st == OK)
        st = choose_shapes(&s);
    if (st == OK && !c->verify)
        st = measure_ceilings(&s);
    s.options.progress = show;
    s.options.ctx = &s;
    if (st == OK)
        st = tune_backend_open(s.dev, &s.options, &t);
    if (st == OK) {
        struct tune_device d = tune_backend_device(t);
        st = c->verify ? verify(&s, &d) : run(&s, &d);
    }
    tune_backend_close(t);
    if (s.dev)
        s.dev->backend->close(s.dev);
    buf_clear(&s.log);
    arena_clear(&s.arena);
    return st == OK ? EXIT_GOOD : cmd_failed();
}
