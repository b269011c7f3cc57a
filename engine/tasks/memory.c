/* memory.c - how much device memory generating needs: exact, from running the forward on the null
 * device. */
#include <string.h>

#include "engine/tasks/generate.h"

enum { CONTEXT_DEFAULT = 32768, ROWS_DEFAULT = 512 };

static int64_t kv_layer_page(const struct hparams *hp, const struct limits *l, int page_tokens)
{
    return (int64_t)dtype_row_bytes(l->kv_dtype,
                                    2 * (int64_t)hp->n_kv_head * page_tokens * hp->head_dim);
}

struct pack_sizes gen_sizes(const struct limits *l, int page_tokens)
{
    return (struct pack_sizes){
        .rows = l->max_rows,
        .seqs = l->max_seqs,
        .want = l->max_seqs + SCORE_ROWS,
        .bias = l->max_seqs * BIAS_PER_JOB,
        .slots = l->max_seqs,
        .table_stride = (int)((l->context + page_tokens - 1) / page_tokens),
    };
}

void gen_memories(const struct hparams *hp, const struct limits *l, const struct need *n, char *kv,
                  struct memory *mem)
{
    memset(mem, 0, sizeof *mem * N_MEMORY_KIND);
    int64_t page = kv_layer_page(hp, l, n->page_tokens);
    int64_t pool = page * n->n_pages;
    mem[MEMORY_KV] = (struct memory){.kind = MEMORY_KV,
                                     .base = kv,
                                     .layer_bytes = pool,
                                     .dtype = (uint8_t)l->kv_dtype,
                                     .page_tokens = n->page_tokens,
                                     .page_bytes = page};
    if (hp->n_kind[MEMORY_STATE] > 0)
        mem[MEMORY_STATE] = (struct memory){.kind = MEMORY_STATE,
                                            .base = kv + pool * hp->n_kind[MEMORY_KV],
                                            .layer_bytes = hp->state_bytes * l->max_seqs,
                                            .dtype = DT_F32,
                                            .slot_bytes = hp->state_bytes};
}

/* The largest step, forward and choice of tokens, on a null device, whose addresses nobody follows:
 * the workspace's peak. `like`: the device that is told of the ops, or NULL. */
static enum status walk(struct model *m, struct device *like, const struct limits *l,
                        const struct need *n, size_t *peak)
{
    struct device_options o = {.like = like};
    struct device *dev;
    TRY(backend_null.open(&o, &dev));
    void *weights, *kv, *rows, *work;
    enum status s = OK;
    const size_t huge = (size_t)1 << 36; /* of address space, which sanitizers leave little of */
    if ((s = backend_null.region(dev, REGION_WEIGHTS, m->weight_bytes, &weights)) != OK ||
        (s = backend_null.region(dev, REGION_KV, n->bytes[REGION_KV], &kv)) != OK ||
        (s = backend_null.region(dev, REGION_ROWS, n->bytes[REGION_ROWS], &rows)) != OK ||
        (s = backend_null.region(dev, REGION_WORK, huge, &work)) != OK ||
        (s = model_bind_plan(m, dev, weights)) != OK)
        goto out;
    struct pack_sizes max = gen_sizes(l, n->page_tokens);
    struct memory mem[N_MEMORY_KIND];
    gen_memories(&m->net.hp, l, n, kv, mem);
    int32_t *any = rows;
    mem[MEMORY_KV].table = any;
    mem[MEMORY_KV].table_stride = max.table_stride;
    struct batch b = {.r = {.rows = max.rows,
                            .seqs = max.seqs,
                            .live = any,
                            .pos = any,
                            .row_seq = any,
                            .seq_start = any,
                            .seq_slot = any},
                      .token = any,
                      .last = any,
                      .mem = mem,
                      .want = any,
                      .n_want = max.want,
                      .want_live = any};
    struct pass p;
    struct output out;
    pass_begin(&p, backend_null.queue(dev), work, huge);
    p.b = &b;
    m->net.arch->forward(&m->net, &p, &(struct input){.batch = &b}, &out);
    s = p.status;
    *peak = p.peak;
    struct op_sample sample = {.logits = out.logits, .row = rows, .out = rows};
    if (s == OK)
        s = op_sample(backend_null.queue(dev), &sample);
out:
    backend_null.close(dev);
    return s;
}

enum status gen_reserve(struct model *m, struct device *dev, const struct limits *l,
                        const struct need *n)
{
    size_t peak;
    return walk(m, dev, l, n, &peak);
}

static long long mib(int64_t bytes)
{
    return (long long)((bytes + (1 << 20) - 1) >> 20);
}

/* The model itself does not fit: by how much, and which weights would. */
static enum status too_large(const struct model *m, const struct need *n, int64_t other,
                             int64_t room)
{
    int64_t weights = (int64_t)n->bytes[REGION_WEIGHTS], left = room - (other - weights);
    double bits = 8.0 / (double)(m->info.n_params > 0 ? m->info.n_params : 1);
    return fail(ERR_NO_MEMORY,
                "the model needs %lld MiB beside its KV cache (weights %lld, job rows %lld, "
                "workspace %lld), %lld MiB are to be had; its weights have %.1f bits each, a "
                "format of at most %.1f would fit, and fewer --max-seqs or --max-rows need less",
                mib(other), mib(weights), mib((int64_t)n->bytes[REGION_ROWS]),
                mib((int64_t)n->bytes[REGION_WORK]), mib(room), bits * (double)weights,
                left > 0 ? bits * (double)left : 0);
}

/* Settles the KV pool's size; shrinks an unset context to what fits. */
static enum status plan_pages(const struct model *m, const struct device_info *dev,
                              struct limits *l, struct need *n, int64_t other)
{
    const struct hparams *hp = &m->net.hp;
    const int t = n->page_tokens;
    int64_t state = hp->n_kind[MEMORY_STATE] * hp->state_bytes * l->max_seqs;
    /* Host memory is shared with everything else on the machine: take at most half of what is free.
     */
    int64_t free = dev->synchronous ? l->free_bytes / 2 : l->free_bytes - l->free_bytes / 32;
    int64_t budget = l->kv_bytes ? l->kv_bytes : free - other - state;
    if (free < other + state && (!l->kv_bytes || !dev->synchronous))
        return too_large(m, n, other + state, free > 0 ? free : 0);
    int64_t fit = INT32_MAX; /* pages of nothing: a network without attention */
    if (n->page_bytes > 0)
        fit = budget > 0 ? budget / n->page_bytes : 0;
    bool chosen = l->context > 0;
    if (!chosen) {
        l->context = hp->n_ctx < CONTEXT_DEFAULT ? hp->n_ctx : CONTEXT_DEFAULT;
        if (l->context > fit * t)
            l->context = fit * t;
    }
    int64_t one = (l->context + t - 1) / t;
    if (one > fit || l->context < 1)
        return fail(ERR_NO_MEMORY,
                    "a context of %lld tokens needs %lld MiB of KV cache, %lld MiB are to be had; "
                    "with them the context could be %lld%s",
                    (long long)l->context, (long long)(one * n->page_bytes >> 20),
                    (long long)(budget >> 20), (long long)(fit * t),
                    l->kv_dtype == DT_F32 ? ", and twice that with --kv-type bf16" : "");
    int64_t all = one * l->max_seqs;
    n->n_pages = (int)(all < fit ? all : fit);
    n->bytes[REGION_KV] = (size_t)(n->n_pages * n->page_bytes + state);
    return OK;
}

enum status gen_plan(struct model *m, const struct device_info *dev, struct limits *l,
                     struct need *n)
{
    const struct hparams *hp = &m->net.hp;
    memset(n, 0, sizeof *n);
    n->page_tokens = dev->page_tokens;
    n->page_bytes = kv_layer_page(hp, l, n->page_tokens) * hp->n_kind[MEMORY_KV];
    if (l->max_rows == 0)
        l->max_rows = ROWS_DEFAULT;
    if (l->max_rows < l->max_seqs)
        l->max_rows = l->max_seqs;
    if (l->context > hp->n_ctx)
        return fail_field(ERR_INVALID, "ctx",
                          "a context of %lld tokens is more than the %d the model was trained for",
                          (long long)l->context, hp->n_ctx);
    n->bytes[REGION_WEIGHTS] = m->weight_bytes;
    /* Twice: the workspace does not depend on the number of pages, but the pages on the workspace.
     */
    struct limits guess = *l;
    if (guess.context == 0)
        guess.context = hp->n_ctx < CONTEXT_DEFAULT ? hp->n_ctx : CONTEXT_DEFAULT;
    struct pack_sizes max = gen_sizes(&guess, n->page_tokens);
    size_t counts = (size_t)l->max_seqs * (size_t)hp->n_vocab * sizeof(uint16_t);
    n->bytes[REGION_ROWS] = pack_device_bytes(&max) + counts;
    n->n_pages = max.table_stride;
    n->bytes[REGION_KV] = (size_t)(n->n_pages * n->page_bytes);
    TRY(walk(m, NULL, &guess, n, &n->bytes[REGION_WORK]));
    int64_t other =
        (int64_t)(n->bytes[REGION_WEIGHTS] + n->bytes[REGION_ROWS] + n->bytes[REGION_WORK]);
    TRY(plan_pages(m, dev, l, n, other));
    max = gen_sizes(l, n->page_tokens);
    n->bytes[REGION_ROWS] = pack_device_bytes(&max) + counts;
    return OK;
}
