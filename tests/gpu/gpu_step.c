/* gpu_step.c - the time of a step of a model's shape on a GPU, without server and scheduler.
 *
 *     gpu_step --shape llama-3.1-8b --format q4_k --decode 1:2176,64:2176 --prefill 2048
 *
 * Decode B:C: B sequences, each with C tokens before the one computed, in pages that lie scattered;
 * keys and values are random. Forward and sampler are captured into a graph, which is replayed.
 * Prefill M: one prompt of M tokens in one step. Each case is a line: its time, the bytes it must
 * read, the operations it must do, and when it was measured, by the monotonic clock. A case whose
 * keys and values do not fit is a line that says so. Other options: --seconds N (a case),
 * --kv TYPE, --cublaslt FILE, --gpu-config FILE, --tiny (for the emulator). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/load/model.h"
#include "engine/tasks/generate.h"
#include "engine/tasks/tasks.h"
#include "kernels/base/clock.h"
#include "kernels/base/mem.h"
#include "kernels/base/rng.h"
#include "kernels/cuda/cuda.h"
#include "kernels/half.h"
#include "kernels/kv_type.h"
#include "tests/gpu/measure.h"

enum { CASES_MAX = 64, PATTERN = 1 << 20 };

struct step_case {
    int seqs, rows, past; /* rows a sequence has in the step, tokens it had before */
};

struct step_bench {
    struct random_model random;
    const char *kv, *cublaslt, *gpu_config;
    struct effort e;
    struct step_case at[CASES_MAX];
    int n;
    const struct backend *b;
    struct device *dev;
    struct device_info info;
    struct queue *q;
    struct model *m;
    struct limits limits;
    struct need need;
    void *region[N_REGION];
    struct pack pack;
    struct memory mem[N_MEMORY_KIND];
    uint16_t *counts;
    double load_seconds;
};

/* One step, ready to be submitted again and again. */
struct ready {
    struct step_bench *s;
    struct batch batch;
    struct graph *graph;
};

static void check(enum status s)
{
    if (s == OK)
        return;
    fprintf(stderr, "%s: %s\n", status_name(s), fail_text());
    exit(1);
}

/* --- set-up */

static void read_cases(struct step_bench *s, const char *list, bool decode)
{
    for (char *end; *list; list = *end ? end + 1 : end) {
        struct step_case c = {.seqs = 1, .rows = (int)strtol(list, &end, 10)};
        if (decode && *end == ':')
            c = (struct step_case){c.rows, 1, (int)strtol(end + 1, &end, 10)};
        if ((*end && *end != ',') || c.seqs < 1 || c.rows < 1 || s->n == CASES_MAX) {
            fprintf(stderr, "\"%s\" is no list of %s\n", list, decode ? "B:C" : "M");
            exit(2);
        }
        s->at[s->n++] = c;
    }
}

static void set_limits(struct step_bench *s)
{
    struct limits *l = &s->limits;
    *l = (struct limits){.free_bytes = s->info.free_bytes, .kv_dtype = s->info.kv_dtype};
    if (s->kv && kv_type_read(s->kv, &l->kv_dtype) != OK) {
        fprintf(stderr, "%s\n", fail_text());
        exit(2);
    }
    for (int i = 0; i < s->n; i++) {
        const struct step_case *c = &s->at[i];
        int rows = c->seqs * c->rows, context = c->past + c->rows;
        l->context = context > l->context ? context : l->context;
        l->max_seqs = c->seqs > l->max_seqs ? c->seqs : l->max_seqs;
        l->max_rows = rows > l->max_rows ? rows : l->max_rows;
    }
}

/* Keys and values of about the size that norms leave, in every page. */
static void fill_pages(struct step_bench *s)
{
    size_t all = s->need.bytes[REGION_KV], have = all < PATTERN ? all : PATTERN;
    char *pages = s->region[REGION_KV], *host = xmalloc(have);
    bool f32 = s->limits.kv_dtype == DT_F32;
    if (s->limits.kv_dtype == DT_F8_E4M3) /* codes of about 0.1 to 3; scales of 2^-79 to 2^-63 */
        for (size_t i = 0; i < have; i++)
            host[i] = (char)(rng_philox(5, i, 0).v[0] % 16 + (i % 2 ? 48 : 176));
    for (size_t i = 0; i < have / (f32 ? 4 : 2) && s->limits.kv_dtype != DT_F8_E4M3; i++) {
        float v = 2 * rng_uniform(rng_philox(5, i, 0).v[0]) - 1;
        uint16_t h = half_to_bf16(v);
        memcpy(host + i * (f32 ? 4 : 2), f32 ? (void *)&v : (void *)&h, f32 ? 4 : 2);
    }
    check(s->b->copy(s->q, pages, host, have, COPY_TO_DEVICE));
    for (size_t n; have < all; have += n) {
        n = have < all - have ? have : all - have;
        check(s->b->copy(s->q, pages + have, pages, n, COPY_ON_DEVICE));
    }
    struct fence f;
    check(s->b->record(s->q, &f));
    check(s->b->wait(s->q, &f));
    xfree(host);
}

static void open_all(struct step_bench *s)
{
    struct device_options o = {.index = 0, .cublaslt = s->cublaslt, .gpu_config = s->gpu_config};
    s->b = &backend_cuda;
    check(s->b->open(&o, &s->dev));
    s->b->info(s->dev, &s->info);
    s->q = s->b->queue(s->dev);
    s->b->step(s->q, true);
    double begin = clock_now();
    check(model_open(NULL, &s->random, &s->m));
    check(model_place(s->m, s->dev));
    set_limits(s);
    check(tasks_find("generate")->plan(s->m, &s->info, &s->limits, &s->need));
    s->need.bytes[REGION_WEIGHTS] = s->m->weight_bytes;
    for (int r = 0; r < N_REGION; r++)
        check(s->b->region(s->dev, (enum region)r, s->need.bytes[r], &s->region[r]));
    check(model_load(s->m, s->dev, s->region[REGION_WEIGHTS], NULL, NULL));
    s->load_seconds = clock_now() - begin;
    struct pack_sizes max = gen_sizes(&s->limits, s->need.page_tokens);
    pack_open(&s->pack, &max, s->region[REGION_ROWS]);
    s->counts = (uint16_t *)((char *)s->region[REGION_ROWS] + pack_device_bytes(&max));
    gen_memories(&s->m->net.hp, &s->limits, &s->need, SIDE_UPPER, s->region[REGION_KV], s->mem);
    s->mem[MEMORY_KV].table = s->pack.table;
    s->mem[MEMORY_KV].table_stride = max.table_stride;
    fill_pages(s);
}

/* --- a step */

static int pages_of(const struct step_bench *s, const struct step_case *c)
{
    return (c->past + c->rows + s->need.page_tokens - 1) / s->need.page_tokens;
}

static int common_divisor(int a, int b)
{
    for (int t; b > 0; a = b, b = t)
        t = a % b;
    return a;
}

/* Pages of sequence i: far from each other, and of no other sequence. */
static void upload_table(struct step_bench *s, const struct step_case *c)
{
    int n = pages_of(s, c), stride = 7919;
    int32_t *page = xmalloc((size_t)n * sizeof *page);
    while (common_divisor(stride, s->need.n_pages) != 1) /* then it visits every page once */
        stride--;
    for (int i = 0; i < c->seqs; i++) {
        for (int k = 0; k < n; k++)
            page[k] = (int32_t)(((int64_t)i * n + k) * stride % s->need.n_pages);
        struct pack_pages pages = {i, 0, n, page};
        check(pack_table(&s->pack, 0, s->q, &pages));
    }
    xfree(page);
}

static void fill_arrays(const struct step_bench *s, const struct step_case *c)
{
    struct pack_arrays a = pack_host(&s->pack, 0);
    int rows = c->seqs * c->rows;
    for (int i = 0; i < rows; i++) {
        int n_vocab = s->m->net.hp.n_vocab;
        a.token[i] = (int32_t)(rng_philox(9, (uint64_t)i, 0).v[0] % (uint32_t)n_vocab);
        a.pos[i] = c->past + i % c->rows;
        a.row_seq[i] = i / c->rows;
    }
    for (int i = 0; i < c->seqs; i++) {
        a.seq_start[i] = i * c->rows;
        a.seq_slot[i] = i;
        a.want[i] = (i + 1) * c->rows - 1;
        a.sample[i] =
            (struct sample_row){.slot = i, .forced = -1, .n_top = -1, .top_p = 1, .repetition = 1};
    }
    a.seq_start[c->seqs] = rows;
    a.live[0] = rows;
    a.live[1] = c->seqs;
    a.want_live[0] = c->seqs;
}

static void prepare(struct ready *r, struct step_bench *s, const struct step_case *c)
{
    struct pack_arrays d = pack_dev(&s->pack);
    struct fence f;
    fill_arrays(s, c);
    upload_table(s, c);
    check(pack_upload(&s->pack, 0, s->q, 0));
    check(s->b->record(s->q, &f));
    check(s->b->wait(s->q, &f));
    *r = (struct ready){.s = s};
    r->batch = (struct batch){.r = {.rows = c->seqs * c->rows,
                                    .seqs = c->seqs,
                                    .live = d.live,
                                    .pos = d.pos,
                                    .row_seq = d.row_seq,
                                    .seq_start = d.seq_start,
                                    .seq_slot = d.seq_slot},
                              .token = d.token,
                              .last = s->pack.last,
                              .mem = s->mem,
                              .want = d.want,
                              .n_want = c->seqs,
                              .want_live = d.want_live};
}

static void submit(struct ready *r)
{
    struct step_bench *s = r->s;
    struct pack_arrays d = pack_dev(&s->pack);
    struct output out = {0};
    struct pass p;
    pass_begin(&p, s->q, s->region[REGION_WORK], s->need.bytes[REGION_WORK]);
    p.b = &r->batch;
    s->m->net.arch->forward(&s->m->net, &p, &(struct input){.batch = &r->batch}, &out);
    check(p.status);
    struct op_sample sample = {.logits = out.logits,
                               .row = d.sample,
                               .bias = d.bias,
                               .counts = s->counts,
                               .last = s->pack.last,
                               .out = s->pack.out_dev,
                               .n_live = d.want_live};
    check(op_sample(s->q, &sample));
}

static void repeat(void *ctx)
{
    struct ready *r = ctx;
    if (r->graph)
        check(r->s->b->replay(r->s->q, r->graph));
    else
        submit(r);
}

/* The choices of a step: one token a sequence, none out of the vocabulary. */
static void check_tokens(struct step_bench *s, int n)
{
    struct fence f;
    check(pack_download(&s->pack, 0, s->q, n));
    check(s->b->record(s->q, &f));
    check(s->b->wait(s->q, &f));
    for (int i = 0; i < n; i++) {
        int32_t t = s->pack.out_host[0][i].token;
        if (t >= 0 && t < s->m->net.hp.n_vocab)
            continue;
        fprintf(stderr, "sequence %d of %d chose token %d\n", i, n, t);
        exit(1);
    }
}

/* --- the report */

/* Weights that a step reads, and multiplies each row with: all but a table that only looks up. */
static void weight_work(const struct step_bench *s, double *bytes, double *params, double *head)
{
    const struct net *net = &s->m->net;
    const struct hparams *hp = &net->hp;
    double table = (double)hp->n_vocab * hp->n_embd;
    bool tied = net->head.n_parts == 1 && net->head.part[0].data == net->embed.data;
    *head = table;
    *params = (double)s->m->info.n_params - (tied ? table : 2 * table);
    *bytes = (double)s->m->weight_bytes;
    if (!tied)
        *bytes -= (double)dtype_row_bytes((enum dtype)net->embed.dtype, hp->n_embd) * hp->n_vocab;
}

static void print_row(const struct step_bench *s, const struct step_case *c, struct figure f,
                      double begin)
{
    const struct hparams *hp = &s->m->net.hp;
    double bytes, params, head, rows = (double)c->seqs * c->rows;
    /* Positions that are read: of a chunk, those before it and half of its own, once. */
    double seen = (double)c->seqs * (c->past + c->rows);
    double pairs = rows * (c->past + 0.5 * (c->rows + 1));
    double width = (double)hp->n_layer * hp->head_dim;
    double kv = seen * 2 * width * hp->n_kv_head *
                (double)kv_page_bytes(s->limits.kv_dtype, 1, 1, hp->head_dim) / (2 * hp->head_dim);
    weight_work(s, &bytes, &params, &head);
    printf("{\"kind\": \"row\", \"case\": \"%s\", \"model\": \"%s\", \"format\": \"%s\", \"kv\": "
           "\"%s\", \"batch\": %d, \"rows\": %d, \"context\": %d, ",
           c->rows == 1 ? "decode" : "prefill", s->random.shape, s->random.format,
           kv_type_name(s->limits.kv_dtype), c->seqs, c->rows, c->past);
    if (f.us > 0)
        printf("\"us\": %.3f, \"lo\": %.3f, \"hi\": %.3f, \"tok_s\": %.2f, \"from\": %.3f, \"to\": "
               "%.3f, ",
               f.us, f.lo, f.hi, rows * 1e6 / f.us, begin, clock_now());
    else
        printf("\"skip\": \"keys and values need %d pages, there are %d\", ",
               c->seqs * pages_of(s, c), s->need.n_pages);
    printf("\"weight_bytes\": %.0f, \"kv_bytes\": %.0f, \"linear_flops\": %.0f, "
           "\"attention_flops\": %.0f}\n",
           bytes, kv, 2 * rows * params + 2 * c->seqs * head, 4 * pairs * width * hp->n_head);
    fflush(stdout);
}

static void run_case(struct step_bench *s, const struct step_case *c)
{
    struct ready r;
    struct figure f = {0};
    double begin = 0;
    if ((int64_t)c->seqs * pages_of(s, c) <= s->need.n_pages) {
        prepare(&r, s, c);
        submit(&r); /* kernels are loaded by their first launch, which no graph may hold */
        check_tokens(s, c->seqs);
        if (c->rows == 1) {
            check(s->b->capture(s->q, true, NULL));
            submit(&r);
            check(s->b->capture(s->q, false, &r.graph));
        }
        begin = clock_now();
        f = measure(((struct cuda_queue *)s->q)->stream, &s->e, repeat, &r);
        check_tokens(s, c->seqs);
    }
    print_row(s, c, f, begin);
}

int main(int argc, char **argv)
{
    static struct step_bench s = {.random = {"tiny", "q8_0", 1}};
    double seconds = 1.5;
    bool tiny = false;
    for (int i = 1; i < argc; i++) {
        const char *v = i + 1 < argc ? argv[i + 1] : "";
        if (strcmp(argv[i], "--tiny") == 0) {
            tiny = true;
            continue;
        }
        if (strcmp(argv[i], "--shape") == 0)
            s.random.shape = v;
        else if (strcmp(argv[i], "--format") == 0)
            s.random.format = v;
        else if (strcmp(argv[i], "--kv") == 0)
            s.kv = v;
        else if (strcmp(argv[i], "--cublaslt") == 0)
            s.cublaslt = v;
        else if (strcmp(argv[i], "--gpu-config") == 0)
            s.gpu_config = v;
        else if (strcmp(argv[i], "--seconds") == 0)
            seconds = strtod(v, NULL);
        else if (strcmp(argv[i], "--decode") == 0 || strcmp(argv[i], "--prefill") == 0)
            read_cases(&s, v, argv[i][2] == 'd');
        i++;
    }
    s.e = effort_of(seconds, tiny);
    open_all(&s);
    printf("{\"kind\": \"load\", \"model\": \"%s\", \"format\": \"%s\", \"seconds\": %.3f, "
           "\"bytes\": %zu, \"kv_pages\": %d}\n",
           s.random.shape, s.random.format, s.load_seconds, s.m->weight_bytes, s.need.n_pages);
    for (int i = 0; i < s.n; i++)
        run_case(&s, &s.at[i]);
    pack_close(&s.pack);
    model_close(s.m);
    s.b->close(s.dev);
    return 0;
}
