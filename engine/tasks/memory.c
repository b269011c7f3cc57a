/* memory.c - how much device memory generating needs: exact, from running the forward on the null
 * device. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "engine/load/repack.h"
#include "engine/tasks/generate.h"
#include "kernels/kv_type.h"

enum { CONTEXT_DEFAULT = 32768, ROWS_DEFAULT = 512 };
enum { MODEST = 4096 }; /* a context that advice counts with where none is asked for */

static int64_t kv_layer_page(const struct hparams *hp, const struct limits *l, int page_tokens)
{
    return kv_page_bytes(l->kv_dtype, hp->n_kv_head, page_tokens, hp->head_dim);
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

/* Layers of one kind among the first `end`. */
static int kind_below(const struct hparams *hp, enum memory_kind kind, int end)
{
    int n = 0;
    for (int l = 0; l < end; l++)
        n += hp->kind[l] == (uint8_t)kind;
    return n;
}

/* Layers of one kind that a side has. */
static int kind_of_side(const struct hparams *hp, const struct limits *l, enum memory_kind kind,
                        enum side side)
{
    int below = kind_below(hp, kind, l->cut);
    return side == SIDE_LOWER ? below : hp->n_kind[kind] - below;
}

void gen_memories(const struct hparams *hp, const struct limits *l, const struct need *n,
                  enum side side, char *kv, struct memory *mem)
{
    memset(mem, 0, sizeof *mem * N_MEMORY_KIND);
    int64_t page = kv_layer_page(hp, l, n->page_tokens);
    int64_t pool = page * n->n_pages;
    bool upper = side == SIDE_UPPER;
    mem[MEMORY_KV] = (struct memory){.kind = MEMORY_KV,
                                     .base = kv,
                                     .first = upper ? kind_below(hp, MEMORY_KV, l->cut) : 0,
                                     .layer_bytes = pool,
                                     .dtype = (uint8_t)l->kv_dtype,
                                     .page_tokens = n->page_tokens,
                                     .page_bytes = page};
    if (hp->n_kind[MEMORY_STATE] > 0)
        mem[MEMORY_STATE] =
            (struct memory){.kind = MEMORY_STATE,
                            .base = kv + pool * kind_of_side(hp, l, MEMORY_KV, side),
                            .first = upper ? kind_below(hp, MEMORY_STATE, l->cut) : 0,
                            .layer_bytes = hp->state_bytes * l->max_seqs,
                            .dtype = DT_F32,
                            .slot_bytes = hp->state_bytes};
}

struct stand_in { /* a null device in the place of one */
    struct device *dev;
    void *region[N_REGION];
    struct memory mem[N_MEMORY_KIND];
    struct batch batch;
};

/* Of address space, which sanitizers leave little of. */
static const size_t huge = (size_t)1 << 36;

static enum status stand_in_open(struct stand_in *d, struct device *like, enum side side,
                                 const struct model *m, const struct limits *l,
                                 const struct need *n)
{
    const bool upper = side == SIDE_UPPER;
    const size_t *need = upper ? n->bytes : n->lower;
    const size_t bytes[N_REGION] = {upper ? m->weight_bytes : m->lower_bytes, need[REGION_KV],
                                    need[REGION_ROWS], huge};
    struct device_options o = {.like = like};
    struct pack_sizes max = gen_sizes(l, n->page_tokens);
    TRY(backend_null.open(&o, &d->dev));
    for (int r = 0; r < N_REGION; r++)
        TRY(backend_null.region(d->dev, (enum region)r, bytes[r], &d->region[r]));
    gen_memories(&m->net.hp, l, n, side, d->region[REGION_KV], d->mem);
    int32_t *any = d->region[REGION_ROWS];
    d->mem[MEMORY_KV].table = any;
    d->mem[MEMORY_KV].table_stride = max.table_stride;
    d->batch = (struct batch){.r = {.rows = max.rows,
                                    .seqs = max.seqs,
                                    .live = any,
                                    .pos = any,
                                    .row_seq = any,
                                    .seq_start = any,
                                    .seq_slot = any},
                              .token = any,
                              .last = any,
                              .mem = d->mem,
                              .want = any,
                              .n_want = max.want,
                              .want_live = any};
    return OK;
}

/* The largest step, forward and choice of tokens, on null devices, whose addresses nobody follows:
 * the workspaces' peaks. `like`: the devices that are told of the ops, or NULL. */
static enum status walk(struct model *m, const struct sides *like, const struct limits *l,
                        const struct need *n, size_t peak[N_SIDE])
{
    struct stand_in at[N_SIDE] = {0};
    struct sides on = {0};
    struct pass p;
    struct output out = {0};
    enum status s = OK;
    for (int i = 0; i < (l->cut ? N_SIDE : 1) && s == OK; i++) {
        s = stand_in_open(&at[i], like ? like->dev[i] : NULL, (enum side)i, m, l, n);
        on.dev[i] = at[i].dev;
        on.weights[i] = at[i].region[REGION_WEIGHTS];
    }
    if (s == OK)
        s = model_bind_sides(m, &on);
    if (s == OK) {
        struct stand_in *upper = &at[SIDE_UPPER], *first = &at[l->cut ? SIDE_LOWER : SIDE_UPPER];
        pass_begin(&p, backend_null.queue(first->dev), first->region[REGION_WORK], huge);
        if (l->cut)
            p.next = (struct pass_next){backend_null.queue(upper->dev),
                                        l->cut,
                                        upper->region[REGION_WORK],
                                        huge,
                                        &upper->batch,
                                        false};
        model_vectors(m, &on, &p);
        p.b = &first->batch;
        m->net.arch->forward(&m->net, &p, &(struct input){.batch = &first->batch}, &out);
        s = p.status;
        peak[SIDE_UPPER] = p.peak;
        peak[SIDE_LOWER] = p.lower_peak;
    }
    struct op_sample sample = {.logits = out.logits,
                               .row = at[SIDE_UPPER].region[REGION_ROWS],
                               .out = at[SIDE_UPPER].region[REGION_ROWS]};
    if (s == OK)
        s = op_sample(backend_null.queue(on.dev[SIDE_UPPER]), &sample);
    for (int i = 0; i < N_SIDE; i++)
        if (at[i].dev)
            backend_null.close(at[i].dev);
    return s;
}

enum status gen_reserve(struct model *m, const struct sides *on, const struct limits *l,
                        const struct need *n)
{
    size_t peak[N_SIDE];
    return walk(m, on, l, n, peak);
}

/* What is asked for, or as much as most need. */
static int64_t usual_context(const struct model *m, const struct limits *l)
{
    const int64_t n_ctx = m->net.hp.n_ctx;
    return l->context ? l->context : n_ctx < CONTEXT_DEFAULT ? n_ctx : CONTEXT_DEFAULT;
}

static long long mib(int64_t bytes)
{
    return (long long)((bytes + (1 << 20) - 1) >> 20);
}

struct room {                   /* of one side, for its part of the pages */
    int64_t page, state, other; /* bytes of a page there, of its states, of all else */
    int64_t free;
};

static int64_t other_bytes(const size_t *need)
{
    return (int64_t)(need[REGION_WEIGHTS] + need[REGION_ROWS] + need[REGION_WORK]);
}

static struct room room_of(const struct model *m, const struct device_info *dev,
                           const struct limits *l, const struct need *n, enum side side)
{
    const struct hparams *hp = &m->net.hp;
    const bool upper = side == SIDE_UPPER, host = !upper || dev->synchronous;
    int64_t free = upper ? l->free_bytes : l->lower_free;
    return (struct room){
        .page = kv_layer_page(hp, l, n->page_tokens) * kind_of_side(hp, l, MEMORY_KV, side),
        .state = kind_of_side(hp, l, MEMORY_STATE, side) * hp->state_bytes * l->max_seqs,
        .other = other_bytes(upper ? n->bytes : n->lower),
        /* Host memory is shared with everything else on the machine: at most half of what is free.
         */
        .free = host ? free / 2 : free - free / 32,
    };
}

/* The model itself does not fit: by how much, and which weights would, with a context of `tokens`
 * and the KV cache that is asked for. */
static enum status too_large(const struct model *m, const struct limits *l, const struct need *n,
                             const struct room *r, int64_t tokens)
{
    const int64_t weights = (int64_t)n->bytes[REGION_WEIGHTS], other = r->other + r->state;
    const int64_t pages = (tokens + n->page_tokens - 1) / n->page_tokens * n->page_bytes;
    const int64_t room = r->free > 0 ? r->free : 0;
    const int64_t left = room - (other - weights) - (l->kv_bytes > pages ? l->kv_bytes : pages);
    const double bits = 8.0 / (double)(m->info.n_params > 0 ? m->info.n_params : 1);
    const double most = floor(10 * bits * (double)left) / 10;
    char format[128] = "";
    if (most >= 1)
        snprintf(format, sizeof format,
                 ", a format of at most %.1f would fit with a context of %lld tokens", most,
                 (long long)tokens);
    return fail(ERR_NO_MEMORY,
                "the model needs %lld MiB beside its KV cache (weights %lld, job rows %lld, "
                "workspace %lld), %lld MiB are to be had; its weights have %.1f bits each%s; fewer "
                "--max-seqs or --max-rows need less",
                mib(other), mib(weights), mib((int64_t)n->bytes[REGION_ROWS]),
                mib((int64_t)n->bytes[REGION_WORK]), (long long)(room >> 20),
                bits * (double)weights, format);
}

/* How many pages a side has room for; ERR_NO_MEMORY where the rest does not fit. */
static enum status side_pages(const struct model *m, const struct device_info *dev,
                              const struct limits *l, const struct need *n, enum side side,
                              int64_t *fit)
{
    const struct hparams *hp = &m->net.hp;
    const struct room r = room_of(m, dev, l, n, side);
    int64_t pages = INT32_MAX; /* pages of nothing: a side without attention */
    bool roomy = l->kv_bytes && dev->synchronous;
    if (r.free < r.other + r.state && !roomy && side == SIDE_UPPER)
        return too_large(m, l, n, &r,
                         l->context           ? l->context
                         : hp->n_ctx < MODEST ? hp->n_ctx
                                              : MODEST);
    if (r.free < r.other + r.state && !roomy)
        return fail(ERR_NO_MEMORY,
                    "the first %d layers need %lld MiB of host memory beside their KV cache, %lld "
                    "MiB are to be had",
                    l->cut, mib(r.other + r.state), mib(r.free));
    if (l->kv_bytes && n->page_bytes > 0)
        pages = l->kv_bytes / n->page_bytes;
    else if (r.page > 0)
        pages = (r.free - r.other - r.state) / r.page;
    *fit = pages < *fit ? pages : *fit;
    return OK;
}

/* How many pages there is room for. */
static enum status all_pages(const struct model *m, const struct device_info *dev,
                             const struct limits *l, const struct need *n, int64_t *fit)
{
    *fit = INT32_MAX;
    for (int i = 0; i < (l->cut ? N_SIDE : 1); i++)
        TRY(side_pages(m, dev, l, n, (enum side)i, fit));
    return OK;
}

/* The bytes of a step's arrays on each side; counts of tokens are where they are chosen. */
static void plan_rows(const struct model *m, const struct limits *l, struct need *n)
{
    struct pack_sizes max = gen_sizes(l, n->page_tokens);
    size_t counts = (size_t)l->max_seqs * (size_t)m->net.hp.n_vocab * sizeof(uint16_t);
    n->bytes[REGION_ROWS] = pack_device_bytes(&max) + counts;
    n->lower[REGION_ROWS] = l->cut ? pack_device_bytes(&max) : 0;
}

/* All but the KV pool, for the context that is asked for or usual. */
static enum status plan_rest(struct model *m, const struct device_info *dev, const struct limits *l,
                             struct need *n)
{
    struct limits guess = *l;
    size_t peak[N_SIDE] = {0};
    memset(n, 0, sizeof *n);
    n->own = (size_t)dev->own_bytes;
    n->page_tokens = dev->page_tokens;
    n->page_bytes = kv_layer_page(&m->net.hp, l, n->page_tokens) * m->net.hp.n_kind[MEMORY_KV];
    n->bytes[REGION_WEIGHTS] = m->weight_bytes;
    n->lower[REGION_WEIGHTS] = l->cut ? m->lower_bytes : 0;
    /* Twice: the workspace does not depend on the number of pages, but the pages on the workspace.
     */
    guess.context = usual_context(m, l);
    plan_rows(m, &guess, n);
    n->n_pages = gen_sizes(&guess, n->page_tokens).table_stride;
    n->bytes[REGION_KV] = n->lower[REGION_KV] = (size_t)(n->n_pages * n->page_bytes);
    TRY(walk(m, NULL, &guess, n, peak));
    n->bytes[REGION_WORK] = peak[SIDE_UPPER];
    n->lower[REGION_WORK] = peak[SIDE_LOWER];
    n->lower[REGION_KV] = 0;
    return OK;
}

/* The context asked for does not fit: the largest that does, with these keys and values and with
 * smaller ones. */
static enum status too_long(struct model *m, const struct device_info *dev, const struct limits *l,
                            const struct need *n, int64_t fit)
{
    static const enum dtype types[] = {DT_F32, DT_BF16, DT_F8_E4M3};
    const int64_t t = n->page_tokens, pages = (l->context + t - 1) / t;
    char text[256] = "";
    size_t at = 0;
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        struct limits with = *l;
        struct need other;
        int64_t most = 0;
        with.kv_dtype = types[i];
        if (kv_layer_page(&m->net.hp, &with, (int)t) > kv_layer_page(&m->net.hp, l, (int)t) ||
            plan_rest(m, dev, &with, &other) != OK ||
            all_pages(m, dev, &with, &other, &most) != OK || most < 1)
            continue;
        most = most < pages ? most * t : l->context;
        at += (size_t)snprintf(text + at, sizeof text - at, "%s--ctx %lld%s%s", at ? ", " : "",
                               (long long)most, types[i] == l->kv_dtype ? "" : " with --kv-type ",
                               types[i] == l->kv_dtype ? "" : kv_type_name(types[i]));
    }
    if (!at) {
        const struct room r = room_of(m, dev, l, n, SIDE_UPPER);
        return too_large(m, l, n, &r, t);
    }
    return fail(ERR_NO_MEMORY,
                "a context of %lld tokens needs %lld MiB of KV cache, %lld MiB are to be had; what "
                "would fit: %s",
                (long long)l->context, mib(pages * n->page_bytes),
                (long long)(fit * n->page_bytes >> 20), text);
}

/* Settles the KV pool's size; shrinks an unset context to what fits. */
static enum status plan_pages(struct model *m, const struct device_info *dev, struct limits *l,
                              struct need *n)
{
    const int t = n->page_tokens;
    int64_t fit;
    TRY(all_pages(m, dev, l, n, &fit));
    if (l->context == 0) {
        l->context = usual_context(m, l);
        if (l->context > fit * t && !l->full_context)
            l->context = fit > 0 ? fit * t : t;
    }
    int64_t one = (l->context + t - 1) / t;
    if (one > fit)
        return too_long(m, dev, l, n, fit);
    int64_t all = one * l->max_seqs;
    n->n_pages = (int)(all < fit ? all : fit);
    for (int i = 0; i < (l->cut ? N_SIDE : 1); i++) {
        const struct room r = room_of(m, dev, l, n, (enum side)i);
        size_t *need = i == SIDE_UPPER ? n->bytes : n->lower;
        need[REGION_KV] = (size_t)(n->n_pages * r.page + r.state);
        if (l->kv_bytes && !dev->synchronous && i == SIDE_UPPER &&
            other_bytes(need) + (int64_t)need[REGION_KV] > r.free)
            return fail(ERR_NO_MEMORY,
                        "%lld MiB of KV cache were asked for, beside all else %lld MiB are to be "
                        "had",
                        mib(n->n_pages * r.page), (long long)((r.free - r.other - r.state) >> 20));
    }
    return OK;
}

enum status gen_plan(struct model *m, const struct device_info *dev, struct limits *l,
                     struct need *n)
{
    const struct hparams *hp = &m->net.hp;
    memset(n, 0, sizeof *n);
    if (l->max_rows == 0)
        l->max_rows = ROWS_DEFAULT;
    if (l->max_rows < l->max_seqs)
        l->max_rows = l->max_seqs;
    if (l->context > hp->n_ctx)
        return fail_field(ERR_INVALID, "ctx",
                          "a context of %lld tokens is more than the %d the model was trained for",
                          (long long)l->context, hp->n_ctx);
    TRY(plan_rest(m, dev, l, n));
    TRY(plan_pages(m, dev, l, n));
    plan_rows(m, l, n);
    return OK;
}
